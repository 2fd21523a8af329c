"""Frames and labels of noise in memory, with the interfaces of a run's own: a profile needs no data set."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

BLOCK = 8  # pixels; labels of single pixels would be unlike those of a picture


@dataclass(frozen=True)
class NoiseFrames:
    """Frames of noise, the same for the same position: uint8 [N, H, W, 3].

    Args:
        size: (height, width) in pixels.
    """

    size: tuple[int, int]

    def read(self, positions: Sequence[int]) -> np.ndarray:
        """Return the frames at these positions."""
        images = [
            np.random.default_rng(position).integers(0, 256, (*self.size, 3), dtype=np.uint8) for position in positions
        ]
        return np.stack(images)


@dataclass(frozen=True)
class NoiseLabels:
    """Label maps of blocks of one class, and soft labels of them.

    Args:
        size: (height, width) in pixels.
        num_classes: ids are below it.
        num_kept: classes of each pixel that the soft labels keep.
        soft_size: (height, width) of the soft labels.
    """

    size: tuple[int, int]
    num_classes: int
    num_kept: int = 0
    soft_size: tuple[int, int] | None = None

    def read(self, position: int) -> np.ndarray:
        """Return class ids, uint8 [H, W]."""
        return self._blocks(position, self.size)

    def read_soft(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Return classes uint8 [k, h, w], the likeliest first, and probabilities float32 [k, h, w]."""
        first_HW = self._blocks(position, self.soft_size or self.size).astype(np.int64)
        places = np.arange(self.num_kept)[:, None, None]
        classes_kHW = ((first_HW + places) % self.num_classes).astype(np.uint8)
        shares_k = 0.5 ** (1 + np.arange(self.num_kept, dtype=np.float32))
        return classes_kHW, np.broadcast_to(shares_k[:, None, None], classes_kHW.shape).astype(np.float32)

    def _blocks(self, position: int, size: tuple[int, int]) -> np.ndarray:
        height, width = size
        few = (-(-height // BLOCK), -(-width // BLOCK))
        drawn = np.random.default_rng(position).integers(0, self.num_classes, few, dtype=np.uint8)
        blocks_HW: np.ndarray = np.kron(drawn, np.ones((BLOCK, BLOCK), dtype=np.uint8))[:height, :width]
        return blocks_HW
