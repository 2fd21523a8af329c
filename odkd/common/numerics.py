"""What `precision=auto`, `channels_last=auto` and `fast_forms=auto` mean on a device: rules, nothing is measured."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch


@dataclass(frozen=True)
class Numerics:
    """How a device computes fastest.

    Args:
        precision: float32, bfloat16 or float16.
        channels_last: memory layout of images.
        reason: the property of the device that decides, for the log.
    """

    precision: str
    channels_last: bool
    reason: str


def best_numerics(device: torch.device) -> Numerics:
    """Return what a device does best.

    A CPU computes in bfloat16 if it multiplies it in hardware (AMX or AVX512-bf16); channels-last is faster on every
    CPU. A GPU with tensor cores computes in bfloat16, or in float16 if it is too old for that (Volta, Turing).
    """
    if device.type == "cpu":
        if units := bfloat16_units():
            return Numerics("bfloat16", True, f"the CPU has {units}")
        return Numerics("float32", True, "the CPU has no bfloat16 units")
    if device.type == "cuda":
        major, minor = torch.cuda.get_device_capability(device)
        if major >= 8 or torch.version.hip:
            return Numerics("bfloat16", True, f"the GPU has compute capability {major}.{minor}")
        if major >= 7:
            return Numerics("float16", True, f"the GPU has compute capability {major}.{minor}, without bfloat16")
        return Numerics("float32", False, f"the GPU has compute capability {major}.{minor}, without tensor cores")
    return Numerics("float32", False, f"nothing else is known to be faster on {device.type}")


def bfloat16_units() -> str | None:
    """Return what multiplies bfloat16 on this CPU: AMX, AVX512-bf16, or None."""
    if _torch_says("_is_amx_tile_supported", "amx_bf16"):
        return "AMX"
    return "AVX512-bf16" if _torch_says("_is_avx512_bf16_supported", "avx512_bf16") else None


def is_fast_on_cpu(precision: str) -> bool:
    """True if this CPU has units for a precision; bfloat16 without them is imitated, fifteen times as slow."""
    return precision == "float32" or (precision == "bfloat16" and bfloat16_units() is not None)


def _torch_says(name: str, flag: str) -> bool:
    """Ask torch about a property of the CPU, or Linux where torch is too old to know."""
    ask: Callable[[], bool] | None = getattr(torch.cpu, name, None)
    if ask is not None:
        return bool(ask())
    cpuinfo = Path("/proc/cpuinfo")
    return cpuinfo.is_file() and flag in cpuinfo.read_text().split()
