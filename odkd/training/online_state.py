"""Everything on which the rest of an online run depends, as its checkpoint has it."""

import logging
from dataclasses import dataclass
from typing import Any, Protocol

from odkd.evaluation.watch import Watch
from odkd.runs.run import OpenRun
from odkd.training.learn import Learner
from odkd.training.replay import Replay

logger = logging.getLogger(__name__)


class Stateful(Protocol):
    """Something with a state that a checkpoint can hold."""

    def state_dict(self) -> dict[str, Any]: ...
    def load_state_dict(self, state: dict[str, Any]) -> None: ...


@dataclass
class OnlineState:
    """Everything on which the rest of an online run depends: student, memory, scores, and how far the run is."""

    run: OpenRun
    learner: Learner
    replay: Replay
    watch: Watch
    iteration: int = -1  # last one that is done
    pretrained: int = 0  # epochs before the stream that are done
    clocked: Stateful | None = None  # the loop under a clock, once there is one
    _of_clocked: Any = None  # its state, until then

    def resume(self) -> None:
        """Continue from the run's checkpoint, if it has one."""
        if state := self.run.resume():
            self.load_state_dict(state)
            logger.info("resumed after iteration %d", self.iteration)

    def carry(self, clocked: Stateful) -> None:
        """Keep the state of a loop under a clock too; continue it from the run's checkpoint, if that has it."""
        self.clocked = clocked
        if self._of_clocked is not None:
            clocked.load_state_dict(self._of_clocked)
            self._of_clocked = None

    def commit(self) -> None:
        """Write the checkpoint behind the loop, and then publish the metrics lines that it covers."""
        self.run.commit_behind(self.state_dict())

    def state_dict(self) -> dict[str, Any]:
        return {
            "iteration": self.iteration,
            "pretrained": self.pretrained,
            "learner": self.learner.state_dict(),
            "replay": self.replay.state_dict(),
            "watch": self.watch.state_dict(),
            **({} if self.clocked is None else {"clocked": self.clocked.state_dict()}),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.iteration, self.pretrained = state["iteration"], state["pretrained"]
        self.learner.load_state_dict(state["learner"])
        self.replay.load_state_dict(state["replay"])
        self.watch.load_state_dict(state["watch"])
        self._of_clocked = state.get("clocked")
