"""Drift: train only when the student's own predictions say that the scene has changed (HAMLET, ODIN: on a shift only).

The detector is the test of Page (1954) and Hinkley (1971) for a fall of the mean, on the student's confidence x_t: the
mean over the pixels of frame t of the largest probability that it gives a class. From the last training on,

    m_t = m_{t-1} + (mean_t - x_t - delta),   M_t = min(m_0, ..., m_t),   drift when m_t - M_t > lambda

with mean_t the mean of x up to t. While the student is as sure as it was, m falls by delta a frame; when it is less
sure, m rises, and an alarm follows once the sum of what is missing exceeds lambda. The teacher then sees the next
`num_frames` frames, the student trains at each step of the window before which new labels have come, and the detector
begins anew after these frames. A stream begins with an alarm, because a student that has never learned knows nothing of
the scene.

Deviation: HAMLET (Colomer et al. 2023) detects a shift by the distance of the features to those of the source domain,
ODIN (Suprem et al. 2020) by clusters in a latent space of its own; both need networks or statistics beside the student.
Confidence needs neither, and none of their labels. It misses a change after which the student is surely wrong: lower
`threshold`, or take pace=jitnet, which looks at labels.
"""

# ruff: noqa: ARG002 - methods of a protocol take arguments that only some of them use

from collections.abc import Sequence
from typing import Any

from odkd.common.settings import NonNegativeFloat, PositiveInt
from odkd.training.pace import Sight


class PageHinkley:
    """The detector.

    Args:
        tolerance: delta, fall of a value that is no drift.
    """

    def __init__(self, tolerance: float) -> None:
        self._tolerance = tolerance
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        self._count, self._mean, self._sum, self._lowest = 0, 0.0, 0.0, 0.0

    def see(self, value: float) -> float:
        """Take a value, and return m - M: by how much the last values, summed, lie below the mean."""
        self._count += 1
        self._mean += (value - self._mean) / self._count
        self._sum += self._mean - value - self._tolerance
        self._lowest = min(self._lowest, self._sum)
        return self._sum - self._lowest

    def state(self) -> list[float]:
        """Return everything that a later answer depends on."""
        return [self._count, self._mean, self._sum, self._lowest]

    def load_state(self, state: Sequence[float]) -> None:
        """Continue from the result of `state()`."""
        self._count, self._mean, self._sum, self._lowest = int(state[0]), *state[1:]


class Drift:
    """Labels and trainings after an alarm.

    Args:
        threshold: lambda, confidence that is missing, summed over frames.
        tolerance: delta, fall of the confidence of a frame that is no drift.
        num_frames: sampled frames that the teacher sees after an alarm.
    """

    max_updates: int | None = None

    def __init__(
        self, threshold: NonNegativeFloat = 0.5, tolerance: NonNegativeFloat = 0.005, num_frames: PositiveInt = 20
    ) -> None:
        self._threshold, self._num_frames = threshold, num_frames
        self._left = num_frames  # frames that the teacher is still to see
        self._has_new = False  # labels have come since the last training was due
        self._detector = PageHinkley(tolerance)

    def is_due(self, seconds: float, *, is_step: bool) -> bool:
        if not (is_step and self._has_new):
            return False
        self._has_new = False
        return True

    def sends(self, position: int, seconds: float, sight: Sight) -> bool:
        if not self._left and self._detector.see(sight.confidence(position)) > self._threshold:
            self._left = self._num_frames
            self._detector.reset()
        if not self._left:
            return False
        self._left -= 1
        return True

    def labelled(self, position: int, seconds: float, sight: Sight) -> bool:
        self._has_new = True
        return False

    def is_enough(self, positions: Sequence[int], sight: Sight) -> bool:
        return False

    def trained(self, num_updates: int, seconds: float, *, is_enough: bool) -> None:
        return

    def state_dict(self) -> dict[str, Any]:
        return {"left": self._left, "has_new": self._has_new, "detector": self._detector.state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._left, self._has_new = state["left"], state["has_new"]
        self._detector.load_state(state["detector"])
