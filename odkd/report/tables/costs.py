"""What the runs of a table cost, as columns that any table can have: `odkd-tables NAME --costs`.

Updates, teacher's frames and learning time are computed from what a run has stored; peak memory is in cost.json of its
folder, which is on this machine.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from odkd.common.names import nearest
from odkd.report.tables.profiles import folder_of
from odkd.report.tables.spec import Column, Table
from odkd.report.tables.updates import ONLINE, count_updates
from odkd.runs.mlflow_store import StoredRun
from odkd.runs.results import cost_of

PREFIX = "costs/"  # of the numbers, as columns of a table
Series = Callable[[str], Mapping[int, float]]  # metric -> its values by step
GIB = 2**30
REMARK = "Learning time and peak memory as the machines of the runs had them: compare those of one machine only."


@dataclass(frozen=True)
class Number:
    """A number of what a run cost, and how a column shows it."""

    read: Callable[[StoredRun, Series], float | None]
    heading: str
    unit: str = ""
    factor: float = 1.0
    digits: int = 0


def with_costs(table: Table) -> Table:
    """Return the table with the columns that it lacks.

    Learning time is relative to the row that others are compared with, if there is one.
    """
    known = {column.label for column in table.columns} | {column.take for column in table.columns}
    columns = []
    for name, number in NUMBERS.items():
        column = Column(number.heading, f"{PREFIX}{name}", number.factor, number.digits, number.unit)
        if name == "learn_seconds" and table.compared_with is not None:
            column = replace(column, digits=2, unit="x", relative=True)
        if not {name, column.label} & known:
            columns.append(column)
    return replace(table, columns=(*table.columns, *columns), notes=(*table.notes, REMARK))


def cost_in_run(run: StoredRun, metric: str, series: Series) -> float | None:
    """Return a number of what a run cost; None if the run does not tell.

    Raises:
        ValueError: there is no such number.
    """
    name = metric.removeprefix(PREFIX)
    if name not in NUMBERS:
        known = ", ".join(f"{PREFIX}{one}" for one in NUMBERS)
        raise ValueError(f"{metric}: a run has no such number{nearest(name, NUMBERS)} (known: {known})")
    return NUMBERS[name].read(run, series)


def _updates(run: StoredRun, series: Series) -> float | None:
    for stored in ("num_updates", "cost/updates"):  # of stages over epochs, and along a stream
        if (found := run.final(stored)) is not None:
            return found
    return count_updates(run.params, series, ONLINE)


def _teacher_frames(run: StoredRun, _: Series) -> float | None:
    if (found := run.final("cost/teacher_frames")) is not None:
        return found
    labelling = cost_of(folder_of(run)).get("teacher")
    return None if labelling is None else float(labelling["frames"])


def _learn_seconds(_: StoredRun, series: Series) -> float | None:
    return sum(series("time/learn_seconds").values()) or None


def _peak_memory(run: StoredRun, _: Series) -> float | None:
    """Return the largest of all processes of a run, in bytes; of the GPU where the run had one."""
    processes = cost_of(folder_of(run)).get("processes", [])
    for name in ("peak_device_memory_bytes", "peak_memory_bytes"):
        if known := [entry[name] for entry in processes if entry.get(name) is not None]:
            return float(max(known))
    return None


NUMBERS = {
    "updates": Number(_updates, "updates"),
    "teacher_frames": Number(_teacher_frames, "teacher's frames"),
    "learn_seconds": Number(_learn_seconds, "learning time", "s", digits=1),
    "peak_memory_bytes": Number(_peak_memory, "peak memory", "GiB", 1 / GIB, 2),
}
