"""Class statistics of label stores: pixels and frames per class, and the class imbalance."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from odkd.common.ignore import IGNORE
from odkd.data.labels.store import LabelStore


@dataclass(frozen=True)
class ClassStatistics:
    """Pixel and frame counts by class id over `num_frames` label maps; id 255 = ignored."""

    pixels: np.ndarray  # int64 [256]
    frames: np.ndarray  # int64 [256]: frames with at least one pixel of the class
    num_frames: int

    @property
    def shares(self) -> np.ndarray:
        """float64 [256]: the share of each class in the labelled pixels, 0..1; 0 for id 255."""
        counted = self.pixels.astype(np.float64)
        counted[IGNORE] = 0
        shares: np.ndarray = counted / max(counted.sum(), 1)
        return shares

    @property
    def ignored_share(self) -> float:
        """The share of all pixels that the teacher ignores, 0..1."""
        return float(self.pixels[IGNORE] / max(self.pixels.sum(), 1))

    @property
    def imbalance(self) -> float:
        """Pixels of the most frequent class / pixels of the rarest class that occurs; 1 = balanced."""
        found = self.pixels[:IGNORE][self.pixels[:IGNORE] > 0]
        return float(found.max() / found.min()) if len(found) else float("nan")

    @property
    def effective_classes(self) -> float:
        """exp(entropy of the shares): the number of equally frequent classes of that entropy (Hill 1973, order 1)."""
        shares = self.shares[self.shares > 0]
        return float(np.exp(-(shares * np.log(shares)).sum())) if len(shares) else 0.0


def class_statistics(stores: Iterable[LabelStore]) -> ClassStatistics:
    """Count the pixels of all label maps in the stores.

    Raises:
        DamagedLabelsError: a label map is damaged.
    """
    pixels, frames, num_frames = np.zeros(256, np.int64), np.zeros(256, np.int64), 0
    for store in stores:
        for frame in sorted(store.all_stored()):
            counts = np.bincount(store.read(frame).reshape(-1), minlength=256)
            pixels += counts
            frames += counts > 0
            num_frames += 1
    return ClassStatistics(pixels, frames, num_frames)
