"""Random draws of the replay memories; each takes its generator as an argument."""

from collections.abc import Sequence

import torch


def draw(positions: Sequence[int], num_positions: int, generator: torch.Generator) -> list[int]:
    """Return `num_positions` of `positions` in random order, without replacement; all of them if there are fewer."""
    order = torch.randperm(len(positions), generator=generator)
    return [positions[index] for index in order[:num_positions].tolist()]


def draw_weighted(weights: torch.Tensor, num_indices: int, generator: torch.Generator) -> list[int]:
    """Draw indices of `weights` one after the other, without replacement; all of them if there are fewer.

    Each draw has probabilities proportional to the weights of the indices not drawn yet. Exponential clocks of rate
    w_i, sorted by the time at which they ring, have this law (Efraimidis and Spirakis 2006,
    doi:10.1016/j.ipl.2005.11.003).

    Args:
        weights: float64 [N], positive.
    """
    uniform_N = torch.rand(len(weights), dtype=torch.float64, generator=generator)
    rings_N = -torch.log1p(-uniform_N) / weights
    order: list[int] = rings_N.argsort(stable=True)[:num_indices].tolist()
    return order


def draw_below(bound: int, generator: torch.Generator) -> int:
    """Return one of 0..bound-1, equally likely."""
    return int(torch.randint(bound, (1,), generator=generator))
