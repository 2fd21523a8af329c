"""A pipeline of three steps that run at the same time on different items; the slowest step sets the pace."""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")

DEPTH = 2  # items that wait between two steps
_END = object()


def overlap(source: Generator[T], work: Callable[[T], U], sink: Callable[[U], None]) -> None:
    """Call sink(work(item)) for each item of `source`, in order.

    `source` and `sink` each run in a separate thread, `work` in the caller's. At most 2 * DEPTH + 2 items are held.
    An exception in one of them ends all three and is raised here; earlier results of `work` still reach `sink`, unless
    the sink failed.
    """
    reads: deque[Future[T | object]] = deque()
    writes: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1, "odkd-write") as writer, ThreadPoolExecutor(1, "odkd-decode") as reader:
        try:
            reads.extend(reader.submit(next, source, _END) for _ in range(DEPTH))
            while (item := reads.popleft().result()) is not _END:
                reads.append(reader.submit(next, source, _END))
                result = work(item)  # type: ignore[arg-type]  # the item is not _END
                while writes and (len(writes) >= DEPTH or writes[0].done()):
                    writes.popleft().result()
                writes.append(writer.submit(sink, result))
        finally:
            for read in reads:
                read.cancel()
            reader.submit(source.close)  # in the thread that ran it, because it may hold an open decoder
        for write in writes:
            write.result()
