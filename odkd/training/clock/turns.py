"""Whose turn it is at a teacher that several streams share: round robin, or most drift first."""

from collections.abc import Sequence
from typing import Any, Literal

from odkd.training.clock.stations import Item
from odkd.training.pace.drift import PageHinkley

Policy = Literal["round_robin", "drift"]
Lane = tuple[int, int]  # number of the student, and of the stream among those that it answers
TOLERANCE = 0.005  # fall of a confidence that is no drift, as that of pace=drift


def lane_of(item: Item) -> Lane:
    """Return the stream of a frame that waits for the teacher: (student, position, stream)."""
    return item[0], item[2]


class RoundRobin:
    """The stream whose turn is the longest ago comes first; of those that had none, the first one.

    >>> turns = RoundRobin()
    >>> frames = [(0, 5, 0), (0, 6, 0), (1, 5, 0)]  # student, position, stream
    >>> [turns.next(frames) for _ in range(3)]
    [0, 2, 0]
    """

    def __init__(self) -> None:
        self._turns: dict[Lane, int] = {}  # number of the last turn

    def lane(self, item: Item) -> Lane:
        return lane_of(item)

    def next(self, waiting: Sequence[Item]) -> int:
        chosen = min({lane_of(item) for item in waiting}, key=self.since)
        self._turns[chosen] = max(self._turns.values(), default=-1) + 1
        return [lane_of(item) for item in waiting].index(chosen)

    def since(self, lane: Lane) -> tuple[int, Lane]:
        """Return the number of a stream's last turn, and the stream: less is more urgent."""
        return self._turns.get(lane, -1), lane

    def state_dict(self) -> dict[str, Any]:
        return {"turns": [[*lane, turn] for lane, turn in self._turns.items()]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._turns = {(student, stream): turn for student, stream, turn in state["turns"]}


class MostDrift:
    """The stream with the most drift since its last turn comes first; where it is equal, round robin.

    Drift is the statistic of `pace=drift`, of the confidence of the student in the frames that were sent.
    """

    def __init__(self) -> None:
        self._round_robin = RoundRobin()
        self._detectors: dict[Lane, PageHinkley] = {}
        self._drift: dict[Lane, float] = {}

    def note(self, lane: Lane, confidence: float) -> None:
        """Take the confidence of a student in a frame that is sent."""
        self._drift[lane] = self._detectors.setdefault(lane, PageHinkley(TOLERANCE)).see(confidence)

    def lane(self, item: Item) -> Lane:
        return lane_of(item)

    def next(self, waiting: Sequence[Item]) -> int:
        most = max(self._drift.get(lane_of(item), 0.0) for item in waiting)
        places = [place for place, item in enumerate(waiting) if self._drift.get(lane_of(item), 0.0) == most]
        place = places[self._round_robin.next([waiting[place] for place in places])]
        lane = lane_of(waiting[place])
        if lane in self._detectors:
            self._detectors[lane].reset()
            self._drift[lane] = 0.0
        return place

    def state_dict(self) -> dict[str, Any]:
        detectors = [[*lane, detector.state(), self._drift[lane]] for lane, detector in self._detectors.items()]
        return {**self._round_robin.state_dict(), "detectors": detectors}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._round_robin.load_state_dict(state)
        self._detectors, self._drift = {}, {}
        for student, stream, detector, drift in state["detectors"]:
            self._detectors[student, stream] = PageHinkley(TOLERANCE)
            self._detectors[student, stream].load_state(detector)
            self._drift[student, stream] = drift


TURNS: dict[Policy, type[RoundRobin | MostDrift]] = {"round_robin": RoundRobin, "drift": MostDrift}
