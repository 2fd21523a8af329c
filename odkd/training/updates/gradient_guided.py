"""Gradient-guided coordinate descent: the entries that the optimizer moves most (AMS, Khani et al. ICCV 2021).

    u     = the optimizer's step in all entries, by gradient and moments of all
    b     = 1 for the share of entries with the largest |u|, else 0
    w    <- w - u * b

`guide: first_step`, as the released code (modelstreaming/ams, f4e0876): u is the first step of the phase, which moves
all entries; those outside of b are then put back, and the rest of the phase goes on with b. `guide: last_step`, as
algorithm 2 of the paper: u is the last step of the phase before, so that the whole phase is partial; the first phase
has none and draws entries at random. The released code was read for this file; the paper's text was not at hand.

In both, the optimizer is Adam in AMS and any one here: u is what it does, weight decay included. A step that moves
nothing, because float16 gradients have overflowed, guides nothing: the next one does.

Deviation: the released code selects what is above a percentile, hence fewer entries where many are equal; here the
share is exact, and among equal entries the first ones count. It restarts each phase from the initial weights unless it
runs with --no_restore; here a phase goes on from the last one, as in the paper.
"""

from typing import Any, Literal

import torch
from torch import Tensor

from odkd.common.settings import Share
from odkd.training.updates import Entries, as_masks, flat, num_selected
from odkd.training.updates.random import Random


class GradientGuided:
    """Selects the share of the entries that a step of the optimizer moves most.

    Args:
        share: of the parameters that learn, above 0 to 1.
        guide: the step that chooses.
    """

    def __init__(self, share: Share, seed: int, *, guide: Literal["first_step", "last_step"] = "first_step") -> None:
        self._share, self._guide = share, guide
        self._at_first = Random(share, seed)
        self._is_chosen = False  # the masks of this phase
        self._last_N: Tensor | None = None  # size of the newest step that moved something

    def choose(self, weights: Entries) -> Entries | None:
        self._is_chosen = self._guide == "last_step"
        if self._guide == "first_step":
            return None
        if self._last_N is None:
            return self._at_first.choose(weights)
        return as_masks(largest(self._last_N, num_selected(self._share, weights)), weights)

    def refine(self, steps: Entries) -> Entries | None:
        if self._is_chosen and self._guide == "first_step":
            return None
        size_N = flat(steps).abs()
        if self._guide == "last_step":
            before_N = size_N if self._last_N is None else self._last_N.to(size_N.device)
            self._last_N = torch.where(size_N.any(), size_N, before_N)
            return None
        if not size_N.any():
            return None
        self._is_chosen = True
        return as_masks(largest(size_N, num_selected(self._share, steps)), steps)

    def state_dict(self) -> dict[str, Any]:
        return {"at_first": self._at_first.state_dict(), "last": self._last_N}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._at_first.load_state_dict(state["at_first"])
        self._last_N = state["last"]


def largest(size_N: Tensor, count: int) -> Tensor:
    """Return flags of the `count` largest numbers, [N]; among equal ones, of the first.

    >>> largest(torch.tensor([1.0, 3.0, 2.0, 2.0]), 2).tolist()
    [False, True, True, False]
    """
    least = size_N.topk(count).values[-1]  # which of several equal entries `topk` takes depends on the device
    chosen_N = size_N > least
    equal = (size_N == least).nonzero().flatten()
    chosen_N[equal[: count - int(chosen_N.sum())]] = True
    return chosen_N
