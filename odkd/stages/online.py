"""Online distillation: learn from the past, evaluate on the near future, step (Cioppa et al. 2019; Houyon et al. 2023).

At each position the student learns from the past frames that the replay memory selects, and is then scored on the
next frames, from which it has not learned (unless `pretrain_positions` is "all").
"""

import logging
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from odkd.common.progress import Progress
from odkd.common.settings import NaturalInt, PositiveInt
from odkd.data.video.stream import Stream
from odkd.data.window import Window
from odkd.evaluation.watch import Watch
from odkd.runs.run import OpenRun
from odkd.stages import Traits
from odkd.training.batches import Order
from odkd.training.clock.plan import ClockPlan
from odkd.training.clocked import ClockedLoop, Loop
from odkd.training.costs import summary_of
from odkd.training.iteration import Journal, Stopwatch
from odkd.training.learn import Learner
from odkd.training.loops import loop_of
from odkd.training.online_state import OnlineState
from odkd.training.pace import Pace
from odkd.training.pretraining import (
    check_pretraining,
    note_rest,
    pretrain,
    warn_if_never_active,
    warn_if_never_frozen,
)
from odkd.training.replay import Replay
from odkd.training.snapshots import Snapshots
from odkd.training.updates.delivery import summary_of_updates

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Online:
    """Runs the online loop along a stream.

    Args:
        name: of the stage, in the run's folder and in MLflow.
        learn_from: label source of the training.
        epochs: passes over the selected frames in an iteration.
        batch_size: frames in an update.
        order: of the frames in a pass, see `training/batches.py`.
        pretrain_positions: sampled frames learned from before the stream, which then begins after them.
        pretrain_epochs: shuffled passes over them.
    """

    name: str
    learn_from: Literal["teacher", "groundtruth"] = "teacher"
    epochs: PositiveInt = 1
    batch_size: PositiveInt = 1
    order: Order = "stream"
    pretrain_positions: NaturalInt | Literal["all"] = 0
    pretrain_epochs: PositiveInt = 4
    traits: ClassVar[Traits] = Traits(sends_updates=True)

    def check(self, *, stream: Stream, window: Window) -> None:
        """Check that something of the stream is left to test on."""
        check_pretraining(self.pretrain_positions, len(stream), window)

    def run(
        self,
        *,
        stream: Stream,
        window: Window,
        learner: Learner,
        watch: Watch,
        replay: Replay,
        pace: Pace,
        clock: ClockPlan,
        snapshots: Snapshots,
        run: OpenRun,
        seed: int,
    ) -> dict[str, float]:
        """Follow the stream to its end, from where an earlier process stopped, and return the summary."""
        chosen, first = check_pretraining(self.pretrain_positions, len(stream), window)
        note_rest(len(stream), window)
        num_learning = window.num_iterations(len(stream)) - 1 - first  # the first iteration has no past to learn from
        num_passes = num_learning * self.epochs
        warn_if_never_active(learner, num_passes + (self.pretrain_epochs if chosen else 0))
        warn_if_never_frozen(replay, len(stream), window)

        state = OnlineState(run, learner, replay, watch)
        state.resume()
        pretrain(state, chosen, num_epochs=self.pretrain_epochs, batch_size=self.batch_size, seed=seed)
        arrivals = clock.arrivals(stream.seconds)
        loop = self._loop(state, window, arrivals, first=first, pace=pace, clock=clock, seed=seed)
        journal, done = Journal(run, stream, window), max(first, state.iteration + 1) * window.step
        with Progress(self.name, "frames", len(stream), done=done, seconds=None) as progress:
            journal.show_on(progress, watch.so_far)
            for step in window.steps(len(stream), max(first, state.iteration + 1)):
                stopwatch = Stopwatch()
                losses = loop.learn(step)
                stopwatch.lap("learn")
                scores, metrics = watch.test_answers(loop.answers(step), step)
                stopwatch.lap("evaluate")
                metrics |= watch.elsewhere(loop.network(step), step)
                stopwatch.lap("watch")
                metrics |= loop.end(step)
                journal.write(step, scores, losses | metrics, stopwatch, num_learned=loop.costs.num_learned)
                snapshots.take(run, step.iteration, learner)
                state.iteration = step.iteration
                if run.is_checkpoint_due() or step.iteration == journal.last:
                    journal.flush()
                    state.commit()
                journal.report()
        summary = watch.finish(learner.evaluated, run.records()) | summary_of_updates(run.records())
        summary["num_iterations"] = len(run.records())
        run.save_confusions({source: total_DKK.sum(0) for source, total_DKK in watch.totals_DKK.items()})
        return summary | summary_of(run.records(), None if clock.is_instant else clock.durations)

    def _loop(
        self,
        state: OnlineState,
        window: Window,
        arrivals: np.ndarray,
        *,
        first: int,
        pace: Pace,
        clock: ClockPlan,
        seed: int,
    ) -> Loop:
        """Return the loop along the stream; one under a clock continues from the run's checkpoint."""
        loop = loop_of(
            *(state.learner, state.replay, state.watch, window),
            passes=self,
            seed=seed,
            arrivals=arrivals,
            first=first,
            clock=clock,
            pace=pace,
        )
        if isinstance(loop, ClockedLoop):
            state.carry(loop)
        return loop
