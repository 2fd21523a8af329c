"""The compute device of a run, and process-wide settings of torch and of the allocator."""

import ctypes
import logging
import platform

import torch

logger = logging.getLogger(__name__)
M_TRIM_THRESHOLD, M_MMAP_MAX = -1, -4  # malloc.h


def choose_device(name: str, *, precision: str) -> torch.device:
    """`auto` takes CUDA where there is one.

    Raises:
        ValueError: a device that is not there, or a precision that it cannot do.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise ValueError(
            f"device={name} cannot be used here ({str(error).splitlines()[0]}); use device=auto or device=cpu"
        ) from error
    if precision == "float16" and device.type == "cpu":
        raise ValueError("precision=float16 needs a GPU; on a CPU use precision=bfloat16 or float32")
    return device


def set_up(device: torch.device, *, threads: int | None, deterministic: bool) -> None:
    """Settings of this process: threads, deterministic kernels, and an allocator that keeps its memory."""
    if threads is not None:
        torch.set_num_threads(threads)
    if device.type == "cpu":
        keep_freed_memory()
        return
    torch.use_deterministic_algorithms(deterministic, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs a pass over every new tensor
    torch.backends.cudnn.benchmark = not deterministic


def keep_freed_memory() -> bool:
    """Keep large freed blocks in the process instead of handing them back after every step (glibc).

    Otherwise each step gets its activations as fresh, zeroed pages from the kernel: steps are then about
    1.5 times slower. Results do not change. Returns whether it could be set.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    return bool(mallopt(M_MMAP_MAX, 0) and mallopt(M_TRIM_THRESHOLD, ctypes.c_int(2**31 - 1)))
