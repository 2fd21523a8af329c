"""The settings of the clock: `timing=instant`, where nothing takes time, and `timing=simulated`."""

# ruff: noqa: ARG002 - methods of a protocol take arguments that only some of them use

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Literal, Protocol

from odkd.common.settings import NaturalInt, NonNegativeFloat, PositiveFloat, PositiveInt
from odkd.training.clock.durations import Durations
from odkd.training.clock.plan import ClockPlan
from odkd.training.clock.stations import WhenFull

Seconds = NonNegativeFloat | Literal["measured"]
MEASURABLE = ("teacher_seconds", "train_seconds", "student_seconds")


class Timing(Protocol):
    """The settings of a clock."""

    def to_measure(self) -> tuple[str, ...]:
        """Return which of `MEASURABLE` are to be measured."""

    def plan(self, frame_bytes: int, measured: Mapping[str, float]) -> ClockPlan:
        """Return the clock of a run.

        Args:
            frame_bytes: of a frame as the teacher sees it, uncompressed.
            measured: seconds, of those to measure.
        """


class Instant:
    """The teacher labels at once, training takes no time, and weights are where they are needed."""

    def to_measure(self) -> tuple[str, ...]:
        return ()

    def plan(self, frame_bytes: int, measured: Mapping[str, float]) -> ClockPlan:
        return ClockPlan(frame_bytes=frame_bytes)


@dataclass(frozen=True, kw_only=True)
class Simulated:
    """Each part takes its time; time is counted and never waited for.

    Args:
        teacher_seconds, train_seconds, student_seconds: for a frame, see `durations.Durations`; "measured" = as long
            as it takes on this machine.
        up_seconds, down_seconds: delay of the network.
        up_bits_per_second, down_bits_per_second: its bandwidth; None = no limit.
        frame_bytes: of a frame that is sent; None = height x width x 3, uncompressed.
        most_waiting: frames that wait for the uplink, and as many for the teacher, while they are busy; None = all.
        when_full: which of these is dropped when one more arrives.
    """

    teacher_seconds: Seconds = "measured"
    train_seconds: Seconds = "measured"
    student_seconds: Seconds = "measured"
    up_seconds: NonNegativeFloat = 0.0
    up_bits_per_second: PositiveFloat | None = None
    down_seconds: NonNegativeFloat = 0.0
    down_bits_per_second: PositiveFloat | None = None
    frame_bytes: PositiveInt | None = None
    most_waiting: NaturalInt | None = 0
    when_full: WhenFull = "drop_newest"

    def to_measure(self) -> tuple[str, ...]:
        return tuple(name for name in MEASURABLE if getattr(self, name) == "measured")

    def plan(self, frame_bytes: int, measured: Mapping[str, float]) -> ClockPlan:
        settings = {field.name: getattr(self, field.name) for field in fields(Durations)}
        return ClockPlan(
            frame_bytes=self.frame_bytes or frame_bytes,
            durations=Durations(**(settings | {name: measured[name] for name in self.to_measure()})),
            most_waiting=self.most_waiting,
            when_full=self.when_full,
            is_instant=False,
        )
