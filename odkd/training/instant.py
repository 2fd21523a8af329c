"""The online loop without a clock: every past frame has a label, and what is learned is used at once."""

# ruff: noqa: ARG002 - methods of a protocol take arguments that only some of them use

from collections.abc import Iterator

import torch
from torch import nn

from odkd.common.metric_names import metric_name
from odkd.common.seeds import named_seed
from odkd.data.window import Step, Window
from odkd.evaluation.answers import Answers
from odkd.evaluation.watch import Watch
from odkd.training.costs import Costs, weights_bytes
from odkd.training.iteration import Passes, learn, select
from odkd.training.learn import Learner
from odkd.training.replay import Replay
from odkd.training.scorer import StudentScorer


class InstantLoop:
    """Learns from the past at each step of the window (Houyon et al. 2023); its state is that of its parts.

    Args:
        frame_bytes: of a frame that the teacher sees.
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
        frame_bytes: int,
    ) -> None:
        self._learner, self._replay, self._watch, self._window = learner, replay, watch, window
        self._passes, self._seed, self._frame_bytes = passes, seed, frame_bytes
        self._bank = watch.evaluator.bank
        self._scorer = StudentScorer(learner, watch.evaluator, batch_size=passes.batch_size)
        self._weights_bytes = weights_bytes(learner.evaluated.state_dict())
        self.costs = Costs()

    @property
    def arrived(self) -> int:
        """Return 0: frames come with their step."""
        return 0

    def arrive(self, step: Step, position: int) -> None:
        """Do nothing: all frames of a step are there before it is settled."""

    def settle(self, step: Step) -> dict[str, float]:
        """Do the same as `learn`."""
        return self.learn(step)

    def learn(self, step: Step) -> dict[str, float]:
        """Learn from the past frames that the replay memory selects; return the mean losses, and what was sent."""
        torch.manual_seed(named_seed(self._seed, "iteration", step.iteration))  # dropout: a resumed run draws alike
        self.costs = Costs(num_frames=len(step.fresh), num_labelled=len(step.fresh))
        selected = select(self._replay, self._window, step, self._scorer)
        self._bank.prefetch(self._watch.needs(step))  # reads the test frames while the student learns
        found = learn(
            *(self._learner, self._bank, selected, step, self._replay),
            passes=self._passes,
            seed=self._seed,
            told=self.costs.count_update,
        )
        sent = found.get(metric_name("update", "bytes"))
        self.costs.bytes_down = self._weights_bytes * bool(self.costs.num_updates) if sent is None else int(sent)
        return found

    def answers(self, step: Step) -> Iterator[Answers]:
        """Yield the student with all frames of the test window."""
        yield Answers(self._learner.evaluated, step.test, step.test)

    def network(self, step: Step) -> nn.Module:
        """Return the student."""
        return self._learner.evaluated

    def end(self, step: Step) -> dict[str, float]:
        """Have the replay memory take the frames that are now past; return the costs of the iteration."""
        self._replay.observe(step.fresh, self._scorer)
        self._bank.retain({*self._replay.kept(), *self._watch.windows(step)})
        self.costs.bytes_up = self._frame_bytes * self.costs.num_labelled
        return self.costs.metrics()
