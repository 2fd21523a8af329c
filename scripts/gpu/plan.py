"""The parts of the check, the most valuable first, and the time that each may take."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

SPARE_SECONDS = 5.0  # of the whole time, for the last report


@dataclass(frozen=True)
class Part:
    """One part of the check, run in a process of its own.

    Args:
        name: of its module in `gpu.parts`.
        question: that it answers.
        least: seconds with which it can begin; it leaves out by name what does not fit into what is left.
        most: seconds after which it is ended.
        wave: parts of a wave run side by side, because none of them measures time; None = alone.
    """

    name: str
    question: str
    least: float
    most: float
    wave: int | None = None

    def seconds(self, left: float, *, patience: float = 1.0) -> float | None:
        """Return the time that this part gets of the seconds that are left; None if that is too little.

        Args:
            patience: times `most`; above 1 on a CPU, which other processes share.
        """
        return None if left < self.least else min(patience * self.most, left)


PARTS = (
    Part("videos", "are the videos of the other parts rendered and decoded?", 10, 120, wave=0),
    Part("waits", "how often does an iteration wait for the device?", 15, 120, wave=0),
    Part("repeat", "does a run repeat bit by bit, also after kill -9?", 40, 160, wave=0),
    Part("agreement", "do CPU and GPU give the same numbers?", 20, 140, wave=0),
    Part("speed", "how much does the loop take beyond the bare network?", 20, 185),
    Part("memory", "does device memory grow with the stream?", 15, 50),
    Part("mckd", "how long is an epoch of MCKD with the Swin student?", 20, 60),
    Part("labelling", "what share of its time is the GPU busy while a teacher labels?", 20, 70),
    Part("tests", "do the default tests pass on this device?", 30, 120),
)
NAMES = tuple(part.name for part in PARTS)


def waves(names: Sequence[str]) -> Iterator[list[Part]]:
    """Yield the chosen parts in order: those of a wave together, each other one alone.

    >>> [[part.name for part in wave] for wave in waves(["speed", "waits", "repeat"])]
    [['waits', 'repeat'], ['speed']]
    """
    chosen = [part for part in PARTS if part.name in names]
    while chosen:
        first = chosen[0]
        wave = [part for part in chosen if part is first or (part.wave is not None and part.wave == first.wave)]
        yield wave
        chosen = [part for part in chosen if part not in wave]
