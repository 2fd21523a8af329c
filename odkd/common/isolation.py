"""Keep the jobs of one process from affecting each other, and Ctrl-C from the processes that a job starts."""

import contextlib
import functools
import gc
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np


@contextlib.contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Make processes that are started inside ignore Ctrl-C: a process inherits the blocked signals at its start."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Restore the state of the process after a job, and free its memory.

    Restored are environment, working folder, import path, warning filters, signal handlers, global generators (Python,
    numpy, torch), and the switches of torch and numpy that change numbers. Imported libraries stay imported.
    """
    import torch

    environment, folder, path = dict(os.environ), Path.cwd(), list(sys.path)
    in_main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    generators = random.getstate(), np.random.get_state(), torch.get_rng_state()
    threads, dtype = torch.get_num_threads(), torch.get_default_dtype()
    device = torch.empty(0).device  # the default
    precision, has_gradients = torch.get_float32_matmul_precision(), torch.is_grad_enabled()
    rounds = _rounds_convolutions()
    gpu = torch.cuda.current_device() if torch.cuda.is_initialized() else 0  # type: ignore[no-untyped-call]
    deterministic, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    warns_only = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic  # type checkers do not know the switch of this module
    fills = memory.fill_uninitialized_memory
    numpy_errors = np.geterr()
    try:
        with warnings.catch_warnings():
            yield
    finally:
        for name in set(os.environ) - set(environment):
            del os.environ[name]
        os.environ.update(environment)
        os.chdir(folder)
        sys.path[:] = path
        if in_main:
            for number, handler in handlers.items():
                signal.signal(number, handler)
        if torch.empty(0).device != device:  # not None for the CPU: torch.get_default_device() of torch 2.6 fails then
            torch.set_default_device(device)
        random.setstate(generators[0])
        np.random.set_state(generators[1])
        torch.set_rng_state(generators[2])
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        _rounds_convolutions(rounds)
        torch.set_float32_matmul_precision(precision)
        torch.set_grad_enabled(has_gradients)
        torch.use_deterministic_algorithms(deterministic, warn_only=warns_only)
        memory.fill_uninitialized_memory = fills
        np.seterr(**numpy_errors)
        torch.backends.cudnn.benchmark = benchmark
        gc.collect()
        _freeze()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()
            torch.cuda.set_device(gpu)


@functools.cache
def _freeze() -> None:
    """Spare later collections libraries and all else that outlives the first job, 0.2 s each; the first call counts."""
    gc.freeze()


def _rounds_convolutions(value: bool | None = None) -> bool:
    """Return whether GPUs round float32 convolutions to TF32; set it, if a value is given."""
    import torch

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch has newer names for it, see `device.set_tf32`
        if value is not None:
            torch.backends.cudnn.allow_tf32 = value
        return bool(torch.backends.cudnn.allow_tf32)
