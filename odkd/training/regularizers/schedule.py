"""When a regularizer consolidates: at the end of a pass, after a warm-up and then every so many passes.

This takes the place of the task boundaries of the papers, which a stream does not have (Houyon et al. 2023).
"""

from odkd.training.regularizers import Update
from odkd.training.regularizers.arguments import check_whole


class Schedule:
    """Counts passes. The first consolidation ends pass `warmup_passes`: before it, there is nothing to hold on to.

    >>> schedule = Schedule(warmup_passes=2, update_every_passes=3)
    >>> [schedule.is_due_after(num_passes) for num_passes in range(1, 9)]
    [False, True, False, False, True, False, False, True]
    """

    def __init__(self, warmup_passes: int, update_every_passes: int) -> None:
        check_whole("warmup_passes", warmup_passes)
        check_whole("update_every_passes", update_every_passes, low=1)
        self.first, self._every = warmup_passes or update_every_passes, update_every_passes
        self._num_passes = 0

    @property
    def has_consolidated(self) -> bool:
        return self._num_passes >= self.first

    def is_due_after(self, num_passes: int) -> bool:
        return num_passes >= self.first and (num_passes - self.first) % self._every == 0

    def count(self, update: Update) -> bool:
        """To be called once after each update. Whether it has ended a pass after which to consolidate."""
        self._num_passes += update.ends_pass
        return update.ends_pass and self.is_due_after(self._num_passes)

    def state_dict(self) -> dict[str, int]:
        return {"num_passes": self._num_passes}

    def load_state_dict(self, state: dict[str, int]) -> None:
        self._num_passes = state["num_passes"]
