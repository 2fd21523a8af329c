"""Frames, labels, trainings and weights under a simulated clock (see the package for the order of events)."""

# ruff: noqa: ARG002 - methods of a protocol take arguments that only some of them use

from typing import Any

from odkd.training.clock.agenda import Event
from odkd.training.clock.desk import Desk
from odkd.training.clock.durations import Durations, transmission
from odkd.training.clock.stations import Station, WhenFull, counts_of
from odkd.training.clock.world import Training, World

DOWNWARDS = ("trained", "sent_down", "deployed")  # events after which weights are used


class Simulation:
    """The four stations between which frames and weights pass, and the time.

    Args:
        durations: of all parts.
        frame_bytes: of a frame on the uplink.
        most_waiting, when_full: policy of the uplinks and of the teacher, see `Station`.
        num_streams: whose frames the student answers; each has an uplink of its own.
        desk: that it shares with other students; None = it has one of its own.
    """

    def __init__(
        self,
        durations: Durations,
        *,
        frame_bytes: int,
        most_waiting: int | None = 0,
        when_full: WhenFull = "drop_newest",
        num_streams: int = 1,
        desk: Desk | None = None,
    ) -> None:
        self.durations, self._frame_bytes = durations, frame_bytes
        self._is_alone = desk is None
        self._desk = desk or Desk(Station(most_waiting, when_full))
        self.number = self._desk.join(self)
        self.teacher = self._desk.teacher
        self.ups = [Station(most_waiting, when_full) for _ in range(num_streams)]
        self.trainer, self.down = Station(1, "drop_newest"), Station(1, "drop_oldest")
        self.now = 0.0
        self.num_trainings = 0  # asked for
        self.num_turned_away = 0  # frames that the teacher had no time for
        self.bytes_up = self.bytes_down = 0
        self._sent = 0  # version that was sent last; the student has the first one

    @property
    def num_dropped(self) -> int:
        """Frames that were dropped before an uplink or before the teacher."""
        return sum(up.num_dropped for up in self.ups) + self.num_turned_away

    def busy_seconds(self) -> dict[str, float]:
        """Return for how long each station has worked until now; of the uplinks it is the mean."""
        ups = [up.busy_seconds(self.now) for up in self.ups]
        stations = {"teacher": self.teacher, "trainer": self.trainer, "down": self.down}
        return {"up": sum(ups) / len(ups)} | {name: part.busy_seconds(self.now) for name, part in stations.items()}

    def counts(self) -> dict[str, int]:
        """Return the counts of frames, trainings and weights so far."""
        return counts_of(self.num_dropped, self.trainer, self.down)

    def run_until(self, seconds: float, rank: int, world: World) -> None:
        """Let everything happen that comes before a time and rank, to all who share the desk; then it is that time."""
        self._desk.run_until(seconds, rank, self.number, world)
        self.now = seconds

    def enter(self, world: World) -> None:
        """Have events happen in a world also when another student asks, as after a run is resumed."""
        self._desk.enter(self.number, world)

    def send(self, position: int, stream: int = 0) -> None:
        """Send a frame of a stream up now."""
        self.ups[stream].offer((position, stream))
        self._begin_up(stream)

    def ask_training(self, world: World) -> None:
        """Train now, or when the trainer is free; left out if a training waits already."""
        self.trainer.offer((self.num_trainings,))
        self.num_trainings += 1
        self._begin_training(world)

    def to_come(self, seconds: float, world: World) -> list[tuple[float, int]]:
        """Return when weights are deployed until a time, with their versions, if no training begins any more."""
        ahead, ghost = Simulation(self.durations, frame_bytes=self._frame_bytes), _Ghost(world)
        for name in ("trainer", "down"):
            getattr(ahead, name).load_state_dict(getattr(self, name).state_dict())
        ahead.now, ahead._sent = self.now, self._sent
        for event in self._desk.events_of(self.number):
            if event.name in DOWNWARDS:
                ahead._add(event.seconds, event.name, event.item[1:])
        ahead.run_until(seconds, 1, ghost)
        return ghost.found

    def happen(self, event: Event, world: World) -> None:
        """Take an event of this student, whose time has come."""
        self.now = now = event.seconds
        item = event.item[1:]
        if event.name == "sent_up":
            self.ups[item[1]].end(now)
            self._add(now + self.durations.up_seconds, "arrived_up", item)
            self._begin_up(item[1])
        elif event.name == "arrived_up":
            self.num_turned_away += self.teacher.offer((self.number, *item)) is not None
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
            self._add(now + self.durations.down_seconds, "deployed", item)
            self._begin_down(world)
        else:
            assert event.name == "deployed"
            world.deployed(item[0], now)

    def _add(self, seconds: float, name: str, item: tuple[int, ...]) -> None:
        self._desk.add(self.number, seconds, name, item)

    def _begin_up(self, stream: int) -> None:
        if (item := self.ups[stream].begin(self.now)) is not None:
            self.bytes_up += self._frame_bytes
            lasts = transmission(self._frame_bytes, self.durations.up_bits_per_second)
            self._add(self.now + lasts, "sent_up", item)

    def _begin_teacher(self) -> None:
        if (item := self.teacher.begin(self.now)) is not None:  # its frame may be of another student
            self._desk.add(item[0], self.now + self.durations.teacher_seconds, "labelled", item[1:])

    def _begin_training(self, world: World) -> None:
        if (item := self.trainer.begin(self.now)) is None:
            return
        if (training := world.train(item[0], self.now)) is None:
            self.trainer.end(self.now)
            return
        lasts = training.num_learned * self.durations.train_seconds
        numbers = (training.num_learned, training.num_updates, training.version)
        self._add(self.now + lasts, "trained", (*numbers, int(training.is_enough)))

    def _send_down(self, training: Training, world: World) -> None:
        overtaken = self.down.offer((training.version,))
        if overtaken is not None:
            world.dropped(overtaken[0])
        self._begin_down(world)

    def _begin_down(self, world: World) -> None:
        if (item := self.down.begin(self.now)) is not None:
            size, self._sent = world.update_bytes(item[0], self._sent), item[0]
            self.bytes_down += size
            self._add(self.now + transmission(size, self.durations.down_bits_per_second), "sent_down", item)

    def state_dict(self) -> dict[str, Any]:
        """Return its state, with that of its desk if it does not share it."""
        counts = [self.num_trainings, self.num_turned_away, self.bytes_up, self.bytes_down, self._sent]
        return {
            **({"desk": self._desk.state_dict()} if self._is_alone else {}),
            "stations": [station.state_dict() for station in (*self.ups, self.trainer, self.down)],
            "now": self.now,
            "counts": counts,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._is_alone:
            self._desk.load_state_dict(state["desk"])
        for station, its_state in zip((*self.ups, self.trainer, self.down), state["stations"], strict=True):
            station.load_state_dict(its_state)
        self.now = state["now"]
        self.num_trainings, self.num_turned_away, self.bytes_up, self.bytes_down, self._sent = state["counts"]


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
