"""What a run along a stream costs: frames for the teacher, updates of the student, bytes on the network.

The cost model is that of JITNet (Mullapudi et al. 2019): what the teacher would need for all frames, over what it needs
for those that it sees, the student for all others, and the trainer.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from odkd.common.metric_names import metric_name
from odkd.training.clock.durations import JITNET, Durations

COUNTS = {  # name of the metric -> the count
    "frames": "num_frames",
    "teacher_frames": "num_labelled",
    "updates": "num_updates",
    "learned_frames": "num_learned",
    "bytes_up": "bytes_up",
    "bytes_down": "bytes_down",
}


@dataclass
class Costs:
    """Counts of an iteration.

    Args:
        num_frames: of the stream.
        num_labelled: frames that the teacher has labelled.
        num_updates: of the student.
        num_learned: frames in these updates.
        bytes_up, bytes_down: of frames to the teacher, and of weights to the student.
    """

    num_frames: int = 0
    num_labelled: int = 0
    num_updates: int = 0
    num_learned: int = 0
    bytes_up: int = 0
    bytes_down: int = 0

    def count_update(self, num_positions: int) -> None:
        """Count an update with so many frames."""
        self.num_updates += 1
        self.num_learned += num_positions

    def metrics(self) -> dict[str, float]:
        """Return the counts by metric name."""
        return {metric_name("cost", name): getattr(self, count) for name, count in COUNTS.items()}


def weights_bytes(weights: Mapping[str, Tensor]) -> int:
    """Return the bytes of all weights of a network, as they are: an update that sends everything."""
    return sum(tensor.numel() * tensor.element_size() for tensor in weights.values())


def summary_of(records: Sequence[dict[str, Any]], durations: Durations | None) -> dict[str, float]:
    """Return the costs of a run, from its metrics lines; {} if some were written by an odkd that did not count.

    Args:
        durations: of the run's clock, for the speed-up with these; None = it has none.
    """
    columns = {name: [record["metrics"].get(metric_name("cost", name)) for record in records] for name in COUNTS}
    if any(value is None for column in columns.values() for value in column):
        return {}
    totals = {name: sum(column) for name, column in columns.items()}
    counts = {COUNTS[name]: totals[name] for name in ("frames", "teacher_frames", "learned_frames")}
    found: dict[str, float] = {metric_name("cost", name): total for name, total in totals.items()}
    found[metric_name("cost", "teacher_share")] = _ratio(totals["teacher_frames"], totals["frames"])
    found[metric_name("cost", "speed_up")] = JITNET.speed_up(**counts)
    if durations is not None:
        found[metric_name("clock", "speed_up")] = durations.speed_up(**counts)
    return found


def _ratio(part: float, whole: float) -> float:
    return part / whole if whole else float("nan")
