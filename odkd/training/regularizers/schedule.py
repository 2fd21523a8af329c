"""Times at which a regularizer consolidates: ends of passes, after a warm-up and then at a fixed interval.

They replace the task boundaries of the papers, which a stream does not have (Houyon et al. 2023).
"""

from odkd.common.settings import NaturalInt, PositiveInt
from odkd.training.regularizers import Update


class Schedule:
    """Counter of passes. The first consolidation, at the end of pass number `first`, starts the regularizer.

    Args:
        warmup_passes: number of the pass that the first consolidation follows; 0 = `update_every_passes`.
        update_every_passes: passes from one consolidation to the next.

    >>> schedule = Schedule(warmup_passes=2, update_every_passes=3)
    >>> [schedule.is_due_after(num_passes) for num_passes in range(1, 9)]
    [False, True, False, False, True, False, False, True]
    """

    def __init__(self, warmup_passes: NaturalInt, update_every_passes: PositiveInt) -> None:
        self.first, self._every = warmup_passes or update_every_passes, update_every_passes
        self._num_passes = 0

    @property
    def has_consolidated(self) -> bool:
        return self._num_passes >= self.first

    def is_due_after(self, num_passes: int) -> bool:
        return num_passes >= self.first and (num_passes - self.first) % self._every == 0

    def count(self, update: Update) -> bool:
        """Return True if this update ends a pass after which to consolidate; to be called once after each update."""
        self._num_passes += update.ends_pass
        return update.ends_pass and self.is_due_after(self._num_passes)

    def state_dict(self) -> dict[str, int]:
        return {"num_passes": self._num_passes}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._num_passes = state["num_passes"]
