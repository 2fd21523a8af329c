"""Splits of a set of positions: train, val and test; and disjoint parts. Random, from generators of their own."""

from collections.abc import Mapping, Sequence

import torch

from odkd.seeds import named_generator

NAMES = ("train", "val", "test")


def split_positions(
    num_positions: int,
    *,
    shares: Sequence[float] = (0.7, 0.2, 0.1),
    seed: int,
    official: Mapping[str, Sequence[int]] | None = None,
) -> dict[str, list[int]]:
    """Disjoint positions of train, val and test, each ascending; `official` splits are taken as they are.

    Raises:
        ValueError: shares that are no three numbers of at least 0 whose sum is 1.

    >>> {name: len(found) for name, found in split_positions(10, seed=0).items()}
    {'train': 7, 'val': 2, 'test': 1}
    """
    if official is not None:
        return {name: sorted(official.get(name, ())) for name in NAMES}
    if len(shares) != len(NAMES) or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6:
        raise ValueError(f"stage.shares={list(shares)}; expected three numbers (train, val, test) whose sum is 1")
    order = torch.randperm(num_positions, generator=named_generator(seed, "split")).tolist()
    first, second = round(shares[0] * num_positions), round((shares[0] + shares[1]) * num_positions)
    found = (order[:first], order[first:second], order[second:])
    return {name: sorted(positions) for name, positions in zip(NAMES, found, strict=True)}


def parts_of(positions: Sequence[int], *, num_parts: int, seed: int) -> list[list[int]]:
    """`positions` at random in disjoint parts that cover them, each ascending; sizes differ by one at most.

    >>> sorted(p for part in parts_of(range(7), num_parts=2, seed=0) for p in part)
    [0, 1, 2, 3, 4, 5, 6]
    """
    order = torch.randperm(len(positions), generator=named_generator(seed, "parts")).tolist()
    return [sorted(positions[i] for i in order[first::num_parts]) for first in range(num_parts)]
