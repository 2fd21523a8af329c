"""The window that slides over the stream: its frames to learn from, its frames to test on, and its step."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """One iteration at the current `position`: `test` are the next positions, `fresh` those that the step passes.

    `gone_by` are the fresh positions of the previous iteration: the stream frames that are now learned from.
    """

    iteration: int
    position: int
    gone_by: Sequence[int]
    test: range
    fresh: range


@dataclass(frozen=True)
class Window:
    """Window sizes in sampled frames.

    In the released code of Houyon et al. (2023): datasetsize, testingsetsize and studentsubsample.

    Deviation: that code also learns and tests where the end of the stream cuts the test window off, in the loop and for
    the final student. We leave these iterations out, because a window of fewer frames has another mIoU. A stream of
    whole steps with `test` = `step`, as in its README, has none.
    """

    learn: int
    test: int
    step: int

    def __post_init__(self) -> None:
        for name in ("learn", "test", "step"):
            if getattr(self, name) < 1:
                raise ValueError(f"window.{name}={getattr(self, name)}: expected at least 1 sampled frame")

    def num_iterations(self, num_positions: int) -> int:
        """Return the number of iterations with a full test window; positions after the last one are not tested on.

        >>> Window(learn=67, test=20, step=20).num_iterations(105)
        5
        """
        return max(0, (num_positions - self.test) // self.step + 1)

    def steps(self, num_positions: int, start: int = 0) -> Iterator[Step]:
        """Yield the iterations `start`, `start + 1`, ... over a stream of `num_positions` sampled frames."""
        for iteration in range(start, self.num_iterations(num_positions)):
            now = iteration * self.step
            gone_by = range(max(0, now - self.step), now)
            fresh = range(now, min(now + self.step, num_positions))
            yield Step(iteration, now, gone_by=gone_by, test=range(now, now + self.test), fresh=fresh)
