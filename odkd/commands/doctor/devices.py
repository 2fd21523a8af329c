"""The devices of this machine, and how fast each precision is there: convolutions, measured in a second."""

from __future__ import annotations

import os
import platform
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from odkd.commands.doctor.findings import Finding, Section

if TYPE_CHECKING:
    import torch

SECONDS = 0.25  # for each precision
SHAPE, LAYERS = (1, 64, 64, 112), 4  # of images, and convolutions: as in TinyNet at 128 x 224
MUCH = 1.5  # times as fast; less may be noise of a busy machine
NVIDIA = ("/proc/driver/nvidia/version", "/dev/nvidia0", "/dev/nvidiactl")


def check_devices() -> Section:
    """Name the devices, and measure what each does well."""
    import torch

    from odkd.common.device import thread_choice
    from odkd.common.threads import usable_cores
    from odkd.runs.environment import processor

    cores, why = usable_cores()
    limit = f", limited by {why}" if why else ""
    findings = [Finding("ok", f"cpu: {processor()}, {cores} of {os.cpu_count()} cores{limit}; {thread_choice()}")]
    capability = _cpu_capability()
    facts: dict[str, Any] = {
        "processor": processor(),
        "cores": cores,
        "vector_units": capability,
        "cuda_of_torch": torch.version.cuda,
        "speed": {},
    }
    if platform.machine().lower() in ("x86_64", "amd64") and capability not in ("AVX2", "AVX512"):
        advice = "unset ATEN_CPU_CAPABILITY" if os.environ.get("ATEN_CPU_CAPABILITY") else "expect a slow run here"
        findings.append(Finding("warning", f"torch uses no AVX2 ({capability}): several times as slow", advice))
    devices = [torch.device("cpu")]
    if torch.cuda.is_available():
        devices += [torch.device("cuda", number) for number in range(torch.cuda.device_count())]
    elif driver := next((path for path in NVIDIA if Path(path).exists()), None):
        advice = "install a torch with CUDA that fits the driver (nvidia-smi), and check CUDA_VISIBLE_DEVICES"
        findings.append(Finding("warning", f"there is an NVIDIA driver ({driver}), and torch cannot use a GPU", advice))
    for device in devices:
        if device.type == "cuda":
            findings.append(Finding("ok", _gpu_words(device)))
        speeds = measured(device)
        facts["speed"][str(device)] = speeds
        findings += judged_speeds(device, speeds)
    return Section(findings, facts)


def _cpu_capability() -> str:
    import torch

    ask = getattr(torch.backends.cpu, "get_cpu_capability", None)
    return str(ask()) if ask is not None else "unknown"


def _gpu_words(device: torch.device) -> str:
    import torch

    properties = torch.cuda.get_device_properties(device)
    free, total = torch.cuda.mem_get_info(device)
    capability = f"{properties.major}.{properties.minor}"
    return (
        f"{device}: {properties.name}, compute capability {capability}, {free / 1e9:.1f} of {total / 1e9:.1f} GB free, "
        f"CUDA {torch.version.cuda}"
    )


def measured(device: torch.device) -> dict[str, float]:
    """Return how often a second a device goes forward and backward through some convolutions, by precision."""
    names = ["float32", "bfloat16"]
    if device.type == "cuda":
        names += ["tf32", "float16"]
    return {name: _rate(device, name) for name in names}


def _rate(device: torch.device, precision: str) -> float:
    """Return passes forward and backward per second through some convolutions, channels-last."""
    import torch

    from odkd.common.device import autocast, set_tf32

    before = set_tf32(precision == "tf32") if device.type == "cuda" else None
    try:
        layers = [torch.nn.Conv2d(SHAPE[1], SHAPE[1], 3, padding=1) for _ in range(LAYERS)]
        network = torch.nn.Sequential(*layers).to(device).to(memory_format=torch.channels_last)
        images_BCHW = torch.zeros(SHAPE, device=device).to(memory_format=torch.channels_last)
        is_ready, number, started = False, 0, time.perf_counter()
        while not is_ready or time.perf_counter() - started < SECONDS:
            with autocast(device, precision):
                network(images_BCHW).sum().backward()
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            number += 1
            if not is_ready:  # the first call prepares kernels
                is_ready, number, started = True, 0, time.perf_counter()
        return number / (time.perf_counter() - started)
    finally:
        if before is not None:
            set_tf32(before)


def judged_speeds(device: torch.device, speeds: dict[str, float]) -> list[Finding]:
    """Return what each precision does on a device, and whether `precision=auto` takes a good one."""
    from odkd.common.numerics import best_numerics

    auto = best_numerics(device)
    shown = ", ".join(f"{name} {speed / speeds['float32']:.2g}" for name, speed in speeds.items())
    text = f"{device}: speed of convolutions beside float32: {shown}; precision=auto takes {auto.precision}"
    fastest = max(speeds, key=lambda name: speeds[name])
    if speeds[fastest] > MUCH * speeds[auto.precision]:
        advice = f"measure your run with precision={fastest} too (odkd-profile)"
        return [Finding("note", f"{text}, because {auto.reason}", advice)]
    return [Finding("ok", f"{text}, because {auto.reason}")]
