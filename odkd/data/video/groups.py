"""Groups of pictures: which of them frames need, and which are decoded in one pass."""

import numpy as np

from odkd.data.video.index import VideoIndex

WORTH_SKIPPING = 8  # unwanted frames up to the next wanted group; skipping costs about as much as decoding 2


def groups_of(index: VideoIndex, numbers: np.ndarray) -> np.ndarray:
    """Return int64 [n], the group of pictures of each frame; -1: before the first keyframe."""
    return np.asarray(np.searchsorted(index.keyframes, numbers, side="right") - 1, np.int64)


def runs_of(index: VideoIndex, numbers: np.ndarray, lead: int = 0) -> list[tuple[int, np.ndarray]]:
    """Return the runs of frames that are decoded in one pass: the group at which it begins, and the frame numbers.

    A pass ends where the frames up to the next wanted group are too many to be decoded for nothing.

    Args:
        lead: groups before a wanted one that must be decoded too.

    >>> from types import SimpleNamespace
    >>> index = SimpleNamespace(keyframes=np.array([0, 20, 40, 60]))
    >>> [(group, run.tolist()) for group, run in runs_of(index, np.array([19, 20, 30, 45, 70]))]
    [(0, [19, 20, 30]), (2, [45]), (3, [70])]
    """
    groups = groups_of(index, numbers)
    begins = np.maximum(groups - lead, np.minimum(groups, 0))
    keys = np.where(begins < 0, 0, index.keyframes[begins])
    is_cut = (np.diff(groups) > 0) & (keys[1:] - numbers[:-1] > WORTH_SKIPPING)
    runs = np.split(numbers, np.flatnonzero(is_cut) + 1)
    firsts = np.append(0, np.flatnonzero(is_cut) + 1)
    return list(zip(begins[firsts].tolist(), runs, strict=True))
