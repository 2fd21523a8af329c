"""The online loop under a simulated clock: what is not ready is not used (training/clock has the order of events)."""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from odkd.common.metric_names import metric_name
from odkd.common.seeds import named_seed
from odkd.data.window import Step, Window
from odkd.evaluation.answers import Answers
from odkd.evaluation.watch import Watch
from odkd.training.clock.agenda import FRAME, TICK
from odkd.training.clock.ages import Ages
from odkd.training.clock.desk import Desk
from odkd.training.clock.plan import ClockPlan
from odkd.training.clock.rates import Rates, shown_frames
from odkd.training.clock.world import Training
from odkd.training.costs import Costs
from odkd.training.iteration import Passes, learn, select
from odkd.training.learn import Learner
from odkd.training.pace import Pace
from odkd.training.replay import Replay
from odkd.training.scorer import StudentScorer
from odkd.training.sight import StudentSight
from odkd.training.updates_until import updates_until
from odkd.training.versions import Versions


class Loop(Protocol):
    """An online loop, with or without a clock, as a stage drives it: for each iteration these, in this order.

    Where frames of several streams come by turns, `learn` is done in two parts: `arrive` for each fresh frame, and
    `settle`. `arrived` is the number of frames that have come.
    """

    costs: Costs

    @property
    def arrived(self) -> int: ...
    def learn(self, step: Step) -> dict[str, float]: ...
    def arrive(self, step: Step, position: int) -> None: ...
    def settle(self, step: Step) -> dict[str, float]: ...
    def answers(self, step: Step) -> Iterator[Answers]: ...
    def network(self, step: Step) -> nn.Module: ...
    def end(self, step: Step) -> dict[str, float]: ...


@dataclass(frozen=True)
class Share:
    """What a student has of what those of several streams share.

    Args:
        desk: the order of events, and the teacher.
        stream_of: number of the stream of each position, among the student's streams.
        num_streams: whose frames it answers.
        note: takes the confidence in each frame that is sent, for whoever divides the teacher's time, if anybody asks.
    """

    desk: Desk
    stream_of: Sequence[int]
    num_streams: int
    note: Callable[[tuple[int, int], float], None] | None = None


