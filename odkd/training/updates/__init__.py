"""Partial updates: which entries of a student's weights an iteration of a stream may change; one file a method.

A phase is the learning of an iteration: all its passes. Its entries are selected; the others stay bit for bit, whatever
the optimizer and its weight decay do. The optimizer itself sees every gradient, so its moments are those of all
entries, as in AMS (Khani et al. 2021): an entry that is selected later goes on with moments that are up to date.
"""

from collections.abc import Mapping
from typing import Any, Protocol

import torch
from torch import Tensor

Entries = Mapping[str, Tensor]  # name of a parameter that learns -> a number or a flag for each of its entries


class Selection(Protocol):
    """Any object with these methods; `random.py` is the plainest. Its constructor may ask for the `seed` of the run.

    It keeps no tensor of the student: it may be copied, for a virtual pass of a replay memory.
    """

    def choose(self, weights: Entries) -> Entries | None:
        """Return the entries that a phase may change, as bool masks, before its first step; None = all.

        Args:
            weights: the parameters that learn, in the order in which the student registers them.
        """

    def refine(self, steps: Entries) -> Entries | None:
        """See how far the optimizer has moved each entry in a step; return the masks to go on with, None = the same.

        Optional: a selection without it is not asked.

        Args:
            steps: new minus old value, of entries that are not selected, too: before they are put back.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return everything that later choices depend on, as plain numbers, lists and tensors."""

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue from the result of `state_dict()`; its tensors are on the CPU."""


def num_selected(share: float, entries: Entries) -> int:
    """Return how many entries a share of all is, at least one."""
    return max(1, round(share * sum(tensor.numel() for tensor in entries.values())))


def flat(entries: Entries) -> Tensor:
    """Return all entries in one row, [N]."""
    return torch.cat([tensor.flatten() for tensor in entries.values()])


def as_masks(chosen_N: Tensor, entries: Entries) -> dict[str, Tensor]:
    """Return flags of all entries in one row as masks by name."""
    parts = torch.split(chosen_N, [tensor.numel() for tensor in entries.values()])
    return {
        name: part.view(tensor.shape).to(tensor.device)
        for (name, tensor), part in zip(entries.items(), parts, strict=True)
    }
