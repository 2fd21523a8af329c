"""Frames, labels, trainings and weights under a simulated clock (see the package for the order of events)."""

# ruff: noqa: ARG002 - methods of a protocol take arguments that only some of them use

import copy
from dataclasses import dataclass
from typing import Any, Protocol

from odkd.training.clock.agenda import Agenda, Event
from odkd.training.clock.durations import Durations, transmission
from odkd.training.clock.stations import Station, WhenFull


@dataclass(frozen=True)
class Training:
    """What a training has come to.

    Args:
        num_learned: frames in its updates, each as often as it is in one.
        num_updates: made.
        version: of the weights that it has made; -1 = the student has not changed.
        is_enough: the pace's goal is reached.
    """

    num_learned: int
    num_updates: int
    version: int
    is_enough: bool


class World(Protocol):
    """What happens at an event; the simulation only knows when."""

    def labelled(self, position: int, seconds: float) -> bool:
        """Take the label of a position; return whether to train now."""

    def train(self, number: int, seconds: float) -> Training | None:
        """Make a training with what is known now; None = none can begin."""

    def trained(self, training: Training, seconds: float) -> None:
        """Note that a training is complete."""

    def update_bytes(self, version: int, after: int) -> int:
        """Return the bytes that are sent to bring the student from the weights that were sent last to these."""

    def deployed(self, version: int, seconds: float) -> None:
        """Use these weights from now on."""

    def dropped(self, version: int) -> None:
        """Forget weights that newer ones have overtaken."""


class Simulation:
    """The four stations between which frames and weights pass, and the time.

    Args:
        durations: of all parts.
        frame_bytes: of a frame on the uplink.
        most_waiting, when_full: policy of the uplink and of the teacher, see `Station`.
    """

    def __init__(
        self,
        durations: Durations,
        *,
        frame_bytes: int,
        most_waiting: int | None = 0,
        when_full: WhenFull = "drop_newest",
    ) -> None:
        self.durations, self._frame_bytes = durations, frame_bytes
        self._agenda = Agenda()
        self.up, self.teacher = Station(most_waiting, when_full), Station(most_waiting, when_full)
        self.trainer, self.down = Station(1, "drop_newest"), Station(1, "drop_oldest")
        self.now = 0.0
        self.num_trainings = 0  # asked for
        self.bytes_up = self.bytes_down = 0
        self._sent = 0  # version that was sent last; the student has the first one

    @property
    def stations(self) -> dict[str, Station]:
        """All stations, by name."""
        return {"up": self.up, "teacher": self.teacher, "trainer": self.trainer, "down": self.down}

    def run_until(self, seconds: float, rank: int, world: World) -> None:
        """Let everything happen that comes before a time and rank; then it is that time."""
        while (event := self._agenda.pop_before(seconds, rank)) is not None:
            self.now = event.seconds
            self._happen(event, world)
        self.now = seconds

    def send(self, position: int) -> None:
        """Send a frame up now."""
        self.up.offer((position,))
        self._begin_up()

    def ask_training(self, world: World) -> None:
        """Train now, or when the trainer is free; left out if a training waits already."""
        self.trainer.offer((self.num_trainings,))
        self.num_trainings += 1
        self._begin_training(world)

    def to_come(self, seconds: float, world: World) -> list[tuple[float, int]]:
        """Return when weights are deployed until a time, with their versions, if no training begins any more."""
        ahead, ghost = copy.deepcopy(self), _Ghost(world)
        ahead.run_until(seconds, 1, ghost)
        return ghost.found

    def _happen(self, event: Event, world: World) -> None:
        now, item = self.now, event.item
        if event.name == "sent_up":
            self.up.end(now)
            self._agenda.add(now + self.durations.up_seconds, "arrived_up", item)
            self._begin_up()
        elif event.name == "arrived_up":
            self.teacher.offer(item)
            self._begin_teacher()
        elif event.name == "labelled":
            self.teacher.end(now)
            if world.labelled(item[0], now):
                self.ask_training(world)
            self._begin_teacher()
        elif event.name == "trained":
            training = Training(item[0], item[1], item[2], bool(item[3]))
            self.trainer.end(now)
            world.trained(training, now)
            if training.version >= 0:
                self._send_down(training, world)
            self._begin_training(world)
        elif event.name == "sent_down":
            self.down.end(now)
            self._agenda.add(now + self.durations.down_seconds, "deployed", item)
            self._begin_down(world)
        else:
            assert event.name == "deployed"
            world.deployed(item[0], now)

    def _begin_up(self) -> None:
        if (item := self.up.begin(self.now)) is not None:
            self.bytes_up += self._frame_bytes
            lasts = transmission(self._frame_bytes, self.durations.up_bits_per_second)
            self._agenda.add(self.now + lasts, "sent_up", item)

    def _begin_teacher(self) -> None:
        if (item := self.teacher.begin(self.now)) is not None:
            self._agenda.add(self.now + self.durations.teacher_seconds, "labelled", item)

    def _begin_training(self, world: World) -> None:
        if (item := self.trainer.begin(self.now)) is None:
            return
        if (training := world.train(item[0], self.now)) is None:
            self.trainer.end(self.now)
            return
        lasts = training.num_learned * self.durations.train_seconds
        numbers = (training.num_learned, training.num_updates, training.version)
        self._agenda.add(self.now + lasts, "trained", (*numbers, int(training.is_enough)))

    def _send_down(self, training: Training, world: World) -> None:
        overtaken = self.down.offer((training.version,))
        if overtaken is not None:
            world.dropped(overtaken[0])
        self._begin_down(world)

    def _begin_down(self, world: World) -> None:
        if (item := self.down.begin(self.now)) is not None:
            size, self._sent = world.update_bytes(item[0], self._sent), item[0]
            self.bytes_down += size
            self._agenda.add(self.now + transmission(size, self.durations.down_bits_per_second), "sent_down", item)

    def state_dict(self) -> dict[str, Any]:
        return {
            "agenda": self._agenda.state_dict(),
            "stations": {name: station.state_dict() for name, station in self.stations.items()},
            "numbers": [self.now, self.num_trainings, self.bytes_up, self.bytes_down, self._sent],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._agenda.load_state_dict(state["agenda"])
        for name, station in self.stations.items():
            station.load_state_dict(state["stations"][name])
        self.now, self.num_trainings, self.bytes_up, self.bytes_down, self._sent = state["numbers"]


class _Ghost:
    """A world in which no training begins; it notes which weights would be deployed.

    Args:
        world: in which these weights were made.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.found: list[tuple[float, int]] = []

    def labelled(self, position: int, seconds: float) -> bool:
        return False

    def train(self, number: int, seconds: float) -> None:
        return None

    def trained(self, training: Training, seconds: float) -> None:
        return

    def update_bytes(self, version: int, after: int) -> int:
        return self._world.update_bytes(version, after)

    def deployed(self, version: int, seconds: float) -> None:
        self.found.append((seconds, version))

    def dropped(self, version: int) -> None:
        return