class ClockedLoop:
    """Lets frames arrive, labels come, trainings begin and weights be deployed, each at its time.

    It is the `World` of the simulation.

    Args:
        arrivals: float64 [N], when each position arrives, in seconds.
        first: iteration that the stream begins with.
        clock: durations and policies.
        share: in what the students of several streams share; None = there is one stream.
    """

    def __init__(
        self,
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
    ) -> None:
        self._learner, self._replay, self._watch, self._window = learner, replay, watch, window
        self._passes, self._seed, self._first, self._pace = passes, seed, first, pace
        begin = min(first * window.step, len(arrivals) - 1)
        self._seconds: list[float] = (arrivals - arrivals[begin]).tolist()
        self._shown = shown_frames(self._seconds, begin, clock.durations.student_seconds)
        self._bank, self._clock, self._share = watch.evaluator.bank, clock, share
        self._simulation = clock.simulation() if share is None else clock.simulation(share.num_streams, share.desk)
        self._simulation.enter(self)
        is_compiled = getattr(learner.student, "_compiled_call_impl", None) is not None
        self._versions = Versions(learner.evaluated, is_compiled=is_compiled, sent=learner.updates.sent)
        self._scorer = StudentScorer(learner, watch.evaluator, batch_size=passes.batch_size)
        self._sight = StudentSight(learner, watch.evaluator, self._deployed_now)
        self._ages, self._rates = Ages(), Rates()
        self._ready: list[int] = []  # labelled positions that no training has seen
        self.arrived = begin
        self._has_observed = False
        self._to_come: list[tuple[float, int]] = []
        self._begin_iteration()

    def _begin_iteration(self) -> None:
        """Count anew, and forget the metrics of earlier trainings."""
        self._losses, self._running = self._learner.updates.send(), Costs()  # nothing is sent yet

    def learn(self, step: Step) -> dict[str, float]:
        """Let everything happen until the next step of the window; return the metrics of the newest training."""
        for position in step.fresh:
            self.arrive(step, position)
        return self.settle(step)

    def arrive(self, step: Step, position: int) -> None:
        """Let everything happen until a frame of the step has arrived."""
        simulation, now = self._simulation, self._seconds[position]
        simulation.run_until(now, TICK, self)
        if self._pace.is_due(now, is_step=position == step.position):
            simulation.ask_training(self)
        simulation.run_until(now, FRAME, self)
        self.arrived = position + 1
        self._running.num_frames += 1
        if self._pace.sends(position, now, self._sight):
            stream = 0 if self._share is None else self._share.stream_of[position]
            if self._share is not None and self._share.note is not None:
                self._share.note((simulation.number, stream), self._sight.confidence(position))
            simulation.send(position, stream)

    def settle(self, step: Step) -> dict[str, float]:
        """Let what takes no time happen too; return the metrics of the newest training of the iteration."""
        simulation = self._simulation
        simulation.run_until(simulation.now, TICK, self)
        last = self._seconds[step.test[-1]]
        self._to_come = simulation.to_come(last, self) if last > simulation.now else []
        self._bank.prefetch(self._watch.needs(step))
        return self._losses

    def answers(self, step: Step) -> Iterator[Answers]:
        """Yield, for stretches of the test window, the weights that the student has there, and what it looks at."""
        for version, stretch in itertools.groupby(step.test, self._version_at):
            positions = list(stretch)
            yield Answers(self._versions.network(version), positions, [self._shown[p] for p in positions])

    def network(self, step: Step) -> nn.Module:
        """Return the student as it is at the first frame of the iteration."""
        return self._versions.network(self._version_at(step.position))

    def end(self, step: Step) -> dict[str, float]:
        """Forget what no later iteration needs; return the costs of the iteration, and its ages and rates."""
        num_missed = sum(self._shown[position] != position for position in step.fresh)
        metrics = self._rates.metrics(self._simulation, num_missed)
        self._running.bytes_up, self._running.bytes_down = self._rates.new_bytes(self._simulation)
        self.costs = self._running
        if self._learner.updates.sent is not None:
            metrics[metric_name("update", "bytes")] = float(self.costs.bytes_down)
        versions = {p: self._versions.learned_at(self._version_at(p)) for p in step.test}
        metrics |= self._ages.metrics({p: self._seconds[p] for p in step.test}, versions)
        after = min(step.fresh.stop, len(self._seconds) - 1)
        self._versions.forget_before(self._seconds[self._shown[after]])
        self._ages.forget_before(self._seconds[after])
        self._bank.retain({*self._replay.kept(), *self._watch.windows(step), *self._ready})
        self._begin_iteration()
        return self.costs.metrics() | ({} if self._clock.is_instant else metrics)

    def labelled(self, position: int, seconds: float) -> bool:
        self._ready.append(position)
        self._ages.label(seconds, position, self._seconds[position])
        self._running.num_labelled += 1
        return self._pace.labelled(position, seconds, self._sight)

    def train(self, number: int, seconds: float) -> Training:
        """Learn now from the labels that are there; the weights are used when they have arrived."""
        ready, self._ready = self._ready, []
        if ready or self._has_observed:  # nothing is past before the first frame
            self._replay.observe(ready, self._scorer)
            self._has_observed = True
        now = Step(self._first + number, self.arrived, gone_by=tuple(ready), test=range(0), fresh=range(0))
        torch.manual_seed(named_seed(self._seed, "iteration", now.iteration))
        selected = select(self._replay, self._window, now, self._scorer)
        costs, is_enough = Costs(), False
        if self._pace.max_updates is None:
            parts = (self._learner, self._bank, selected, now, self._replay)
            self._losses = learn(*parts, passes=self._passes, seed=self._seed, told=costs.count_update)
        else:
            self._losses, is_enough = updates_until(
                *(self._learner, self._bank, selected, now, self._replay),
                passes=self._passes,
                seed=self._seed,
                most=self._pace.max_updates,
                is_enough=lambda: self._pace.is_enough(ready, self._sight),
                told=costs.count_update,
            )
        self._running.num_updates += costs.num_updates
        self._running.num_learned += costs.num_learned
        version = self._versions.add(self._learner.evaluated, seconds) if costs.num_updates else -1
        return Training(costs.num_learned, costs.num_updates, version, is_enough)

    def trained(self, training: Training, seconds: float) -> None:
        self._pace.trained(training.num_updates, seconds, is_enough=training.is_enough)

    def update_bytes(self, version: int, after: int) -> int:
        return self._versions.update_bytes(version, after)

    def deployed(self, version: int, seconds: float) -> None:
        self._versions.deploy(version, seconds)

    def dropped(self, version: int) -> None:
        self._versions.drop(version)

    def _version_at(self, position: int) -> int:
        return self._versions.used_at(self._seconds[self._shown[position]], self._to_come)

    def _deployed_now(self) -> nn.Module:
        return self._versions.network(self._versions.used_at(self._simulation.now))

    def state_dict(self) -> dict[str, Any]:
        return {
            **{name: part.state_dict() for name, part in self._parts().items()},
            "ready": self._ready,
            "arrived": self.arrived,
            "observed": self._has_observed,
            "running": [self._losses, asdict(self._running)],  # of an iteration that is under way
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, part in self._parts().items():
            part.load_state_dict(state[name])
        self._ready, self.arrived, self._has_observed = list(state["ready"]), state["arrived"], state["observed"]
        self._losses, self._running = state["running"][0], Costs(**state["running"][1])

    def _parts(self) -> dict[str, Any]:
        return {
            "simulation": self._simulation,
            "versions": self._versions,
            "pace": self._pace,
            "ages": self._ages,
            "rates": self._rates,
        }
