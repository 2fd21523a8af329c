"""What the students of several streams share: one order of events, and one teacher."""

from typing import Any, Protocol

from odkd.training.clock.agenda import Agenda, Event
from odkd.training.clock.stations import Station
from odkd.training.clock.world import World


class Student(Protocol):
    """A student that shares a desk."""

    def happen(self, event: Event, world: World) -> None:
        """Take an event of this student, whose time has come."""


class Desk:
    """The agenda and the teacher of one student, or of several; items of the agenda begin with the student's number.

    Args:
        teacher: that labels the frames of all of them.
    """

    def __init__(self, teacher: Station) -> None:
        self.teacher, self._agenda = teacher, Agenda()
        self._students: list[tuple[Student, World | None]] = []

    def join(self, student: Student) -> int:
        """Add a student; return its number."""
        self._students.append((student, None))
        return len(self._students) - 1

    def enter(self, number: int, world: World) -> None:
        """Note the world of a student: in it happens what another student's question brings about."""
        self._students[number] = self._students[number][0], world

    def add(self, number: int, seconds: float, name: str, item: tuple[int, ...]) -> None:
        """Enter an event of a student."""
        self._agenda.add(seconds, name, (number, *item))

    def run_until(self, seconds: float, rank: int, number: int, world: World) -> None:
        """Let everything happen, to all students, that comes before a time and rank.

        Args:
            number: of the student that asks.
            world: of that student.
        """
        self.enter(number, world)
        while (event := self._agenda.pop_before(seconds, rank)) is not None:
            student, its_world = self._students[event.item[0]]
            assert its_world is not None, "a student with events has no world"
            student.happen(event, its_world)

    def events_of(self, number: int) -> list[Event]:
        """Return the events to come of a student, in order."""
        return [event for event in self._agenda.to_come() if event.item[0] == number]

    def state_dict(self) -> dict[str, Any]:
        return {"agenda": self._agenda.state_dict(), "teacher": self.teacher.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._agenda.load_state_dict(state["agenda"])
        self.teacher.load_state_dict(state["teacher"])
