"""Jobs of one process: each finds the process as the first one did. Processes of one job: Ctrl-C is the first one's."""

import contextlib
import gc
import os
import random
import signal
import sys
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np


@contextlib.contextmanager
def deaf_to_interrupts() -> Iterator[None]:
    """Processes that are started in it leave Ctrl-C to this one: a process inherits what is blocked as it starts."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextlib.contextmanager
def isolated() -> Iterator[None]:
    """Put back what a job may leave behind in its process, and free its memory.

    Environment, working folder, import path, warning filters, signal handlers, global generators (Python, numpy,
    torch), torch's and numpy's switches that change numbers. What libraries keep once they are imported stays.
    """
    import torch

    environment, folder, path = dict(os.environ), os.getcwd(), list(sys.path)  # noqa: PTH109
    in_main = threading.current_thread() is threading.main_thread()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    generators = random.getstate(), np.random.get_state(), torch.get_rng_state()
    threads, dtype, device = torch.get_num_threads(), torch.get_default_dtype(), torch.get_default_device()
    precision, has_gradients = torch.get_float32_matmul_precision(), torch.is_grad_enabled()
    deterministic, benchmark = torch.are_deterministic_algorithms_enabled(), torch.backends.cudnn.benchmark
    warns_only = torch.is_deterministic_algorithms_warn_only_enabled()
    memory: Any = torch.utils.deterministic  # a module whose one switch type checkers do not know
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
        torch.set_default_device(None if device.type == "cpu" else device)  # None is the CPU, at no cost a call
        random.setstate(generators[0])
        np.random.set_state(generators[1])
        torch.set_rng_state(generators[2])
        torch.set_num_threads(threads)
        torch.set_default_dtype(dtype)
        torch.set_float32_matmul_precision(precision)
        torch.set_grad_enabled(has_gradients)
        torch.use_deterministic_algorithms(deterministic, warn_only=warns_only)
        memory.fill_uninitialized_memory = fills
        np.seterr(**numpy_errors)
        torch.backends.cudnn.benchmark = benchmark
        gc.collect()
        if torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            torch.cuda.empty_cache()
