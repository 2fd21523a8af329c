"""How busy each part was in an iteration, what was dropped, and which frame the student looks at."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from odkd.common.metric_names import metric_name

STATIONS = ("up", "teacher", "trainer", "down")


class Stations(Protocol):
    """The stations of a run, under a simulated clock or a real one."""

    @property
    def now(self) -> float: ...
    @property
    def bytes_up(self) -> int: ...
    @property
    def bytes_down(self) -> int: ...

    def busy_seconds(self) -> Mapping[str, float]:
        """Return for how long each station has worked until now."""

    def counts(self) -> Mapping[str, int]:
        """Return the counts of frames, trainings and weights so far: `frames_dropped`, `trainings`, ..."""


class Rates:
    """Metrics of stations since the last iteration."""

    def __init__(self) -> None:
        self._busy = dict.fromkeys(STATIONS, 0.0)
        self._counts: dict[str, int] = {}
        self._seconds = 0.0
        self._bytes = (0, 0)

    def metrics(self, run: Stations, num_missed: int) -> dict[str, float]:
        """Return shares of time and counts, by metric name; a share of no time is NaN.

        Args:
            num_missed: frames for which the student was too busy.
        """
        now, busy_until_now = run.now, run.busy_seconds()
        seconds, self._seconds = now - self._seconds, now
        found: dict[str, float] = {metric_name("clock", "seconds"): seconds}
        for name, busy in busy_until_now.items():
            share = (busy - self._busy[name]) / seconds if seconds else float("nan")
            found[metric_name("clock", f"{name}_utilisation")] = share
            self._busy[name] = busy
        counts = dict(run.counts())
        for name, count in counts.items():
            found[metric_name("clock", name)] = count - self._counts.get(name, 0)
        self._counts = counts
        return found | {metric_name("clock", "frames_missed"): num_missed}

    def new_bytes(self, run: Stations) -> tuple[int, int]:
        """Return the bytes that went up and down since the last call."""
        before, self._bytes = self._bytes, (run.bytes_up, run.bytes_down)
        return self._bytes[0] - before[0], self._bytes[1] - before[1]

    def state_dict(self) -> dict[str, Any]:
        return {"busy": self._busy, "counts": self._counts, "seconds": self._seconds, "bytes": list(self._bytes)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._busy, self._counts, self._seconds = dict(state["busy"]), dict(state["counts"]), state["seconds"]
        self._bytes = (state["bytes"][0], state["bytes"][1])


def shown_frames(seconds: Sequence[float], begin: int, student_seconds: float) -> list[int]:
    """Return the frame whose answer stands at each position: itself, or an earlier one while the student was busy.

    Args:
        seconds: when each position arrives.
        begin: the first position that it looks at; those before stand for themselves.

    >>> shown_frames([0.0, 1.0, 2.0, 3.0], 0, 1.5)
    [0, 0, 2, 2]
    """
    shown, free = list(range(begin)), float("-inf")
    for position in range(begin, len(seconds)):
        if seconds[position] >= free:
            shown.append(position)
            free = seconds[position] + student_seconds
        else:
            shown.append(shown[-1])
    return shown
