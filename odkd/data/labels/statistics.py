"""What a store holds: pixels and frames of each class, and how uneven the classes are."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from odkd.common.ignore import IGNORE
from odkd.data.labels.store import LabelStore


@dataclass(frozen=True)
class ClassStatistics:
    """`pixels` and `frames` (that show the class at all): int64 [256] by class id, 255 = ignored; of `num_frames`."""

    pixels: np.ndarray
    frames: np.ndarray
    num_frames: int

    @property
    def shares(self) -> np.ndarray:
        """float64 [256]: share of the labelled pixels, 0..1; 0 for 255."""
        counted = self.pixels.astype(np.float64)
        counted[IGNORE] = 0
        shares: np.ndarray = counted / max(counted.sum(), 1)
        return shares

    @property
    def ignored_share(self) -> float:
        """Share of all pixels that the teacher ignores, 0..1."""
        return float(self.pixels[IGNORE] / max(self.pixels.sum(), 1))

    @property
    def imbalance(self) -> float:
        """Pixels of the most over those of the least frequent class that occurs at all; 1 = even."""
        found = self.pixels[:IGNORE][self.pixels[:IGNORE] > 0]
        return float(found.max() / found.min()) if len(found) else float("nan")

    @property
    def effective_classes(self) -> float:
        """exp(entropy of the shares): as many equally frequent classes would be as uncertain (Hill 1973, order 1)."""
        shares = self.shares[self.shares > 0]
        return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0


def class_statistics(stores: Iterable[LabelStore]) -> ClassStatistics:
    """Count all label maps that the stores have.

    Raises:
        DamagedLabelsError: one of them is damaged.
    """
    pixels, frames, num_frames = np.zeros(256, np.int64), np.zeros(256, np.int64), 0
    for store in stores:
        for frame in sorted(store.all_stored()):
            counts = np.bincount(store.read(frame).reshape(-1), minlength=256)
            pixels += counts
            frames += counts > 0
            num_frames += 1
    return ClassStatistics(pixels, frames, num_frames)
