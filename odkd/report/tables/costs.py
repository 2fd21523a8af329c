"""What the runs of a table cost, as columns that any table can have: `odkd-tables NAME --costs`.

Updates, teacher's frames and learning time are computed from what a run has stored; peak memory is in cost.json of its
folder, which is on this machine.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from odkd.common.metric_names import SUMMARY
from odkd.report.tables.profiles import folder_of
from odkd.report.tables.spec import Column, Table
from odkd.report.tables.updates import ONLINE, Series, count_updates
from odkd.runs.cost_numbers import NUMBERS, PREFIX
from odkd.runs.mlflow_store import StoredRun
from odkd.runs.results import cost_of

REMARKS = (
    "Updates and learning time are without pretraining, and include a plain student that MCKD trains beside its own.",
    "Learning time and peak memory as the machines of the runs had them: compare those of one machine only.",
)


def with_costs(table: Table) -> Table:
    """Return the table with the columns that it lacks.

    Learning time is relative to the row that others are compared with, if there is one.
    """
    known = {known for column in table.columns for known in (column.label, column.take, column.metric)}
    columns = []
    for name, number in NUMBERS.items():
        column = Column(number.heading, f"{PREFIX}{name}", number.factor, number.digits, number.unit)
        if name == "learn_seconds" and table.compared_with is not None:
            column = replace(column, digits=2, unit="x", relative=True)
        if not {name, column.label, column.metric} & known:
            columns.append(column)
    return replace(table, columns=(*table.columns, *columns), notes=(*table.notes, *REMARKS))


def cost_in_run(run: StoredRun, metric: str, series: Series) -> float | None:
    """Return a number of what a run cost; None if the run does not tell."""
    return READERS[metric.removeprefix(PREFIX)](run, series)


def _updates(run: StoredRun, series: Series) -> float | None:
    for name in ("num_updates", "cost/updates"):  # of stages over epochs, and along a stream
        if (found := run.metrics.get(f"{SUMMARY}{name}")) is not None:
            return found
    return count_updates(run.params | {"stage.pretrain_positions": "0"}, series, ONLINE)


def _teacher_frames(run: StoredRun, _: Series) -> float | None:
    """Return the frames that the teacher labelled for a run; of an earlier odkd, for the label stores that it used."""
    if (found := run.metrics.get(f"{SUMMARY}cost/teacher_frames")) is not None:
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


READERS: dict[str, Callable[[StoredRun, Series], float | None]] = {
    "updates": _updates,
    "teacher_frames": _teacher_frames,
    "learn_seconds": _learn_seconds,
    "peak_memory_bytes": _peak_memory,
}
