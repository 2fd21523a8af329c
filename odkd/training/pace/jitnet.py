"""JITNet: look rarely while the student is right, often while it is wrong (Mullapudi et al. 2019, algorithm 1).

The teacher sees a frame every d frames. On its label the student makes updates until the smallest IoU of its classes
exceeds a threshold a, at most u_max of them; then

    d <- min(2 d, d_max) if the threshold was exceeded, else max(d / 2, d_min)

With `replay=memoryless` the updates are made on that frame alone, as in the paper. With another memory they go over the
frames that it selects, again and again, and the threshold still holds for the new frame.

Deviation: strides count sampled frames, since those are what a run follows; with dataset.stride=1 they are the 8 to 64
frames of the paper. The published configuration of the PyTorch code (EastGit0/JITNet_segmentation) allows 16 updates,
the paper 8. An older variant of that code compares a soft IoU with 100 added to both areas; we compare that of the
predicted classes. A class of the label that the student never answers has an IoU of 0; a class that is not in the label
does not count, so that a stream with rare classes can reach the threshold.
"""

# ruff: noqa: ARG002 - methods of a protocol take arguments that only some of them use

from collections.abc import Sequence
from typing import Any

from odkd.common.settings import Fraction, PositiveInt
from odkd.training.pace import Sight


class JitNet:
    """Strides that double and halve.

    Args:
        min_stride, max_stride: sampled frames between two that the teacher sees.
        threshold: IoU that the student must exceed.
        max_updates: of a training.

    Raises:
        ValueError: the strides contradict each other.
    """

    def __init__(
        self,
        min_stride: PositiveInt = 8,
        max_stride: PositiveInt = 64,
        threshold: Fraction = 0.8,
        max_updates: PositiveInt = 8,
    ) -> None:
        if min_stride > max_stride:
            raise ValueError(f"pace.min_stride={min_stride} exceeds pace.max_stride={max_stride}; exchange them")
        self._min_stride, self._max_stride, self._threshold = min_stride, max_stride, threshold
        self.max_updates: int | None = max_updates
        self._stride = min_stride
        self._has_new = False  # the training that is under way has a new frame
        self._since: int | None = None  # frames since the last one that was sent

    def is_due(self, seconds: float, *, is_step: bool) -> bool:
        return False

    def sends(self, position: int, seconds: float, sight: Sight) -> bool:
        is_sent = self._since is None or self._since + 1 >= self._stride
        self._since = 0 if self._since is None or is_sent else self._since + 1
        return is_sent

    def labelled(self, position: int, seconds: float, sight: Sight) -> bool:
        return True

    def is_enough(self, positions: Sequence[int], sight: Sight) -> bool:
        self._has_new = bool(positions)
        return not positions or sight.student_iou(positions[-1]) > self._threshold

    def trained(self, num_updates: int, seconds: float, *, is_enough: bool) -> None:
        if not self._has_new:  # its frame came while the training before it waited, and was in that one
            return
        wanted = 2 * self._stride if is_enough else self._stride // 2
        self._stride = min(max(wanted, self._min_stride), self._max_stride)

    def state_dict(self) -> dict[str, Any]:
        return {"stride": self._stride, "since": self._since, "has_new": self._has_new}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._stride, self._since, self._has_new = state["stride"], state["since"], state["has_new"]
