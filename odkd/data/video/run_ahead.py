"""Pieces of work done side by side by threads, their results consumed in order while the later ones are being made."""

import itertools
import queue
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from typing import Any, TypeVar

Piece = TypeVar("Piece")
Result = TypeVar("Result")
PIECES_AHEAD = 2  # per thread, the one at work included
WAKE_SECONDS = 0.05  # after which a thread that waits for room looks whether the consumer has left
END = object()


class ConsumerHasLeft(Exception):  # noqa: N818 - it ends the work on a piece, and is no error
    """The results are not wanted any more."""


@dataclass(frozen=True)
class _Failure:
    error: BaseException


def run_ahead(
    pieces: Iterable[Piece],
    open_worker: Callable[[], AbstractContextManager[Callable[[Piece], Iterator[Result]]]],
    *,
    num_threads: int,
    num_held: int,
) -> Generator[Result]:
    """Yield the results of all pieces in order; leaving early ends the threads before it returns.

    Args:
        open_worker: opens what a thread works with, a function from a piece to its results; called once a thread.
        num_held: results that wait for the consumer at most, of all pieces together; but one of each piece may.
    """
    num_ahead = PIECES_AHEAD * num_threads
    room = max(1, num_held // num_ahead)
    stop, own = threading.Event(), threading.local()
    rest, boxes = iter(pieces), deque[queue.Queue[Any]]()

    def put(box: queue.Queue[Any], result: object) -> None:
        while not stop.is_set():
            try:
                return box.put(result, timeout=WAKE_SECONDS)
            except queue.Full:
                continue
        raise ConsumerHasLeft

    def work(piece: Piece, box: queue.Queue[Any]) -> None:
        try:
            if not hasattr(own, "results_of"):
                own.results_of = workers.enter_context(open_worker())
            for result in own.results_of(piece):
                put(box, result)
            put(box, END)
        except BaseException as error:  # the consumer raises it in its turn
            put(box, _Failure(error))

    with ExitStack() as workers:
        pool = ThreadPoolExecutor(num_threads, thread_name_prefix="odkd-ahead")

        def submit(num_pieces: int) -> None:
            for piece in itertools.islice(rest, num_pieces):
                boxes.append(queue.Queue(room))
                pool.submit(work, piece, boxes[-1])

        try:
            submit(num_ahead)
            while boxes:
                while (result := boxes[0].get()) is not END:
                    if isinstance(result, _Failure):
                        raise result.error
                    yield result
                boxes.popleft()
                submit(1)
        finally:
            stop.set()
            pool.shutdown(wait=True, cancel_futures=True)
