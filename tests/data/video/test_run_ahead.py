"""Work done side by side: results come in order, errors in their turn, and leaving ends the threads."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from odkd.data.video.run_ahead import run_ahead


@contextmanager
def counting() -> Iterator[Callable[[int], Iterator[int]]]:
    def count(piece: int) -> Iterator[int]:
        time.sleep(0.002 * (piece % 3))
        if piece == 13:
            raise OSError("thirteen")
        yield from range(10 * piece, 10 * piece + 5)

    yield count


@pytest.mark.parametrize("num_held", [1, 1000])
def test_results_come_in_order(num_held: int) -> None:
    found = list(run_ahead(range(12), counting, num_threads=3, num_held=num_held))
    assert found == [10 * piece + part for piece in range(12) for part in range(5)]


def test_an_error_comes_after_the_results_before_it() -> None:
    found: list[int] = []
    with pytest.raises(OSError, match="thirteen"):
        found.extend(run_ahead(range(20), counting, num_threads=2, num_held=8))
    assert found == [10 * piece + part for piece in range(13) for part in range(5)]


def test_leaving_early_ends_the_threads_and_closes_what_they_opened() -> None:
    closed: list[str] = []

    @contextmanager
    def endless() -> Iterator[Callable[[int], Iterator[int]]]:
        try:
            yield lambda _: iter(range(10**9))
        finally:
            closed.append(threading.current_thread().name)

    before = threading.active_count()
    results = run_ahead(range(100), endless, num_threads=3, num_held=6)
    assert [next(results) for _ in range(4)] == [0, 1, 2, 3]
    results.close()
    assert closed
    assert threading.active_count() == before


def test_no_more_is_held_than_was_asked_for() -> None:
    made: list[int] = []

    @contextmanager
    def noting() -> Iterator[Callable[[int], Iterator[int]]]:
        def note(_: int) -> Iterator[int]:
            for part in range(100):
                made.append(part)
                yield part

        yield note

    results = run_ahead(range(100), noting, num_threads=2, num_held=8)
    next(results)
    time.sleep(0.2)
    assert len(made) <= 8 + 4  # and one in the hand of each thread, and those taken
    results.close()
