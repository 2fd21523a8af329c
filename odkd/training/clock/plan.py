"""What a run knows of time: its durations, and what may wait."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from odkd.training.clock.desk import Desk
from odkd.training.clock.durations import INSTANT, Durations
from odkd.training.clock.simulation import Simulation
from odkd.training.clock.stations import Station, Turns, WhenFull


@dataclass(frozen=True, kw_only=True)
class ClockPlan:
    """The clock of a run.

    Args:
        frame_bytes: of a frame that is sent to the teacher.
        durations: of all parts.
        most_waiting, when_full: policy of the uplink and the teacher, see `stations.Station`.
        seconds_per_frame: between two sampled frames; None = the times of the stream.
        is_instant: no clock runs, the metrics have no ages and rates.
    """

    frame_bytes: int
    durations: Durations = INSTANT
    most_waiting: int | None = None
    when_full: WhenFull = "drop_newest"
    seconds_per_frame: float | None = None
    is_instant: bool = True

    def simulation(self, num_streams: int = 1, desk: Desk | None = None) -> Simulation:
        """Return a simulation at time 0.

        Args:
            num_streams, desk: see `Simulation`.
        """
        return Simulation(
            self.durations,
            frame_bytes=self.frame_bytes,
            most_waiting=self.most_waiting,
            when_full=self.when_full,
            num_streams=num_streams,
            desk=desk,
        )

    def shared_desk(self, turns: Turns, num_streams: int) -> Desk:
        """Return a desk whose teacher is shared by turns.

        Raises:
            ValueError: no frame waits, so that there is nothing to choose from.
        """
        if num_streams > 1 and self.most_waiting == 0:
            raise ValueError(
                f"timing.most_waiting=0 with {num_streams} streams: a shared teacher chooses from frames that wait; "
                "set timing.most_waiting=1 timing.when_full=drop_oldest"
            )
        return Desk(Station(self.most_waiting, self.when_full, turns))

    def arrivals(self, seconds_N: np.ndarray) -> np.ndarray:
        """Return float64 [N], when each frame arrives.

        Args:
            seconds_N: float64 [N], its time in the stream.

        >>> ClockPlan(frame_bytes=0, seconds_per_frame=2.0).arrivals(np.array([0.0, 0.04, 0.08]))
        array([0., 2., 4.])
        """
        if self.seconds_per_frame is None:
            return seconds_N
        return np.asarray(np.arange(len(seconds_N)) * self.seconds_per_frame, np.float64)

    def record(self) -> dict[str, Any]:
        """Return the durations as they are kept with a run, durations.json."""
        return asdict(self.durations)
