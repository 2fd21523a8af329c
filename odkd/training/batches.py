"""Batches of one pass over the selected positions; each batch is one update."""

from collections.abc import Collection, Iterator, Sequence
from typing import Literal

import torch
from torch import Tensor

from odkd.common.seeds import named_generator
from odkd.data.tensor_bank import Bank

Order = Literal["stream", "shuffled", "paired", "paired_apart"]


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
    """Return batches with every selected position once, `batch_size` per update (the last may be smaller).

    Args:
        selected: positions as the replay memory returned them.
        order: "stream" = as selected. "shuffled" = a different order in each epoch, reproducible. "paired" = each
            update has `batch_size` stream frames and as many replayed frames, as in experience replay, until one kind
            is used up; the rest of the other kind follows in its order. "paired_apart" = the same batches; the learner
            forwards the two kinds one after the other (`Learner.learn`).
        batch_size: frames per update; with a paired order, of each kind.
        stream_positions: the stream frames; all other positions are replayed.
        seed, iteration, epoch: identify the pass and seed the shuffling.
    """
    if order == "shuffled":
        permutation = torch.randperm(len(selected), generator=named_generator(seed, "order", iteration, epoch))
        selected = [selected[i] for i in permutation.tolist()]
    if order not in ("paired", "paired_apart"):
        return _split(selected, batch_size)
    stream = _split([p for p in selected if p in stream_positions], batch_size)
    replayed = _split([p for p in selected if p not in stream_positions], batch_size)
    num_pairs = min(len(stream), len(replayed))
    pairs = [[*new, *old] for new, old in zip(stream, replayed, strict=False)]
    return pairs + stream[num_pairs:] + replayed[num_pairs:]


def frames_of_pass(bank: Bank, batches: Sequence[Sequence[int]], source: str) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield the frames of a pass one by one: images [1, 3, H, W] and int64 labels [1, H, W] of a source."""
    for position in (position for batch in batches for position in batch):
        frame = bank.get([position])
        yield frame.images_BCHW, frame.labels[source].long()


def batches_of_kinds(
    kinds: Sequence[Sequence[int]], batch_size: int, *, seed: int, iteration: int, epoch: int
) -> list[list[int]]:
    """Return shuffled batches over which each kind of positions is spread evenly; `seed` and so on as above.

    There are as many batches as without kinds. Image i of n of a kind comes at the share (i + 1/2) / n of the pass.
    """
    placed: list[tuple[float, int, int]] = []
    for number, kind in enumerate(kinds):
        order = torch.randperm(len(kind), generator=named_generator(seed, "order", iteration, epoch, number)).tolist()
        placed += [((place + 0.5) / len(kind), number, kind[index]) for place, index in enumerate(order)]
    return _split([position for _, _, position in sorted(placed)], batch_size)


def _split(positions: Sequence[int], size: int) -> list[list[int]]:
    return [list(positions[start : start + size]) for start in range(0, len(positions), size)]
