"""A station works on one item at a time; others wait, and a policy says what is dropped when too many do.

It knows no clock: whoever uses it says what time it is, simulated or real.
"""

from collections import deque
from typing import Any, Literal

WhenFull = Literal["drop_newest", "drop_oldest"]
Item = tuple[int, ...]


class Station:
    """A teacher, a trainer or a link.

    Args:
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

    def __init__(self, most_waiting: int | None, when_full: WhenFull) -> None:
        self._most_waiting, self._when_full = most_waiting, when_full
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
        # What an idle station begins at once does not wait.
        if self._most_waiting is None or len(self._waiting) <= self._most_waiting + (not self.is_busy):
            return None
        self.num_dropped += 1
        return self._waiting.pop() if self._when_full == "drop_newest" else self._waiting.popleft()

    def begin(self, seconds: float) -> Item | None:
        """Return the item that it begins to work on now; None if it is busy or nothing waits."""
        if self.is_busy or not self._waiting:
            return None
        self._busy_since = seconds
        self.num_begun += 1
        return self._waiting.popleft()

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
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._waiting = deque(tuple(item) for item in state["waiting"])
        self._busy_since, self._busy_before = state["busy"]
        self.num_begun, self.num_dropped = state["counts"]
