"""One measured quantity: its spread, a baseline measured in the same rounds, and the physical limit."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, Literal

Samples = Sequence[float]


@dataclass(frozen=True)
class Spread:
    """Median, lowest and highest of repeated measurements."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, samples: Samples) -> "Spread":
        return cls(median(samples), min(samples), max(samples))


@dataclass(frozen=True)
class Reference:
    """A number to compare with, in the unit of the result: the median of a baseline, or a physical limit."""

    name: str
    median: float


@dataclass(frozen=True, kw_only=True)
class Result:
    """A quantity of a case at a size; (case, size, quantity) names it in every file.

    Args:
        better: whether less of it is better, or more.
        ratio: the quantity over its baseline, taken within each round.
        headline: whether it is among the few numbers that stand for the case.
    """

    quantity: str
    unit: str
    median: float
    lowest: float
    highest: float
    repeats: int
    size: str = ""
    better: Literal["lower", "higher"] = "lower"
    baseline: Reference | None = None
    ratio: Spread | None = None
    limit: Reference | None = None
    headline: bool = False

    def as_json(self, case: str) -> dict[str, Any]:
        """Return a plain dict with the name of the case."""
        return {"case": case, **asdict(self)}


def measured(
    quantity: str,
    samples: Samples,
    unit: str,
    *,
    size: str = "",
    scale: float = 1.0,
    better: Literal["lower", "higher"] = "lower",
    baseline: tuple[str, Samples] | None = None,
    limit: tuple[str, Samples] | None = None,
    headline: bool = False,
) -> Result:
    """Return the result of samples, one a round, each times `scale`; so are baseline and limit.

    Raises:
        ValueError: the baseline was not measured in the same rounds.
    """
    spread, reference, ratio = Spread.of([scale * sample for sample in samples]), None, None
    if baseline is not None:
        if len(baseline[1]) != len(samples):
            raise ValueError(
                f"{quantity}: {len(samples)} samples and {len(baseline[1])} of the baseline; measure both in each round"
            )
        reference = Reference(baseline[0], scale * median(baseline[1]))
        ratio = Spread.of([ours / theirs for ours, theirs in zip(samples, baseline[1], strict=True)])
    bound = None if limit is None else Reference(limit[0], scale * median(limit[1]))
    return Result(
        quantity=quantity,
        unit=unit,
        **asdict(spread),
        repeats=len(samples),
        size=size,
        better=better,
        baseline=reference,
        ratio=ratio,
        limit=bound,
        headline=headline,
    )


def size_name(size: tuple[int, int]) -> str:
    """Return WIDTHxHEIGHT.

    >>> size_name((720, 1280))
    '1280x720'
    """
    return f"{size[1]}x{size[0]}"
