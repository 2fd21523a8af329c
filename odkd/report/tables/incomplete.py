"""Messages about missing, doubled or mixed cells of a table: which, in which store, and what to do."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from odkd.common.dotted import WHERE_AND_HOW, is_in
from odkd.common.names import counted
from odkd.report.tables.cells import Doubled, Filled, Missing, Mixed
from odkd.report.tables.commands import grouped_commands
from odkd.report.tables.profiles import profile_complaints
from odkd.runs.mlflow_store import StoredRun

MAX_LINES = 12  # rows with missing runs that a message lists
MAX_CHARACTERS = 60  # of a value that differs
UNTOLD = (  # tags that differ between any two runs, or repeat another tag
    "odkd.run_folder",
    "odkd.overrides",
    "odkd.run_key",
    "odkd.created",
    "odkd.sweep_key",
    "odkd.teacher",
    "odkd.changed_params",
    "odkd.error",
    "odkd.pruned",
)


@dataclass(frozen=True)
class Advice:
    """Text for messages: the program, the store that was read, the commands that fill a table or make it again.

    `where` says how runs are deleted: "in MLflow", or "with their folders".
    """

    program: str
    store: str
    fill: str
    again: str
    where: str


def complaints(filled: Filled, advice: Advice, *, allow_missing: bool, newest: bool) -> list[str]:
    """Return lines about each missing, doubled or mixed cell with commands to mend it; empty if there are none."""
    lines: list[str] = []
    if filled.missing and not allow_missing:
        lines += missing_lines(filled, advice)
    for doubled in filled.doubled:
        lines += doubled_lines(doubled, advice)
    if filled.doubled:
        lines.append(f"Take the newest of each ({advice.again} --newest), or delete the others {advice.where}.")
    if filled.mixed and not newest:
        for mixed in filled.mixed:
            lines += mixed_lines(mixed, advice)
        lines.append(
            "Then take the newest of each, or accept these runs with a remark below the table "
            f"({advice.again} --newest), or delete the others {advice.where}."
        )
    told = profile_complaints(filled.table, filled.runs.values(), allow_missing=allow_missing, newest=newest)
    return [*lines, *told]


def missing_lines(filled: Filled, advice: Advice) -> list[str]:
    """Return the rows that lack runs, each with the commands that fill it, and the command that fills all."""
    number = f"{len(filled.missing)} of {counted(filled.num_jobs, 'run')}"
    lines = [f"{advice.program}: {filled.table.name} lacks {number}{advice.store}:"]
    places: dict[str, list[Missing]] = {}
    for missing in filled.missing:
        places.setdefault(missing.place, []).append(missing)
    for place, lacking in list(places.items())[:MAX_LINES]:
        seeds = " ".join(str(missing.job.seed) for missing in lacking)
        statuses = {missing.status for missing in lacking if missing.status}
        status = f" (existing runs: {', '.join(sorted(statuses))})" if statuses else ""
        lines.append(f"{place}, seed {seeds}{status}:")
        lines += [f"  {line}" for line in grouped_commands(missing.job for missing in lacking)]
    if len(places) > MAX_LINES:
        lines.append(f"... and {len(places) - MAX_LINES} more")
    lines.append(
        f"{advice.fill} --missing prints all these commands, --run runs them; --allow-missing leaves the cells empty."
    )
    return lines


def doubled_lines(doubled: Doubled, advice: Advice) -> list[str]:
    """Return the runs of one cell with their differences; without any, the files to compare."""
    place = f"{doubled.place}, seed {doubled.job.seed}"
    lines = [f"{advice.program}: {place} has {len(doubled.runs)} finished runs with the same settings:"]
    lines += [f"{_run_words(run)}  {differences(run, doubled.runs)}".rstrip() for run in doubled.runs]
    if not differing_names(doubled.runs):
        keys = ", ".join(run.key[:12] for run in doubled.runs)
        folders = [run.tags["odkd.run_folder"] for run in doubled.runs if "odkd.run_folder" in run.tags]
        where = f" in {' and '.join(folders)}" if folders else " in their run folders"
        lines.append(
            f"  They differ in nothing that MLflow stores except their run keys ({keys}): "
            f"compare config.yaml{where}, and the files it names."
        )
    return lines


def mixed_lines(mixed: Mixed, advice: Advice) -> list[str]:
    """Return some runs of each content, newest first, and the commands that repeat those unlike the newest."""
    contents: dict[str, list[str]] = {}
    for place, job, run in mixed.runs:
        content = run.tags[mixed.tag]
        contents.setdefault(content, []).append(f"{_run_words(run)}  {place}, seed {job.seed}: {_short(content)}")
    lines = [f"{advice.program}: compared runs differ in {mixed.tag}:"]
    for found in contents.values():
        lines += found[: MAX_LINES // 2] + (
            [f"  ... and {more} more"] if (more := len(found) - MAX_LINES // 2) > 0 else []
        )
    return [
        *lines,
        "To repeat those that differ from the newest:",
        *(f"  {c}" for c in grouped_commands(mixed.outdated)),
    ]


def _run_words(run: StoredRun) -> str:
    started = time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started / 1000))
    return f"  {run.run_id}  {run.name}  {started}"


def differences(run: StoredRun, runs: Sequence[StoredRun]) -> str:
    """Return the tags and params of a run that differ between the doubled runs: commit, dataset, own code, device."""
    known = _known(run)
    settings = {name for other in runs for name in other.params}
    absent = {True: "default", False: "not known"}
    names = differing_names(runs)
    return ", ".join(f"{name} {_short(known.get(name, absent[name in settings]))}" for name in names)


def differing_names(runs: Sequence[StoredRun]) -> list[str]:
    """Return the tags and params that differ between runs, except those that always do; "" counts as missing."""
    found = [_known(run) for run in runs]
    names = dict.fromkeys(name for known in found for name in known)
    return [name for name in names if len({known.get(name) for known in found}) > 1]


def _known(run: StoredRun) -> Mapping[str, str]:
    tags = {
        name: value
        for name, value in run.tags.items()
        if value and name not in UNTOLD and not name.startswith(("mlflow.", "odkd.synced_"))
    }
    return tags | {name: value for name, value in run.params.items() if not is_in(name, WHERE_AND_HOW)}


def _short(value: str) -> str:
    """Shorten digests to 12 characters, and any other text to one line of MAX_CHARACTERS."""
    text = re.sub(r"\b([0-9a-f]{12})[0-9a-f]{20,}\b", r"\1", " ".join(value.split()))
    return text if len(text) <= MAX_CHARACTERS else f"{text[:MAX_CHARACTERS]}..."
