"""From selected positions to the batches of one pass: one update each."""

from collections.abc import Collection, Sequence
from typing import Literal

import torch

from odkd.common.seeds import named_generator

Order = Literal["stream", "shuffled", "paired"]


def batches_of_pass(
    selected: Sequence[int],
    order: Order,
    batch_size: int,
    *,
    stream_positions: Collection[int],
    seed: int,
    iteration: int,
    epoch: int,
) -> list[list[int]]:
    """Every selected position once, `batch_size` of them an update (the last one may be smaller).

    `order` is "stream" (as the replay memory gave them), "shuffled" (another order each epoch, the same whenever
    this iteration is run) or "paired": each update has `batch_size` stream frames and as many replayed ones, as
    experience replay has it, until either are used up; what is left follows in its order.
    """
    if order == "shuffled":
        permutation = torch.randperm(len(selected), generator=named_generator(seed, "order", iteration, epoch))
        selected = [selected[i] for i in permutation.tolist()]
    if order != "paired":
        return _split(selected, batch_size)
    stream = _split([p for p in selected if p in stream_positions], batch_size)
    replayed = _split([p for p in selected if p not in stream_positions], batch_size)
    num_pairs = min(len(stream), len(replayed))
    pairs = [[*new, *old] for new, old in zip(stream, replayed, strict=False)]
    return pairs + stream[num_pairs:] + replayed[num_pairs:]


def _split(positions: Sequence[int], size: int) -> list[list[int]]:
    return [list(positions[start : start + size]) for start in range(0, len(positions), size)]
