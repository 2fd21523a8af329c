"""Partial updates of the first layers, the last ones, or both: controls of AMS (Khani et al. 2021).

Whole tensors are taken from an end until the share is filled; of the tensor at the border, entries are drawn at random,
anew for each phase. "both" takes one half of the share from each end.

Deviation: the released code lists the tensors of DeepLabV3 by hand, for three shares. Here any student has an order:
that in which it registers its parameters, which is the way of an image in the students of odkd and of smp.
"""

from collections.abc import Iterable, Sequence
from itertools import accumulate, pairwise
from typing import Any, Literal

import torch
from torch import Tensor

from odkd.common.seeds import named_generator
from odkd.common.settings import Share
from odkd.training.updates import Entries, as_masks, num_selected


class Ends:
    """Selects a share of the entries from the ends of a student.

    Args:
        share: of the parameters that learn, above 0 to 1.
        end: first = layers next to the image; last = those next to the logits.
    """

    def __init__(self, share: Share, end: Literal["first", "last", "both"], seed: int) -> None:
        self._share, self._end, self._seed, self._num_phases = share, end, seed, 0

    def choose(self, weights: Entries) -> Entries | None:
        generator = named_generator(self._seed, "updates", self._num_phases)
        self._num_phases += 1
        borders = list(accumulate((tensor.numel() for tensor in weights.values()), initial=0))
        spans, chosen_N = list(pairwise(borders)), torch.zeros(borders[-1], dtype=torch.bool)
        count = num_selected(self._share, weights)
        of_first = {"first": count, "last": 0, "both": count // 2}[self._end]
        _take(chosen_N, spans, of_first, generator)
        _take(chosen_N, reversed(spans), count - of_first, generator)
        return as_masks(chosen_N, weights)

    def state_dict(self) -> dict[str, Any]:
        return {"num_phases": self._num_phases}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._num_phases = state["num_phases"]


def _take(chosen_N: Tensor, spans: Iterable[Sequence[int]], count: int, generator: torch.Generator) -> None:
    """Select `count` more entries, span after span; of the last span, at random."""
    for start, stop in spans:
        free = start + (~chosen_N[start:stop]).nonzero().flatten()
        if len(free) > count:
            free = free[torch.randperm(len(free), generator=generator)[:count]]
        chosen_N[free] = True
        count -= len(free)
        if not count:
            return
