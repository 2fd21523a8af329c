"""What a filled table holds: mean, sample standard deviation and count of each cell; missing and doubled runs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from statistics import mean, stdev

from odkd.report.tables.spec import Row, Table, Variant
from odkd.report.tables.wanted import WantedRun, join
from odkd.runs.mlflow_store import StoredRun


@dataclass(frozen=True)
class Cell:
    """One number of the table: the defined values of its seeds, times the column's factor, and these seeds."""

    values: tuple[float, ...] = ()
    seeds: tuple[int, ...] = ()

    @property
    def mean(self) -> float:
        return mean(self.values) if self.values else math.nan

    @property
    def std(self) -> float:
        """The sample standard deviation; NaN for fewer than two values."""
        return stdev(self.values) if len(self.values) > 1 else math.nan

    @property
    def count(self) -> int:
        return len(self.values)


@dataclass(frozen=True)
class Missing:
    """A run that a cell needs and the store lacks; `status` is that of an unfinished run in the store, if any."""

    place: str
    job: WantedRun
    status: str | None = None


@dataclass(frozen=True)
class Doubled:
    """Several finished runs with the settings of one job, newest first."""

    place: str
    job: WantedRun
    runs: list[StoredRun]


@dataclass(frozen=True)
class Mixed:
    """Compared runs whose `tag` differs, so that they used different data, teachers or own code."""

    tag: str
    runs: list[tuple[str, WantedRun, StoredRun]]  # (place, job, run), newest first

    @property
    def outdated(self) -> list[WantedRun]:
        """The runs that differ from the newest."""
        newest = self.runs[0][2].tags[self.tag]
        return [job for _, job, run in self.runs if run.tags[self.tag] != newest]


@dataclass
class Filled:
    """A table filled from the store: cells by (row, variant, column), runs by job."""

    table: Table
    cells: dict[tuple[str, str, str], Cell] = field(default_factory=dict)
    missing: list[Missing] = field(default_factory=list)
    doubled: list[Doubled] = field(default_factory=list)
    mixed: list[Mixed] = field(default_factory=list)
    runs: dict[WantedRun, StoredRun] = field(default_factory=dict)

    @property
    def num_jobs(self) -> int:
        return len({job for _, _, jobs in needs(self.table) for job in jobs})

    def runs_of(self, row: Row, variant: Variant) -> dict[int, StoredRun]:
        """Return the existing runs of a row, by seed."""
        return {job.seed: self.runs[job] for job in jobs_of(self.table, row, variant) if job in self.runs}


def jobs_of(table: Table, row: Row, variant: Variant) -> list[WantedRun]:
    """Return the runs that a row needs in a variant, one per seed."""
    # The overrides of the command line come last, because they win. They also come after `fixed`, so that in a
    # command they stand beside the overrides of all runs.
    overrides = join(table.fixed, table.chosen, row.overrides, variant.overrides, table.chosen)
    return [WantedRun(overrides, seed, table.config_dir) for seed in row.seeds or table.seeds]


def needs(table: Table) -> Iterator[tuple[Row, Variant, list[WantedRun]]]:
    """Yield all runs that the table needs, row by row; rows may share runs."""
    for row in table.rows:
        for variant in table.variants:
            yield row, variant, jobs_of(table, row, variant)


def place_of(row: Row, variant: Variant) -> str:
    """Return the name of a row and variant in messages."""
    return ", ".join(part for part in (row.label, variant.label) if part)
