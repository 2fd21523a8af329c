"""Labels in another order: of a stream that has the frames of another one, or some of them."""

import numpy as np

from odkd.data.labels import LabelSource, SoftSource


class ReorderedLabels:
    """A source of labels whose position p is position `index_P[p]` of `labels`."""

    def __init__(self, labels: LabelSource, index_P: np.ndarray) -> None:
        self._labels, self._index_P = labels, index_P

    def read(self, position: int) -> np.ndarray:
        """Return uint8 [H, W], as `LabelSource.read`."""
        return self._labels.read(int(self._index_P[position]))

    def read_soft(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Return classes and probabilities, as `SoftSource.read_soft`."""
        assert isinstance(self._labels, SoftSource)
        return self._labels.read_soft(int(self._index_P[position]))
