"""Saving and loading the state of a run: atomic, without pickled code, and with a bounded share of the run time."""

import io
import math
import time
from pathlib import Path
from typing import Any

import torch

from odkd.common.files import write_atomic
from odkd.common.reading import brief, check_unpacked, shown


class Checkpoint:
    """A file that always holds one complete state.

    Args:
        path: the file.
        overhead: share of the wall time that writing may take; `is_due` spaces the writes accordingly.
    """

    def __init__(self, path: Path, *, overhead: float) -> None:
        self._path, self._overhead = path, overhead
        self._next = 0.0  # time at which the next write is due; infinite while one is under way
        self._pack_seconds = 0.0

    def is_due(self) -> bool:
        """True if enough time has passed since the last write, and none is under way."""
        return time.monotonic() >= self._next

    def save(self, state: dict[str, Any]) -> None:
        """Write `state`, which may hold tensors, numbers, strings, and lists and dicts of them."""
        self.write(self.packed(state))

    def packed(self, state: dict[str, Any]) -> memoryview:
        """Return the bytes of a state, which may change afterwards; `write` must follow."""
        started = time.monotonic()
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self._pack_seconds, self._next = time.monotonic() - started, math.inf
        return buffer.getbuffer()

    def write(self, content: memoryview) -> None:
        """Write what `packed` has returned."""
        started = time.monotonic()
        write_atomic(self._path, content)
        now = time.monotonic()
        self._next = now + (self._pack_seconds + now - started) / self._overhead

    def load(self) -> dict[str, Any] | None:
        """Return the last state saved, with all tensors on the CPU, or None; the caller moves them to the device.

        Optimizers keep their step counts on the CPU, and generators load their state from there.

        Raises:
            ValueError: the file is damaged.
        """
        if not self._path.is_file():
            return None
        try:
            check_unpacked(self._path)
            state = torch.load(self._path, map_location="cpu", weights_only=True)
            if not isinstance(state, dict):
                raise ValueError(f"it holds a {type(state).__name__}")
        except Exception as error:
            raise ValueError(
                f"{shown(self._path)} is damaged ({brief(error)}); run.restart=true starts this run over"
            ) from error
        return state

    def delete(self) -> None:
        """Remove the file, when the run has finished."""
        self._path.unlink(missing_ok=True)
