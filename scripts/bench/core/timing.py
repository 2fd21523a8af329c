"""Timing in turn: in every round each function runs once, so that a drift of the machine's speed meets all alike."""

import gc
from collections.abc import Callable, Mapping
from time import perf_counter

Timed = Callable[[], object]


def seconds_of(function: Timed) -> float:
    """Call the function once; return the seconds, or what it returns itself if that is a float: seconds of its own."""
    started = perf_counter()
    found = function()
    return found if isinstance(found, float) else perf_counter() - started


def in_turn(functions: Mapping[str, Timed], rounds: int, *, warm_up: bool = True) -> dict[str, list[float]]:
    """Call all functions in turn, `rounds` times; return name -> seconds, one sample a round.

    The order is reversed in every other round. A round before them warms up and does not count.
    """
    if warm_up:
        for function in functions.values():
            function()
    seconds: dict[str, list[float]] = {name: [] for name in functions}
    for number in range(rounds):
        gc.collect()  # of what earlier calls have left, which would be charged to this one
        for name in list(functions) if number % 2 == 0 else reversed(list(functions)):
            seconds[name].append(seconds_of(functions[name]))
    return seconds
