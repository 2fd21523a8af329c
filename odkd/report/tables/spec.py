"""The YAML specification of a table: rows, groups of columns and columns, with the settings in which runs differ.

The file lists settings to compare, never runs:

    fixed: [experiment=continual/synthetic]            # overrides of all runs
    seeds: [0, 1, 2]
    rows: {FIFO: [replay=fifo], Uniform: [replay=uniform]}
    columns: {mIoU: mean/miou, BWT: mean_past/miou}    # heading: final metric, named as in summary.json

docs/tables.md explains every key.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from odkd.config.permissions import check_words
from odkd.report.tables.spec_files import read_spec
from odkd.runs.cost_numbers import PREFIX as COSTS
from odkd.runs.cost_numbers import CostNumber, cost_number
from odkd.runs.profiles import PREFIX, Number, number_of

# prefix of a metric -> what finds how its column is shown
NUMBERS: dict[str, Callable[[str], Number | CostNumber]] = {PREFIX: number_of, COSTS: cost_number}


@dataclass(frozen=True)
class Row:
    """A row; `of` replaces {of} in the metrics of the columns."""

    label: str
    overrides: tuple[str, ...] = ()
    of: str = ""
    seeds: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Variant:
    """A group of columns whose runs have additional settings."""

    label: str = ""
    overrides: tuple[str, ...] = ()


@dataclass(frozen=True)
class Column:
    """A column: a final metric times `factor`, with `digits` after the decimal point.

    `take=median` is the median over iterations of a metric; `take=updates` is the number of updates of the training
    whose loss the metric is. Values of a `relative` column are divided by those of the row that others are compared
    with, seed by seed. Without a metric there are published values only.
    """

    label: str
    metric: str | None
    factor: float = 100.0
    digits: int = 1
    unit: str = "%"
    take: Literal["final", "median", "updates"] = "final"
    relative: bool = False

    @property
    def heading(self) -> str:
        return f"{self.label} ({self.unit})" if self.unit else self.label


@dataclass(frozen=True)
class PublishedChoice:
    """The published table to show beside ours: one `variant` of it for all columns, or by default the same variant."""

    table: str
    variant: str | None = None
    note: str = ""


@dataclass(frozen=True)
class Table:
    """A complete specification of a table.

    Rows are tested against the row `compared_with`, if any. From the command line come `config_dir`, a folder of
    user-defined YAML for its runs, and `chosen`, overrides that win over all others.
    """

    name: str
    title: str
    stub: str
    fixed: tuple[str, ...]
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    variants: tuple[Variant, ...]
    columns: tuple[Column, ...]
    published: PublishedChoice | None = None
    notes: tuple[str, ...] = ()
    figures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    compared_with: str | None = None
    config_dir: str | None = None
    chosen: tuple[str, ...] = ()


def load_table(name: str) -> Table:
    """Load a table by its name or by the path of a YAML file.

    Raises:
        ValueError: there is no such table, its file is invalid, or it permits code, which only the command line may.
    """
    table = make_table(Path(name).stem if name.endswith((".yaml", ".yml")) else name, read_spec(name))
    of_parts = [part.overrides for part in table.rows] + [part.overrides for part in table.variants]
    check_words((*table.fixed, *(word for words in of_parts for word in words)), name)
    return table


def make_table(name: str, spec: Mapping[str, Any]) -> Table:
    """Make a table from its merged YAML.

    Raises:
        ValueError: a key is missing or has a value of the wrong type.
    """
    for key in ("rows", "columns"):
        if not (isinstance(spec.get(key), dict) and spec[key]):
            raise ValueError(f"table {name}: {key} is {spec.get(key)!r}; expected a mapping of labels: docs/tables.md")
    rows = [_part(name, f"rows.{label}", Row, str(label), value, "overrides") for label, value in spec["rows"].items()]
    variants = [
        _part(name, f"variants.{label}", Variant, str(label), value, "overrides")
        for label, value in (spec.get("variants") or {"": []}).items()
    ]
    columns = [
        _part(name, f"columns.{label}", Column, str(label), value, "metric") for label, value in spec["columns"].items()
    ]
    fixed = _texts(name, "fixed", spec.get("fixed", []))
    chosen = spec.get("published")
    return Table(
        name=name,
        title=str(spec.get("title", name)),
        stub=str(spec.get("stub", "")),
        fixed=tuple(fixed),
        seeds=check_seeds(f"table {name}: seeds", spec.get("seeds", [0, 1, 2])),
        rows=tuple(rows),
        variants=tuple(variants),
        columns=tuple(columns),
        published=PublishedChoice(**(chosen if isinstance(chosen, dict) else {"table": chosen})) if chosen else None,
        notes=tuple(_texts(name, "notes", spec.get("notes", []))),
        figures=spec.get("figures") or {},
        compared_with=_compared_with(name, spec, rows, columns),
    )


def _compared_with(name: str, spec: Mapping[str, Any], rows: Sequence[Row], columns: Sequence[Column]) -> str | None:
    """Return the row that others are compared with: by default the first; false = none."""
    chosen, labels = spec.get("compared_with", rows[0].label), [row.label for row in rows]
    if chosen is not False and chosen not in labels:
        raise ValueError(f"table {name}: compared_with is {chosen!r}; expected false or a row: {', '.join(labels)}")
    if chosen is False and (relative := [column.label for column in columns if column.relative]):
        raise ValueError(f"table {name}: column {relative[0]} is relative to compared_with, which is false; name a row")
    return chosen or None


def _part(name: str, where: str, kind: Any, label: str, value: Any, short: str) -> Any:
    """Make a row, variant or column; a value that is not a mapping is that of the field `short`."""
    given = value if isinstance(value, dict) else {short: value}
    known = set(kind.__dataclass_fields__) - {"label"}
    if unknown := set(given) - known:
        raise ValueError(f"table {name}: {where} has {sorted(unknown)[0]}; known: {', '.join(sorted(known))}")
    if short == "metric" and "metric" not in given:
        raise ValueError(f"table {name}: {where} has no metric; write null for published values only")
    given = {k: tuple(_texts(name, where, v)) if k == "overrides" else v for k, v in given.items()}
    if given.get("relative") is True:
        given = {"factor": 1.0, "unit": "x", "digits": 2} | given
    for prefix, find in NUMBERS.items() if short == "metric" else ():
        if str(given["metric"]).startswith(prefix):
            number = find(given["metric"])
            given = {"factor": number.factor, "unit": number.unit, "digits": number.digits} | given
    if given.get("seeds") is not None:
        given["seeds"] = check_seeds(f"table {name}: {where}.seeds", given["seeds"])
    return kind(label=label, **given)


def check_seeds(where: str, seeds: Any) -> tuple[int, ...]:
    """Check and return seeds.

    Raises:
        ValueError: they are not whole numbers, or a seed occurs twice and would count twice.
    """
    if not (isinstance(seeds, list) and seeds and all(type(seed) is int and seed >= 0 for seed in seeds)):
        raise ValueError(f"{where} is {seeds!r}; expected a list of whole numbers, such as [0, 1, 2]")
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"{where} is {seeds!r}; expected each seed once, because a seed is one run")
    return tuple(seeds)


def _texts(name: str, where: str, value: Any) -> Sequence[str]:
    if not (isinstance(value, list) and all(isinstance(item, str) for item in value)):
        raise ValueError(f"table {name}: {where} is {value!r}; expected a list of texts, such as [replay=fifo, seed=1]")
    return value
