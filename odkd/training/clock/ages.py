"""How old the weights and the newest label are at each test frame."""

import math
from collections.abc import Mapping
from typing import Any

from odkd.common.metric_names import metric_name


class Ages:
    """The labels that have come, and when."""

    def __init__(self) -> None:
        self._labels: list[tuple[float, int, float]] = []  # when it came, position, when its frame had arrived

    def label(self, seconds: float, position: int, arrived: float) -> None:
        """Note that the label of a position has come."""
        self._labels.append((seconds, position, arrived))

    def metrics(self, seconds: Mapping[int, float], learned_at: Mapping[int, float]) -> dict[str, float]:
        """Return mean and largest ages over the test frames, by metric name; NaN where there is nothing yet.

        Args:
            seconds: when each test frame arrives.
            learned_at: when the training of the weights that answer it began.
        """
        weights = [now - learned_at[position] for position, now in seconds.items()]
        labels = [now - self._newest_before(position, now) for position, now in seconds.items()]
        found: dict[str, float] = {}
        for name, ages in (("weights", weights), ("label", labels)):
            known = [age for age in ages if math.isfinite(age)]
            mean = math.fsum(known) / len(known) if known else math.nan
            found[metric_name("clock", f"{name}_age_seconds")] = mean
            found[metric_name("clock", f"{name}_age_most_seconds")] = max(known, default=math.nan)
        return found

    def _newest_before(self, position: int, seconds: float) -> float:
        """Return when the newest frame that has a label by now had arrived; frames from `position` on do not count."""
        known = [arrived for came, other, arrived in self._labels if came <= seconds and other < position]
        return max(known, default=-math.inf)

    def forget_before(self, seconds: float) -> None:
        """Forget labels that a newer one has replaced by now."""
        old = [entry for entry in self._labels if entry[0] <= seconds]
        newest = max(old, key=lambda entry: entry[2], default=None)
        self._labels = [entry for entry in self._labels if entry[0] > seconds or entry is newest]

    def state_dict(self) -> dict[str, Any]:
        return {"labels": [list(entry) for entry in self._labels]}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._labels = [(came, position, arrived) for came, position, arrived in state["labels"]]
