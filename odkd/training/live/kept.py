"""The frames and labels that a session keeps for its student: in memory, and no more than is asked for."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import numpy as np


class Kept:
    """Frames by position; a `FrameReader` for a bank. `labels` is the source of their label maps."""

    def __init__(self) -> None:
        self._images: dict[int, np.ndarray] = {}
        self.labels = KeptLabels()

    def put(self, position: int, image_HWC: np.ndarray, label_HW: np.ndarray | None = None) -> None:
        """Keep a frame, uint8 RGB, and its label map, if it has one; both belong to this object from now on."""
        self._images[position] = image_HWC
        if label_HW is not None:
            self.labels.maps[position] = label_HW

    def read(self, positions: Sequence[int]) -> np.ndarray:
        """Return uint8 RGB [n, H, W, 3], as `FrameReader.read`."""
        return np.stack([self._images[position] for position in positions])

    def retain(self, positions: Collection[int]) -> None:
        """Forget all other frames."""
        for position in self._images.keys() - set(positions):
            del self._images[position]
            self.labels.maps.pop(position, None)

    def __len__(self) -> int:
        return len(self._images)


class KeptLabels:
    """The label maps of kept frames, by position."""

    def __init__(self) -> None:
        self.maps: dict[int, np.ndarray] = {}

    def read(self, position: int) -> np.ndarray:
        """Return uint8 [H, W], as `LabelSource.read`."""
        return self.maps[position]
