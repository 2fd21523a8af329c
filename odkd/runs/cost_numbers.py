"""What a run cost, as columns of tables: the names of the numbers, and how a column shows them."""

from dataclasses import dataclass

from odkd.common.names import number_named

PREFIX = "costs/"  # of the numbers, as columns of a table


@dataclass(frozen=True)
class CostNumber:
    """How a column shows a number: heading, unit, factor to that unit, digits after the point."""

    heading: str
    unit: str = ""
    factor: float = 1.0
    digits: int = 0


NUMBERS = {
    "updates": CostNumber("updates"),
    "teacher_frames": CostNumber("teacher's frames"),
    "learn_seconds": CostNumber("learning time", "s", digits=1),
    "peak_memory_bytes": CostNumber("peak memory", "GiB", 2.0**-30, 2),
}


def cost_number(metric: str) -> CostNumber:
    """Return the number that a column shows.

    Raises:
        ValueError: there is no such number.
    """
    return number_named(metric, PREFIX, NUMBERS, "a run")
