"""The labelled pixels of each class in the positions of a pass, for losses that weigh classes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from odkd.common.ignore import IGNORE
from odkd.data.tensor_bank import Bank
from odkd.evaluation.metrics import bin_counts


def class_pixels(bank: Bank, source: str, positions: Sequence[int]) -> Tensor:
    """Return the labelled pixels of each class in each position, int64 [n, K], on the bank's device."""
    counts = [bin_counts(bank.get([p]).labels[source].flatten(1), IGNORE + 1)[:, : bank.num_classes] for p in positions]
    return torch.cat(counts)


class PixelCounts:
    """Counts pixels; the counts of a position are reused while it is learned from."""

    def __init__(self) -> None:
        self._pixels: dict[int, Tensor] = {}  # position -> labelled pixels of each class, int64 [K]

    def count(self, bank: Bank, source: str, positions: Sequence[int]) -> Tensor:
        """Return the labelled pixels of each class in positions of a label source, int64 [K]."""
        wanted = set(positions)
        self._pixels = {position: pixels_K for position, pixels_K in self._pixels.items() if position in wanted}
        for position in positions:
            if position not in self._pixels:
                self._pixels[position] = class_pixels(bank, source, [position])[0]
        return torch.stack([self._pixels[position] for position in positions]).sum(0)

    def clear(self) -> None:
        """Forget the counts: they are of another label source."""
        self._pixels.clear()
