"""Numbers of `odkd-profile` as columns of tables: FLOPs, parameters, memory and times of the runs' students.

They are read from profile.json in the run's folder, which is on this machine; MLflow does not have them.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from odkd.common.names import counted
from odkd.report.tables.spec import Table
from odkd.runs.mlflow_store import StoredRun
from odkd.runs.profiles import PREFIX, number_of, read_profile

MOST_NAMED = 60  # folders in the command that is advised


def number_in_profile(run: StoredRun, metric: str) -> float | None:
    """Return a number of the profile in a run's folder; None if there is no profile, or it was not measured.

    Raises:
        ValueError: the profile is damaged, or a profile has no such number.
    """
    number, profile = number_of(metric), profile_of(run)
    return None if profile is None else number.read(profile)


def profile_of(run: StoredRun) -> Mapping[str, Any] | None:
    """Return the profile in a run's folder, or None."""
    return read_profile(folder_of(run), run.key)


def folder_of(run: StoredRun) -> Path:
    """Return the run's folder; of a run read from folders this is its id."""
    return Path(run.tags.get("odkd.run_folder") or run.run_id)


def uses_profiles(table: Table) -> bool:
    """True if a column of the table is a number of profiles."""
    return any((column.metric or "").startswith(PREFIX) for column in table.columns)


def profile_complaints(table: Table, runs: Iterable[StoredRun], *, allow_missing: bool, newest: bool) -> list[str]:
    """Return lines about runs without a profile, and about times of different machines; empty if there are none.

    Args:
        table: whose columns are filled.
        runs: of the table.
        allow_missing: cells may be empty.
        newest: runs may be compared whatever they were made with.
    """
    if not uses_profiles(table):
        return []
    lines, found = list[str](), {folder_of(run): profile_of(run) for run in runs}
    lacking = sorted(str(folder) for folder, profile in found.items() if profile is None)
    if lacking and not allow_missing:
        named = shlex.join(["odkd-profile", *map(_near, lacking[:MOST_NAMED])])
        rest = f" and {len(lacking) - MOST_NAMED} more" if len(lacking) > MOST_NAMED else ""
        lines.append(f"{table.name}: {counted(len(lacking), 'run')} of its columns {PREFIX}... have no profile here:")
        lines.append(f"  {named}{rest}")
    measured = [name for name in (column.metric or "" for column in table.columns) if name.startswith(PREFIX)]
    machines = machines_of(filter(None, found.values()))
    if len(machines) > 1 and any(number_of(name).is_measured for name in measured) and not newest:
        lines.append(f"{table.name}: its profiles were measured on {len(machines)} machines: {'; '.join(machines)}")
        lines.append("  profile all of its runs on one, or accept these with --newest")
    return lines


def profile_remarks(table: Table, runs: Iterable[StoredRun]) -> list[str]:
    """Return a remark below a table: on which machine its times and memory were measured."""
    metrics = [column.metric or "" for column in table.columns]
    if not any(name.startswith(PREFIX) and number_of(name).is_measured for name in metrics):
        return []
    machines = machines_of(filter(None, map(profile_of, runs)))
    return [f"Times and memory by odkd-profile on {'; '.join(machines)}."] if machines else []


def machines_of(profiles: Iterable[Mapping[str, Any]]) -> Sequence[str]:
    """Return each machine once, as text."""
    texts = (f"{profile['machine']['device']}, {profile['machine']['threads']}" for profile in profiles)
    return list(dict.fromkeys(texts))


def _near(folder: str) -> str:
    """Return a path relative to the working folder where it lies below it."""
    path = Path(folder)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else folder
