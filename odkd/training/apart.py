"""Stream and replayed frames of one update, forwarded one after the other, each kind with a loss of its own.

ER-ACE (Caccia et al. 2022) and the released code of Houyon et al. 2023 do so: loss = loss(stream) + loss(replayed).
In one batch, batch norm would normalise both kinds by their common statistics.
"""

from collections.abc import Callable, Collection, Sequence

import torch
from torch import Tensor, nn

from odkd.data.labels.soft import SoftLabels

Forward = Callable[[nn.Module, Tensor], Tensor]
Losses = Callable[[Tensor, Tensor, SoftLabels | None], dict[str, Tensor]]


def sizes_of_kinds(positions: Sequence[int], stream_positions: Collection[int]) -> tuple[int, ...]:
    """Return the numbers of stream and replayed frames in a batch that has its stream frames first.

    Empty for a batch of one kind, which has nothing to hold apart.

    >>> sizes_of_kinds([20, 21, 3], {20, 21}), sizes_of_kinds([20, 21], {20, 21})
    ((2, 1), ())
    """
    num_stream = sum(position in stream_positions for position in positions)
    return (num_stream, len(positions) - num_stream) if 0 < num_stream < len(positions) else ()


def forward_apart(forward: Forward, sizes: Sequence[int]) -> Forward:
    """Return a function that forwards parts of a batch, of these sizes, one after the other."""

    def parts(network: nn.Module, images_BCHW: Tensor) -> Tensor:
        return torch.cat([forward(network, part) for part in torch.split(images_BCHW, list(sizes))])

    return parts


def losses_apart(
    losses: Losses, logits_BKHW: Tensor, labels_BHW: Tensor, soft: SoftLabels | None, sizes: Sequence[int]
) -> dict[str, Tensor]:
    """Return the losses by name, each the sum over the parts of a batch."""
    split = list(sizes)
    softs = [None] * len(split) if soft is None else list(map(SoftLabels, *(torch.split(maps, split) for maps in soft)))
    of_parts = [
        losses(*part)
        for part in zip(torch.split(logits_BKHW, split), torch.split(labels_BHW, split), softs, strict=True)
    ]
    return {name: torch.stack([part[name] for part in of_parts]).sum() for name in of_parts[0]}
