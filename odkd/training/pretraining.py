"""Before the stream: shuffled passes over its first frames, or over all of them, for baselines."""

import logging
from collections.abc import Sequence
from typing import Literal

import torch

from odkd.common.names import counted
from odkd.common.seeds import named_seed
from odkd.data.window import Window
from odkd.training.batches import batches_of_pass
from odkd.training.learn import Learner
from odkd.training.loss_values import check_finite
from odkd.training.online_state import OnlineState
from odkd.training.replay import Replay

logger = logging.getLogger(__name__)


def check_pretraining(
    pretrain_positions: int | Literal["all"], num_positions: int, window: Window
) -> tuple[Sequence[int], int]:
    """Return the positions to learn from before the stream, and the first iteration after them.

    Raises:
        ValueError: nothing of the stream is left to test on.
    """
    last = window.num_iterations(num_positions) - 1
    if pretrain_positions == "all":
        return range(num_positions), 0
    first = -(-pretrain_positions // window.step)
    if pretrain_positions and first > last:
        raise ValueError(
            f"stage.pretrain_positions={pretrain_positions} leaves nothing of the stream ({num_positions} sampled "
            f"frames) to be tested on; lower it to {last * window.step} or less"
        )
    return range(pretrain_positions), first


def note_rest(num_positions: int, window: Window) -> None:
    """Log how many frames at the end of a stream are not tested on."""
    last = window.num_iterations(num_positions) - 1
    if rest := num_positions - (last * window.step + window.test):
        logger.info("the last %d of %d sampled frames fill no test window and are not evaluated", rest, num_positions)


def pretrain(state: OnlineState, positions: Sequence[int], *, num_epochs: int, batch_size: int, seed: int) -> None:
    """Make the shuffled passes over `positions` that are still to be made; commit after each."""
    bank = state.watch.evaluator.bank
    while positions and state.pretrained < num_epochs:
        torch.manual_seed(named_seed(seed, "pretraining", state.pretrained))
        batches = batches_of_pass(
            positions,
            "shuffled",
            batch_size,
            stream_positions=positions,
            seed=seed,
            iteration=-1,
            epoch=state.pretrained,
        )
        losses = state.learner.learn(bank, batches, stream_positions=positions)
        check_finite(losses, "pretraining")
        state.learner.updates.install()
        state.pretrained += 1
        logger.info("before the stream: epoch %d/%d  loss %.3f", state.pretrained, num_epochs, losses["total"])
        state.commit()


def warn_if_never_active(learner: Learner, num_passes: int) -> None:
    """Warn if a regularizer starts only after the last pass of a run, so that it changes nothing."""
    needed = getattr(learner.regularizer, "sets_in_after_passes", 0)
    if needed and needed >= num_passes:
        name = type(learner.regularizer).__name__
        logger.warning(
            "regularizer %s sets in after %s, and this run has %d: it will change nothing; "
            "lower regularizer.warmup_passes",
            *(name, counted(needed, "pass"), num_passes),
        )


def warn_if_never_frozen(replay: Replay, num_positions: int, window: Window) -> None:
    """Warn if a replay memory that is to stop learning somewhere in the stream does not: it is FIFO then."""
    frozen_after = getattr(replay, "learns_from_first", None)
    last = (window.num_iterations(num_positions) - 1) * window.step  # frames seen before the last test
    if frozen_after is not None and 0 < last <= frozen_after:
        logger.warning(
            "replay %s learns from the first %d sampled frames, and this run has %d to learn from: it never stops, "
            "and equals replay=fifo; set replay.num_positions below %d",
            *(type(replay).__name__, frozen_after, last, last),
        )
