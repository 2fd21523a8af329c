"""What is still to happen: events in the order of their time."""

import bisect
from dataclasses import astuple, dataclass
from typing import Any

COMPLETION, TICK, FRAME = 0, 1, 2  # ranks: what comes first at equal times


@dataclass(frozen=True, order=True)
class Event:
    """Something that happens at a time; events sort by time, rank, and order of entry.

    Args:
        seconds: when.
        rank: what comes first at equal times: COMPLETION, TICK or FRAME.
        number: of its entry.
        name: what happens.
        item: to what: whole numbers.
    """

    seconds: float
    rank: int
    number: int
    name: str
    item: tuple[int, ...]


class Agenda:
    """Events to come.

    >>> agenda = Agenda()
    >>> agenda.add(2.0, "labelled", (7,))
    >>> agenda.add(1.0, "sent", (8,))
    >>> agenda.pop_before(2.0, TICK).name, agenda.pop_before(2.0, TICK).name, agenda.pop_before(2.0, TICK)
    ('sent', 'labelled', None)
    """

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._num_added = 0

    def add(self, seconds: float, name: str, item: tuple[int, ...] = (), rank: int = COMPLETION) -> None:
        """Enter an event."""
        bisect.insort(self._events, Event(seconds, rank, self._num_added, name, item))
        self._num_added += 1

    def pop_before(self, seconds: float, rank: int) -> Event | None:
        """Remove and return the first event that comes before a time and rank; None if there is none."""
        if self._events and (self._events[0].seconds, self._events[0].rank) < (seconds, rank):
            return self._events.pop(0)
        return None

    def to_come(self) -> tuple[Event, ...]:
        """Return all events, in order."""
        return tuple(self._events)

    def state_dict(self) -> dict[str, Any]:
        return {"events": [[*astuple(event)[:4], list(event.item)] for event in self._events], "added": self._num_added}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._events = [
            Event(seconds, rank, number, name, tuple(item)) for seconds, rank, number, name, item in state["events"]
        ]
        self._num_added = state["added"]
