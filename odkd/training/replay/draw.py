"""What replay memories share: random draws, each from a generator that it is handed, and a check."""

from collections.abc import Sequence

import torch


def check_capacity(capacity: int) -> None:
    """Raises ValueError for a memory without room."""
    if capacity < 1:
        raise ValueError(f"replay.capacity={capacity}; expected at least 1 position (replay=memoryless has none)")


def draw(positions: Sequence[int], num_positions: int, generator: torch.Generator) -> list[int]:
    """`num_positions` of `positions` in random order, without replacement; all of them if they are fewer."""
    order = torch.randperm(len(positions), generator=generator)
    return [positions[index] for index in order[:num_positions].tolist()]


def draw_weighted(weights: torch.Tensor, num_indices: int, generator: torch.Generator) -> list[int]:
    """Indices of `weights` drawn one after the other without replacement, each with probability
    proportional to its weight among those not yet drawn; all of them if they are fewer.

    An exponential clock of rate w_i for each index, in the order in which they ring, has this law
    (Efraimidis and Spirakis 2006, doi:10.1016/j.ipl.2005.11.003).

    Args:
        weights: float64 [N], positive.
    """
    uniform_N = torch.rand(len(weights), dtype=torch.float64, generator=generator)
    rings_N = -torch.log1p(-uniform_N) / weights
    order: list[int] = rings_N.argsort(stable=True)[:num_indices].tolist()
    return order


def draw_below(bound: int, generator: torch.Generator) -> int:
    """One of 0..bound-1, equally likely."""
    return int(torch.randint(bound, (1,), generator=generator))
