"""Saving and loading the state of a run: atomic, without pickled code, and never a large part of the time."""

import io
import time
from pathlib import Path
from typing import Any

import torch

from odkd.common.files import write_atomic


class Checkpoint:
    """One file that always holds a whole state.

    Args:
        path: of the file.
        overhead: share of the wall time that writing may take; `is_due` spaces the writes accordingly.
    """

    def __init__(self, path: Path, *, overhead: float) -> None:
        self._path, self._overhead = path, overhead
        self._wait_seconds = 0.0
        self._written = time.monotonic()

    def is_due(self) -> bool:
        """Whether enough time has gone by since the last write for another one."""
        return time.monotonic() - self._written >= self._wait_seconds

    def save(self, state: dict[str, Any]) -> None:
        """Write `state`: tensors, numbers, strings, lists and dicts of them."""
        started = time.monotonic()
        buffer = io.BytesIO()
        torch.save(state, buffer)
        write_atomic(self._path, buffer.getbuffer())
        self._written = time.monotonic()
        self._wait_seconds = (self._written - started) / self._overhead

    def load(self) -> dict[str, Any] | None:
        """The last state saved, on the CPU, or None: what loads it moves to the device what belongs there.

        Optimizers keep their step counts on the CPU, and generators take their state from it.
        """
        if not self._path.is_file():
            return None
        try:
            state: dict[str, Any] = torch.load(self._path, map_location="cpu", weights_only=True)
        except Exception as error:
            raise ValueError(
                f"{self._path} is damaged ({str(error).splitlines()[0][:200]}); run.restart=true begins this run anew"
            ) from error
        return state

    def delete(self) -> None:
        """The run is over."""
        self._path.unlink(missing_ok=True)
