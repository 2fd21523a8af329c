"""The compute device of a run, and process-wide settings of torch and of the allocator."""

import contextlib
import ctypes
import logging
import os
import platform
import sys
import warnings
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import torch
from torch import Tensor

from odkd.common.names import nearest
from odkd.common.threads import OF_THREADS, default_threads, described

logger = logging.getLogger(__name__)
KINDS = {"auto": "auto", "cpu": "cpu", "cuda": "cuda", "mps": "mps", "gpu": "cuda", "nvidia": "cuda"}  # name -> kind
PRECISIONS = {"float32": None, "tf32": None, "bfloat16": torch.bfloat16, "float16": torch.float16}
DEFAULT_THREADS, THREADS_CHOSEN_BY = default_threads(torch.get_num_threads())
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h


def choose_device(name: str, *, precision: str, setting: str = "device") -> torch.device:
    """Return a device by name: `auto` means CUDA if there is a GPU.

    Under torchrun, `auto` and `cuda` mean the GPU of this process.

    Args:
        name: value of the setting, such as auto, cpu, cuda or cuda:1.
        precision: a key of PRECISIONS.
        setting: dotted name of the setting, for messages.

    Raises:
        ValueError: the device does not exist, or does not support the precision.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name == "cuda" and "LOCAL_RANK" in os.environ:
        name = f"cuda:{os.environ['LOCAL_RANK']}"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError, ImportError, NotImplementedError) as error:
        advice = "use device=auto or device=cpu" if setting == "device" else f"change {setting}, or leave it out"
        kind, _, number = name.partition(":")
        meant = KINDS.get(kind) or nearest(kind, ("cuda", "cpu", "auto", "mps")).removeprefix("; did you mean ")[:-1]
        if kind != meant or (number and not number.isdecimal()):
            hint = f"; did you mean {meant}{f':{number}' if number.isdecimal() else ''}?" if meant else ""
            raise ValueError(f"{setting}={name}; expected auto, cpu, cuda, cuda:N or mps{hint}") from error
        raise ValueError(
            f"{setting}={name} cannot be used here ({str(error).splitlines()[0].strip()}); {advice}"
        ) from error
    if precision == "float16" and device.type == "cpu":
        raise ValueError("precision=float16 needs a GPU; on a CPU use precision=bfloat16 or float32")
    if precision == "tf32" and device.type != "cuda":
        raise ValueError(f"precision=tf32 needs an NVIDIA GPU; on device={device} use precision=float32 or bfloat16")
    return device


def set_up(device: torch.device, *, threads: int | None, deterministic: bool, precision: str = "float32") -> None:
    """Set the threads of this process, deterministic kernels, and an allocator that keeps its memory."""
    torch.set_num_threads(threads or DEFAULT_THREADS)  # also undoes the setting of an earlier job of the sweep
    if threads is None and THREADS_CHOSEN_BY and not THREADS_CHOSEN_BY.startswith(OF_THREADS):
        logger.info("%s", thread_choice())  # what the user has not chosen
    if "torch._dynamo" in sys.modules:  # its import takes a second
        torch._dynamo.reset()
    if device.type == "cpu":
        keep_freed_memory()
        return
    if device.type == "cuda":
        set_tf32(precision == "tf32")
        if device.index is not None:
            torch.cuda.set_device(device)  # what libraries create "on the GPU" belongs there, too
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # without it cuBLAS is not deterministic
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs a pass over every new tensor
    torch.backends.cudnn.benchmark = not deterministic


def thread_choice() -> str:
    """Return the number of threads of this process and what has chosen it, as text."""
    number = torch.get_num_threads()
    return described(number, THREADS_CHOSEN_BY if number == DEFAULT_THREADS else "the setting threads")


def autocast(device: torch.device, precision: str) -> AbstractContextManager[Any]:
    """Return a context of automatic mixed precision on `device`; it has no effect for float32.

    A part of a run may be more precise than the run: products of a teacher in float32 stay so beside a student in tf32.
    """
    mixed = torch.autocast(device.type, dtype=PRECISIONS[precision], enabled=PRECISIONS[precision] is not None)
    if device.type != "cuda" or precision != "float32" or torch.get_float32_matmul_precision() == "highest":
        return mixed
    return _exact_products()


@contextlib.contextmanager
def _exact_products() -> Iterator[None]:
    set_tf32(False)
    try:
        yield
    finally:
        set_tf32(True)


def set_tf32(is_on: bool) -> bool:
    """Let NVIDIA GPUs round the factors of float32 products to 10 bits of mantissa, or not; return how it was.

    torch's own default rounds those of convolutions and not those of matrix products.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has newer names, which torch.compile refuses to see mixed with these
        before = bool(torch.backends.cudnn.allow_tf32)
        torch.backends.cudnn.allow_tf32 = is_on
        torch.set_float32_matmul_precision("high" if is_on else "highest")
    return before


def upload(tensor: Tensor, device: torch.device) -> Tensor:
    """Return a CPU's tensor on the device, without waiting for what the device computes."""
    if device.type == "cuda":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def keep_freed_memory() -> bool:
    """Keep large freed blocks of memory in the process instead of returning them after every step (glibc).

    Otherwise each step gets its activations as new, zeroed pages from the kernel, and is about 1.5 times slower.
    Results do not change.

    Returns:
        True if the setting took effect.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, ctypes.c_int(2**31 - 1)))
