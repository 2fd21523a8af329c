"""What a run knows of time: its durations, and what may wait."""

from dataclasses import asdict, dataclass
from typing import Any

from odkd.training.clock.durations import INSTANT, Durations
from odkd.training.clock.simulation import Simulation
from odkd.training.clock.stations import WhenFull


@dataclass(frozen=True, kw_only=True)
class ClockPlan:
    """The clock of a run.

    Args:
        frame_bytes: of a frame that is sent to the teacher.
        durations: of all parts.
        most_waiting, when_full: policy of the uplink and the teacher, see `stations.Station`.
        is_instant: no clock runs, the metrics have no ages and rates.
    """

    frame_bytes: int
    durations: Durations = INSTANT
    most_waiting: int | None = None
    when_full: WhenFull = "drop_newest"
    is_instant: bool = True

    def simulation(self) -> Simulation:
        """Return a simulation at time 0."""
        return Simulation(
            self.durations, frame_bytes=self.frame_bytes, most_waiting=self.most_waiting, when_full=self.when_full
        )

    def record(self) -> dict[str, Any]:
        """Return the durations as they are kept with a run, durations.json."""
        return asdict(self.durations)
