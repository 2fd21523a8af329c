"""A station works on one item at a time; others wait, and a policy says what is dropped when too many do.

It knows no clock: whoever uses it says what time it is, simulated or real.
"""

from collections import deque
from collections.abc import Hashable, Sequence
from typing import Any, Literal, Protocol

WhenFull = Literal["drop_newest", "drop_oldest"]
Item = tuple[int, ...]


class Turns(Protocol):
    """Whose turn it is at a station that several share: each has a lane of its own, with a queue."""

    def lane(self, item: Item) -> Hashable:
        """Return the lane of an item."""

    def next(self, waiting: Sequence[Item]) -> int:
        """Return the place of the item that begins now, of those that wait, oldest first; there is at least one."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that a later turn depends on, as plain numbers and lists."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the result of `state_dict()`."""


def counts_of(num_dropped: int, trainer: "Station", down: "Station") -> dict[str, int]:
    """Return what `rates.Stations.counts` returns.

    Args:
        num_dropped: frames that nobody has labelled.
    """
    return {
        "frames_dropped": num_dropped,
        "trainings": trainer.num_begun,
        "trainings_left_out": trainer.num_dropped,
        "weights_dropped": down.num_dropped,
    }


class Station:
    """A teacher, a trainer or a link.

    Args:
        turns: of those that share it, each with a queue of its own; None = one queue, first come, first served.
        most_waiting: items that may wait while it works; None = any number.
        when_full: which of the waiting items is dropped when one more arrives.

    >>> teacher = Station(most_waiting=1, when_full="drop_oldest")
    >>> teacher.offer((1,)), teacher.begin(0.0), teacher.begin(0.0)
    (None, (1,), None)
    >>> teacher.offer((2,)), teacher.offer((3,))
    (None, (2,))
    >>> teacher.end(1.5), teacher.begin(1.5), teacher.busy_seconds(2.0)
    (None, (3,), 2.0)
    """

    def __init__(self, most_waiting: int | None, when_full: WhenFull, turns: Turns | None = None) -> None:
        self._most_waiting, self._when_full, self._turns = most_waiting, when_full, turns
        self._waiting: deque[Item] = deque()
        self._busy_since: float | None = None
        self._busy_before = 0.0
        self.num_begun = self.num_dropped = 0

    @property
    def is_busy(self) -> bool:
        """True while it works on an item."""
        return self._busy_since is not None

    def offer(self, item: Item) -> Item | None:
        """Put an item in the queue; return the one that is dropped for it, or None."""
        self._waiting.append(item)
        turns = self._turns
        queue = [other for other in self._waiting if turns is None or turns.lane(other) == turns.lane(item)]
        # What an idle station begins at once does not wait.
        if self._most_waiting is None or len(queue) <= self._most_waiting + (not self.is_busy):
            return None
        self.num_dropped += 1
        dropped = queue[-1] if self._when_full == "drop_newest" else queue[0]
        self._waiting.remove(dropped)
        return dropped

    def begin(self, seconds: float) -> Item | None:
        """Return the item that it begins to work on now; None if it is busy or nothing waits."""
        if self.is_busy or not self._waiting:
            return None
        self._busy_since = seconds
        self.num_begun += 1
        item = self._waiting[0 if self._turns is None else self._turns.next(tuple(self._waiting))]
        self._waiting.remove(item)
        return item

    def drop(self) -> Item | None:
        """Drop the oldest waiting item, because nobody will work on it; return it, or None if nothing waits."""
        if not self._waiting:
            return None
        self.num_dropped += 1
        return self._waiting.popleft()

    def end(self, seconds: float) -> None:
        """Note that the item is done."""
        self._busy_before, self._busy_since = self.busy_seconds(seconds), None

    def busy_seconds(self, seconds: float) -> float:
        """Return for how long it has worked until now."""
        return self._busy_before + (0.0 if self._busy_since is None else seconds - self._busy_since)

    def state_dict(self) -> dict[str, Any]:
        return {
            "waiting": [list(item) for item in self._waiting],
            "busy": [self._busy_since, self._busy_before],
            "counts": [self.num_begun, self.num_dropped],
            **({} if self._turns is None else {"turns": self._turns.state_dict()}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._waiting = deque(tuple(item) for item in state["waiting"])
        self._busy_since, self._busy_before = state["busy"]
        self.num_begun, self.num_dropped = state["counts"]
        if self._turns is not None:
            self._turns.load_state_dict(state["turns"])
