"""Counters of the operations for which the loop waits for the device, with the line of odkd that asks for each."""

import threading
import traceback
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_leaves

from odkd.config.parts import Parts
from odkd.data.tensor_bank import Batch

READERS = ("evaluation/", "training/learn.py", "training/iteration.py", "data/")  # of losses and scores
# Functions with another way on a GPU, which tests hold to account.
ONLY_ON_CPUS = ("count_bins", "confusion_matrices", "largest_class")
READS = (".item()", ".cpu()", ".tolist()", ".numpy()")
WAITING = {
    *("item", "tolist", "numpy", "cpu", "nonzero", "unique", "bincount", "masked_select", "equal"),
    *("__bool__", "__int__", "__float__", "__index__", "__array__", "__contains__"),
}


@dataclass(frozen=True)
class Wait:
    """One operation that waits: the line of odkd, and whether it reads losses or scores."""

    where: str
    line: str

    @property
    def is_read(self) -> bool:
        return self.where.startswith(READERS) and any(word in self.line for word in READS)

    @classmethod
    def here(cls) -> Self:
        """Return the place in odkd that is being run, or the innermost one if odkd is not at work."""
        stack = traceback.extract_stack()
        inside = [frame for frame in stack if "odkd" in Path(frame.filename).parts and "scripts" not in frame.filename]
        frame = inside[-1] if inside else stack[-1]
        parts = Path(frame.filename).parts
        last = max((n for n, part in enumerate(parts) if part == "odkd"), default=len(parts) - 2)
        return cls(f"{'/'.join(parts[last + 1 :])}:{frame.lineno}", (frame.line or "").strip()[:100])


class _Counter:
    """Lists of waits, one a full iteration."""

    def __init__(self) -> None:
        self.iterations: list[list[Wait]] = []
        self._is_open = False

    @contextmanager
    def iteration(self) -> Iterator[None]:
        """Count what happens inside as one iteration."""
        self.iterations.append([])
        self._is_open = True
        try:
            yield
        finally:
            self._is_open = False

    def note(self, *, leave_out: Collection[str] = ()) -> None:
        """Count a wait of the loop, unless it is in one of these functions; background threads may wait."""
        if self._is_open and threading.current_thread() is threading.main_thread():
            functions = {frame.f_code.co_name for frame, _ in traceback.walk_stack(None)}
            self.iterations[-1] += [] if functions & set(leave_out) else [Wait.here()]


class CudaWaits(_Counter):
    """Counts what CUDA reports: torch warns of each call that waits for the device."""

    def __enter__(self) -> Self:
        self._warnings = warnings.catch_warnings()
        self._warnings.__enter__()
        warnings.simplefilter("always")
        warnings.showwarning = self._show
        torch.cuda.set_sync_debug_mode("warn")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        torch.cuda.set_sync_debug_mode("default")
        self._warnings.__exit__(kind, error, trace)

    def _show(self, message: Warning | str, *_: Any, **__: Any) -> None:
        if "synchronizing CUDA operation" in str(message):
            self.note()


class ModelledWaits(_Counter, TorchFunctionMode):
    """Counts on the CPU what would wait on a GPU: marks "on the device" spread from the bank's tensors and the student.

    A wait is a value read from a marked tensor, its copy to the CPU, and a tensor made from numbers for the device.
    """

    def __init__(self, parts: Parts) -> None:
        _Counter.__init__(self)
        TorchFunctionMode.__init__(self)
        self._device, bank = parts.device, parts.bank
        for tensor in (*parts.learner.student.parameters(), *parts.learner.student.buffers()):
            mark(tensor)
        get = bank.get

        def marked(positions: Any) -> Batch:
            with torch._C.DisableTorchFunction():  # what the bank does is not the loop's
                batch = get(positions)
            for leaf in tree_leaves(tuple(batch)):
                mark(leaf)
            for soft in batch.soft.values():
                mark(soft.classes_BkHW)
                mark(soft.probabilities_BkHW)
            return batch

        bank.get = marked  # type: ignore[method-assign]

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, named = getattr(function, "__name__", ""), kwargs or {}
        is_marked = any(getattr(leaf, "is_on_device", False) for leaf in tree_leaves((args, named)))
        is_upload = name in ("tensor", "as_tensor") and isinstance(named.get("device"), torch.device)
        is_mask = name == "__getitem__" and any(
            isinstance(leaf, Tensor) and leaf.dtype == torch.bool for leaf in tree_leaves(args[1:])
        )
        if (is_marked and (name in WAITING or is_mask)) or is_upload:
            self.note(leave_out=ONLY_ON_CPUS)
        made = function(*args, **named)
        if name == "cpu":
            return made.detach() if is_marked else made
        if is_marked or is_upload:
            for leaf in tree_leaves(made):
                mark(leaf)
        return made


def mark(value: object) -> None:
    """Mark a tensor as one of the device."""
    if isinstance(value, Tensor):
        value.is_on_device = True  # type: ignore[attr-defined]
