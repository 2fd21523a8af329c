"""Shared memory of a session: made by the answering process, attached to by its children."""

from __future__ import annotations

import contextlib
import errno
import os
from multiprocessing.shared_memory import SharedMemory

MIB = 2**20


def make(num_bytes: int, what: str) -> SharedMemory:
    """Return new shared memory, of which every byte is reserved: a full /dev/shm would kill whoever writes to it.

    Raises:
        ValueError: the machine has not so much.
    """
    memory = SharedMemory(create=True, size=max(1, num_bytes))
    try:
        descriptor = getattr(memory, "_fd", -1)
        if descriptor >= 0 and hasattr(os, "posix_fallocate"):
            os.posix_fallocate(descriptor, 0, max(1, num_bytes))
    except OSError as error:
        remove(memory)
        if error.errno not in (errno.ENOSPC, errno.ENOMEM):
            return make_unreserved(num_bytes)
        raise ValueError(
            f"there is no shared memory for {what} ({num_bytes / MIB:.0f} MiB); give /dev/shm more (docker run "
            "--shm-size=1g), or lower teacher.size or dataset.size"
        ) from error
    return memory


def make_unreserved(num_bytes: int) -> SharedMemory:
    """Return new shared memory where the system cannot reserve it."""
    return SharedMemory(create=True, size=max(1, num_bytes))


def remove(memory: SharedMemory) -> None:
    """Give shared memory back to the system; whoever is attached to it keeps it until it ends."""
    with contextlib.suppress(BufferError):  # an array of it is still alive somewhere; the name goes all the same
        memory.close()
    with contextlib.suppress(FileNotFoundError):
        memory.unlink()
