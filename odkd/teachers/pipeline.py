"""Three steps at once, each on another item: the slowest of them sets the pace."""

from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
U = TypeVar("U")

DEPTH = 2  # items that wait between two steps
_END = object()


def overlap(source: Generator[T], work: Callable[[T], U], sink: Callable[[U], None]) -> None:
    """For each item of `source` in order: sink(work(item)).

    `source` and `sink` each run in a thread of their own, `work` in the caller's. At most 2 * DEPTH + 2 items
    are held. Whatever one of them raises ends all three and is raised here; what `work` has returned before
    that still reaches `sink`, unless the sink itself failed.
    """
    reads: deque[Future[T | object]] = deque()
    writes: deque[Future[None]] = deque()
    with ThreadPoolExecutor(1, "odkd-write") as writer, ThreadPoolExecutor(1, "odkd-decode") as reader:
        try:
            reads.extend(reader.submit(next, source, _END) for _ in range(DEPTH))
            while (item := reads.popleft().result()) is not _END:
                reads.append(reader.submit(next, source, _END))
                result = work(item)  # type: ignore[arg-type]  # it is not _END
                while writes and (len(writes) >= DEPTH or writes[0].done()):
                    writes.popleft().result()
                writes.append(writer.submit(sink, result))
        finally:
            for read in reads:
                read.cancel()
            reader.submit(source.close)  # in the thread that ran it: a decoder is open in there
        for write in writes:
            write.result()
