"""Saving and loading the state of a run: atomic, verified, without pickled code, and with a bounded share of the time.

A file is MAGIC, the sha256 of all that follows, the length of a JSON note, the note, and what `torch.save` writes.
Files of earlier releases have the last part alone.
"""

import hashlib
import io
import json
import logging
import math
import struct
import time
from pathlib import Path
from typing import Any

import torch

from odkd.common.files import write_atomic
from odkd.common.reading import brief, check_unpacked, read_bytes, shown

logger = logging.getLogger(__name__)
MAGIC, OLD_MAGIC = b"odkd checkpoint 2\n", b"PK"  # earlier releases wrote the zip archive of torch alone
LENGTH = struct.Struct("<Q")
RETRY_SECONDS = 10.0  # after a write that has failed
MOST_BYTES = 2**36  # of a checkpoint: the weights of a large student, its optimizer and a replay memory
START = len(MAGIC) + hashlib.sha256().digest_size


class Checkpoint:
    """A file that always holds one complete state, and a note beside it.

    Args:
        path: the file.
        overhead: share of the wall time that writing may take; `is_due` spaces the writes accordingly.
    """

    def __init__(self, path: Path, *, overhead: float) -> None:
        self._path, self._overhead = path, overhead
        self._next = 0.0  # time at which the next write is due; infinite while one is under way
        self._pack_seconds = 0.0
        self.note: Any = None  # of the state that was loaded

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

    def write(self, content: memoryview, note: Any = None) -> None:
        """Write what `packed` has returned, and a note, which is JSON."""
        started = time.monotonic()
        try:
            write_atomic(self._path, self.head(content, note), content)
        except OSError:
            self._next = time.monotonic() + RETRY_SECONDS
            raise
        now = time.monotonic()
        self._next = now + (self._pack_seconds + now - started) / self._overhead

    @staticmethod
    def head(content: memoryview, note: Any) -> bytes:
        """Return what precedes the content in the file: digest and note."""
        text = json.dumps(note).encode()
        rest = LENGTH.pack(len(text)) + text
        digest = hashlib.sha256(rest)
        digest.update(content)
        return MAGIC + digest.digest() + rest

    def load(self) -> dict[str, Any] | None:
        """Return the last state saved, with all tensors on the CPU, or None; the caller moves them to the device.

        `note` is what was saved beside it; None for a checkpoint of an earlier release.

        Optimizers keep their step counts on the CPU, and generators load their state from there.

        Raises:
            ValueError: the file is damaged.
        """
        if not self._path.is_file():
            return None
        content = memoryview(read_bytes(self._path, MOST_BYTES))
        try:
            if content[: len(OLD_MAGIC)] == OLD_MAGIC:
                logger.debug("%s is of an earlier odkd, without a digest; it is not verified", self._path)
                self.note = None
                check_unpacked(self._path)
            else:
                content = self._verified(content)
            state: dict[str, Any] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
            if not isinstance(state, dict):
                raise ValueError(f"it holds a {type(state).__name__}")
        except Exception as error:
            raise ValueError(
                f"{shown(self._path)} is damaged ({brief(error)}); run.restart=true starts this run over"
            ) from error
        return state

    def _verified(self, content: memoryview) -> memoryview:
        """Take the note from a file's content, and return the part that torch wrote."""
        digest = hashlib.sha256(content[START:]).digest()
        if content[:START] != MAGIC + digest or len(content) < START + LENGTH.size:
            raise ValueError("its digest is another than that of what was saved")
        place = START + LENGTH.size
        end = place + LENGTH.unpack(content[START:place])[0]
        self.note = json.loads(bytes(content[place:end]))
        return content[end:]

    def delete(self) -> None:
        """Remove the file, when the run has finished."""
        self._path.unlink(missing_ok=True)
