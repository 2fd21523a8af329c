"""Isolation: a job leaves the process as it found it, whatever it changes and however it ends."""

import gc
import operator
import os
import sys
import warnings
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import odkd.common.isolation
from odkd.common.isolation import isolated


def switches() -> list[Any]:
    """Return the settings of torch and numpy that change numbers."""
    return [
        torch.get_num_threads(),
        torch.get_default_dtype(),
        torch.empty(0).device,
        torch.is_grad_enabled(),
        torch.get_float32_matmul_precision(),
        torch.backends.cudnn.allow_tf32,
        torch.are_deterministic_algorithms_enabled(),
        torch.is_deterministic_algorithms_warn_only_enabled(),
        torch.utils.deterministic.fill_uninitialized_memory,
        np.geterr(),
    ]


def process_state() -> list[Any]:
    return [dict(os.environ), Path.cwd(), list(sys.path), list(warnings.filters)]


def test_a_job_leaves_the_process_as_it_found_it() -> None:
    before, before_switches, random_state = process_state(), switches(), torch.get_rng_state()

    @isolated()
    def job() -> None:
        os.environ["ODKD_TEST"] = "1"
        os.environ.pop("PATH", None)
        os.chdir("/")
        sys.path.insert(0, "/nowhere")
        warnings.simplefilter("ignore")
        torch.manual_seed(7)
        torch.rand(3)
        torch.set_num_threads(torch.get_num_threads() + 1)
        torch.set_default_dtype(torch.float64)
        torch.set_default_device("meta")
        torch.set_grad_enabled(False)
        torch.set_float32_matmul_precision("medium")
        torch.backends.cudnn.allow_tf32 = False
        torch.use_deterministic_algorithms(True, warn_only=True)
        torch.utils.deterministic.fill_uninitialized_memory = False
        np.seterr(all="ignore")
        assert not any(map(operator.eq, switches(), before_switches))
        raise KeyError

    with pytest.raises(KeyError):
        job()
    assert process_state() == before
    assert torch.equal(torch.get_rng_state(), random_state)
    assert switches() == before_switches


def test_later_jobs_do_not_search_the_libraries_for_garbage_and_are_freed_all_the_same() -> None:
    class Network:
        def __init__(self) -> None:
            self.itself = self  # as a hook of a module refers to it: only a collection frees it

    gc.unfreeze()
    odkd.common.isolation._freeze.cache_clear()
    freed = []
    for _ in range(2):
        with isolated():
            freed.append(weakref.ref(Network()))
        assert gc.get_freeze_count() > 1000
    gc.unfreeze()
    assert [network() for network in freed] == [None, None]
