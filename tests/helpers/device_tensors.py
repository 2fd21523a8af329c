"""Tensors that stand for those of an accelerator: the host waits for the device wherever it reads one."""

import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from odkd.data.tensor_bank import Bank

READS = {"cpu", "item", "tolist", "numpy", "__bool__", "__int__", "__float__", "__index__", "nonzero", "bincount"}


class DeviceTensor(Tensor):
    """A tensor whose results are tensors of the device, too, until one of them is read."""

    reads: list[str] = []  # noqa: RUF012 - where the host waited; one list for all

    @classmethod
    def __torch_function__(
        cls, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func.__name__ not in READS:
            return super().__torch_function__(func, types, args, kwargs)
        with torch._C.DisableTorchFunctionSubclass():
            own = [line for line in traceback.extract_stack() if "/odkd/" in line.filename]
            cls.reads.append(f"{func.__name__} in {own[-1].name}")
            found = func(*args, **(kwargs or {}))
            return found.as_subclass(Tensor) if isinstance(found, Tensor) else found


@contextmanager
def device_tensors(patch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Have banks upload to such a device; yield the places where the host waits for it."""
    from odkd.common import argmax
    from odkd.evaluation import metrics

    def upload(_: Bank, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(array)).as_subclass(DeviceTensor)

    patch.setattr(Bank, "_upload", upload)
    # What only a CPU does.
    patch.setattr(argmax, "DTYPES", ())
    patch.setattr(metrics, "is_host", lambda _: False)
    DeviceTensor.reads.clear()
    yield DeviceTensor.reads
