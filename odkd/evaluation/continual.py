"""What continual learning is judged by: recovery after a change of domain, forgetting, transfer (pure arithmetic)."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

RECOVERED_SHARE = 0.95  # of the level before the change: "within 5 %"


class Recovery(NamedTuple):
    """`num_iterations` is a mean over changes, NaN if there is none that can be judged."""

    num_iterations: float
    num_changes: int
    num_unrecovered: int


def recovery(miou_I: Sequence[float], segments_I: Sequence[int], *, share: float = RECOVERED_SHARE) -> Recovery:
    """How long scores stay below `share` of their level before the stream changed.

    Args:
        miou_I: score of each iteration's test window; NaN where undefined.
        segments_I: number of the segment in which each iteration's window lies; windows in two are left out before.

    The level before a change is the score of the last iteration of the segment before. A change takes as many
    iterations as pass, from the first one of the new segment on, before one reaches `share` of that level; 0 if
    the first one does. A change that is not recovered from within its segment counts with the segment's
    iterations, which is a lower bound, and in `num_unrecovered`. Changes whose level is NaN do not count.

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
    """Lopez-Paz & Ranzato 2017, eq. 3: mean over i < T of R[T, i] - R[i, i]; below 0 is forgetting.

    Args:
        scores_TT: R[i, j], the score on segment j of the student that has just gone through segment i.

    Segments whose score is NaN do not count; NaN if there are fewer than two segments.

    >>> round(backward_transfer(np.array([[0.6, 0.1], [0.2, 0.5]])), 6)
    -0.4
    """
    return _mean(scores_TT[-1, :-1] - np.diagonal(scores_TT)[:-1])


def forgetting(scores_TT: NDArray[np.float64]) -> float:
    """Chaudhry et al. 2018, eq. 3: mean over j < T of max over l < T of R[l, j], minus R[T, j].

    Arguments and NaN as in `backward_transfer`. Below 0: the last student is better on the past than any before.

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
