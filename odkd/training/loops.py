"""Which online loop a run has: the plain one, or one under a clock."""

import numpy as np

from odkd.data.window import Window
from odkd.evaluation.watch import Watch
from odkd.training.clock.plan import ClockPlan
from odkd.training.clocked import ClockedLoop, Loop, Share
from odkd.training.instant import InstantLoop
from odkd.training.iteration import Passes
from odkd.training.learn import Learner
from odkd.training.pace import Pace
from odkd.training.pace.fixed import is_plain
from odkd.training.replay import Replay


def loop_of(
    learner: Learner,
    replay: Replay,
    watch: Watch,
    window: Window,
    *,
    passes: Passes,
    seed: int,
    arrivals: np.ndarray,
    first: int,
    clock: ClockPlan,
    pace: Pace,
    share: Share | None = None,
) -> Loop:
    """Return the plain loop where nothing takes time and the pace is plain, else one under a clock.

    Args:
        arrivals, first, clock, pace, share: see `ClockedLoop`.
    """
    parts = (learner, replay, watch, window)
    if clock.is_instant and is_plain(pace):
        return InstantLoop(*parts, passes=passes, seed=seed, frame_bytes=clock.frame_bytes)
    return ClockedLoop(
        *parts, passes=passes, seed=seed, arrivals=arrivals, first=first, clock=clock, pace=pace, share=share
    )
