"""Metrics of continual learning: recovery after a change of domain, forgetting, transfer (pure arithmetic)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RECOVERED_SHARE = 0.95  # of the level before the change: "within 5 %"


class Recovery(NamedTuple):
    """Recovery from the changes of a stream.

    Args:
        num_iterations: mean over the changes, NaN if no change has a level.
        num_changes: with a level.
        num_unrecovered: of those, the ones without recovery within their segment.
    """

    num_iterations: float
    num_changes: int
    num_unrecovered: int


def recovery(miou_I: Sequence[float], segments_I: Sequence[int], *, share: float = RECOVERED_SHARE) -> Recovery:
    """Return how many iterations scores stay below `share` of their level before the stream changed.

    The level before a change is the score of the last iteration of the previous segment. Recovery takes as many
    iterations of the new segment as precede the first one that reaches `share` of that level; 0 if the first one does.
    Without recovery within the segment, all its iterations count, which is a lower bound, and the change counts in
    `num_unrecovered`. Changes whose level is NaN do not count.

    Args:
        miou_I: score of each iteration's test window; NaN = undefined.
        segments_I: number of the segment of each iteration's window; windows in two segments are already left out.

    >>> recovery([0.5, 0.2, 0.3, 0.49, 0.5, 0.1], [0, 1, 1, 1, 1, 2])
    Recovery(num_iterations=1.5, num_changes=2, num_unrecovered=1)
    """
    miou, segments = np.asarray(miou_I, np.float64), np.asarray(segments_I)
    lengths: list[int] = []
    num_unrecovered = 0
    for first in (np.flatnonzero(np.diff(segments)) + 1).tolist():
        level = miou[first - 1]
        if np.isnan(level):
            continue
        here = miou[first:][segments[first:] == segments[first]]
        reached = np.flatnonzero(here >= share * level)
        lengths.append(int(reached[0]) if len(reached) else len(here))
        num_unrecovered += not len(reached)
    mean = float(np.mean(lengths)) if lengths else float("nan")
    return Recovery(mean, len(lengths), num_unrecovered)


def backward_transfer(scores_TT: NDArray[np.float64]) -> float:
    """Return the backward transfer, the mean over i < T of R[T, i] - R[i, i]; below 0 is forgetting.

    Lopez-Paz & Ranzato 2017, eq. 3. Segments whose score is NaN do not count; NaN if there are fewer than two segments.

    Args:
        scores_TT: R[i, j], the score on segment j of the student that has just completed segment i.

    >>> round(backward_transfer(np.array([[0.6, 0.1], [0.2, 0.5]])), 6)
    -0.4
    """
    return _mean(scores_TT[-1, :-1] - np.diagonal(scores_TT)[:-1])


def forgetting(scores_TT: NDArray[np.float64]) -> float:
    """Return the forgetting, the mean over j < T of (max over l < T of R[l, j]) - R[T, j].

    Chaudhry et al. 2018, eq. 3. Arguments and NaN as in `backward_transfer`. Below 0, the last student is better on
    past segments than all earlier ones.

    >>> scores_TT = np.array([[0.6, 0.1, 0.1], [0.7, 0.5, 0.1], [0.2, 0.5, 0.5]])
    >>> round(forgetting(scores_TT), 6)  # (0.7 - 0.2 + 0.5 - 0.5) / 2
    0.25
    """
    return _mean(np.array([_max(scores_TT[:-1, j]) - scores_TT[-1, j] for j in range(len(scores_TT) - 1)]))


def _max(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.max()) if len(known) else float("nan")


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(known.mean()) if len(known) else float("nan")
