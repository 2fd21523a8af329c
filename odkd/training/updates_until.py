"""A training that ends when a goal is reached: updates over the selected frames, again and again."""

import itertools
from collections.abc import Callable, Iterator, Sequence

from odkd.data.tensor_bank import Bank
from odkd.data.window import Step
from odkd.training.batches import batches_of_pass
from odkd.training.iteration import Passes, ended
from odkd.training.learn import Learner
from odkd.training.loss_values import check_finite
from odkd.training.replay import Replay


def updates_until(
    learner: Learner,
    bank: Bank,
    selected: Sequence[int],
    step: Step,
    replay: Replay,
    *,
    passes: Passes,
    seed: int,
    most: int,
    is_enough: Callable[[], bool],
    told: Callable[[int], object],
) -> tuple[dict[str, float], bool]:
    """Make updates until `is_enough`, at most `most`; return metrics by name, and whether it was enough.

    The metrics are the losses of the last update, and what was sent.

    For regularizers and augmentation each update is a pass of its own. `passes.epochs` does not count.
    """
    losses: dict[str, float] = {}
    reached = is_enough()
    if selected and not reached:
        learner.updates.begin()
    updates = itertools.islice(_batches(selected, step, passes, seed), most)
    while not reached and (batch := next(updates, None)) is not None:
        losses = learner.learn(
            bank,
            [batch],
            stream_positions=step.gone_by,
            kept=replay.kept(),
            is_apart=passes.order == "paired_apart",
            told=told,
        )
        check_finite(losses, f"training {step.iteration}")
        reached = is_enough()
    return ended(learner, losses), reached


def _batches(selected: Sequence[int], step: Step, passes: Passes, seed: int) -> Iterator[list[int]]:
    """Yield the batches of one pass after the other, without end; none if nothing is selected."""
    for epoch in itertools.count() if selected else ():
        yield from batches_of_pass(
            *(selected, passes.order, passes.batch_size),
            stream_positions=step.gone_by,
            seed=seed,
            iteration=step.iteration,
            epoch=epoch,
        )
