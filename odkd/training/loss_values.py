"""The losses of a pass as numbers: their means over its updates, and the end of a run that has diverged."""

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor


def mean_losses(history: Sequence[Mapping[str, Tensor]]) -> dict[str, float]:
    """Return the mean of each loss over the updates, read from the device once; a loss that is absent counts as 0."""
    if not history:
        return {}
    names = dict.fromkeys(name for losses in history for name in losses)
    sums = [torch.stack([losses[name] for losses in history if name in losses]).double().sum() for name in names]
    return dict(zip(names, (torch.stack(sums) / len(history)).tolist(), strict=True))


def check_finite(losses: Mapping[str, float], when: str) -> None:
    """Check that a run has not diverged, because its later results would be meaningless.

    Args:
        when: part of the message, such as "iteration 3".

    Raises:
        ValueError: a loss is infinite or NaN.
    """
    if bad := [name for name, loss in losses.items() if not math.isfinite(loss)]:
        raise ValueError(
            f"the loss ({', '.join(bad)}) is not finite in {when}: the student has diverged; "
            "lower optimizer.lr, or check loss.class_weights and the teacher's labels"
        )
