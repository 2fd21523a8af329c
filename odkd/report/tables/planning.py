"""How many seeds a difference needs, as a table: `odkd-tables NAME --seeds`."""

from __future__ import annotations

from odkd.common.markdown import markdown_table
from odkd.report.tables.cells import Filled
from odkd.report.tables.significance import (
    LEVEL,
    MOST_SEEDS,
    POWER,
    Difference,
    compared,
    differences,
    seeds_needed,
    spread_range,
)


def plan_of_seeds(filled: Filled, difference: float) -> str:
    """Return a GitHub table: for each row and column, the seeds that a difference from the compared row needs.

    Args:
        filled: whose spread over seeds is taken for that of more seeds.
        difference: in the columns' units.

    Raises:
        ValueError: the table compares nothing, or no two seeds of two rows are there.
    """
    table, base, found = filled.table, compared(filled.table), differences(filled)
    counts = [len(one.values) for one in found.values() if len(one.values) > 1]
    if not counts:
        raise ValueError(
            f"table {table.name} has no two rows with two seeds each, so that nothing is known of the spread; "
            "run it with more seeds: --seeds 0 1 2 --run"
        )
    columns = [column for column in table.columns if column.metric and not column.relative]
    places = [(variant, column) for variant in table.variants for column in columns]
    headings = [", ".join(filter(None, (column.heading, variant.label))) for variant, column in places]
    rows = []
    for row in table.rows:
        if row.label != base:
            cells = [found.get((row.label, variant.label, column.label)) for variant, column in places]
            rows.append([row.label, *(_cell(cell, difference) for cell in cells)])
    low, high = spread_range(min(counts))
    notes = [
        f"Seeds that show a difference of {difference:g} from {base} with a chance of {POWER:.0%}, by a paired t test "
        f"at {LEVEL:.0%}; in brackets the standard deviation of the differences that was seen.",
        f"A spread of {min(counts)} seeds is uncertain itself: the true one is between {low:.1f} and {high:.1f} times "
        "as large, in nine of ten cases.",
    ]
    lines = markdown_table([table.stub, *headings], rows)
    return f"**{table.title}: seeds**\n\n{lines}\n\n" + "\n".join(f"* {note}" for note in notes) + "\n"


def _cell(one: Difference | None, difference: float) -> str:
    if one is None or not one.spread > 0:  # a single seed, or a number that seeds do not change
        return ""
    number = seeds_needed(one.spread, difference)
    return f"{f'more than {MOST_SEEDS}' if number is None else number} ({one.spread:.2g})"
