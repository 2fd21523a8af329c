"""The profile of a run's student (profile.json): what `odkd-profile` has measured, and its numbers for tables.

profile.json is not part of a run's results: it belongs to the machine that it names. It carries its digest.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from odkd.common.files import sealed, unseal, write_atomic
from odkd.common.names import number_named
from odkd.common.reading import MOST_RECORD, DamagedFileError, check_form, read_bytes, shown

NAME = "profile.json"
PREFIX = "profile/"  # of the numbers, as columns of a table
TIMES = {"count": int, "mean": float, "p50": float, "p90": float, "p99": float}
TIMING = {"what": str, "runtime": str, "threads": int, "images": int, "seconds": TIMES}
FORM = {
    "student": str,
    "run?": str | None,
    "machine": dict[str, str],
    "busy_cores": float,  # that other programs used
    "parameters": dict[str, int],
    "flops": dict[str, int],
    "memory": dict[str, int],
    "timings": list[dict[str, Any]],  # each a TIMING
    "real_time": dict[str, Any],
}


@dataclass(frozen=True)
class Number:
    """A number of a profile as a column of a table shows it.

    Args:
        what: it is, for a list.
        factor: between the number and the column's unit.
        unit: of the column.
        digits: after the decimal point.
        is_measured: it depends on the machine.
        read: finds it in a profile; None where it was not measured.
    """

    what: str
    factor: float
    unit: str
    digits: int
    is_measured: bool
    read: Callable[[Mapping[str, Any]], float | None]


def timing(profile: Mapping[str, Any], what: str, runtime: str = "torch") -> Mapping[str, Any] | None:
    """Return the timing of `what` (evaluate, learn) with the most threads; None if there is none."""
    found = [row for row in profile["timings"] if (row["what"], row["runtime"]) == (what, runtime)]
    return max(found, key=lambda row: row["threads"], default=None)


def _seconds(what: str, point: str, runtime: str = "torch") -> Callable[[Mapping[str, Any]], float | None]:
    def read(profile: Mapping[str, Any]) -> float | None:
        row = timing(profile, what, runtime)
        return None if row is None else float(row["seconds"][point])

    return read


NUMBERS = {
    "parameters": Number("parameters", 1e-6, "M", 2, False, lambda p: p["parameters"]["all"]),
    "learned_parameters": Number("parameters that learn", 1e-6, "M", 2, False, lambda p: p["parameters"]["learned"]),
    "flops": Number("FLOPs to evaluate an image", 1e-9, "G", 2, False, lambda p: p["flops"]["evaluate"]),
    "learn_flops": Number("FLOPs to learn from an image", 1e-9, "G", 2, False, lambda p: p["flops"]["learn"]),
    "evaluate_seconds": Number("to evaluate an image, median", 1e3, "ms", 1, True, _seconds("evaluate", "p50")),
    "evaluate_seconds_p90": Number("to evaluate an image, 90%", 1e3, "ms", 1, True, _seconds("evaluate", "p90")),
    "evaluate_seconds_p99": Number("to evaluate an image, 99%", 1e3, "ms", 1, True, _seconds("evaluate", "p99")),
    "onnx_seconds": Number("by ONNX, median", 1e3, "ms", 1, True, _seconds("evaluate", "p50", "onnx")),
    "update_seconds": Number("for an update, median", 1e3, "ms", 1, True, _seconds("learn", "p50")),
    "evaluate_memory": Number("memory to evaluate", 1e-6, "MB", 0, True, lambda p: p["memory"]["evaluate"]),
    "learn_memory": Number("memory to learn", 1e-6, "MB", 0, True, lambda p: p["memory"]["learn"]),
    "frames_per_second": Number(
        "frames a second it keeps up with", 1.0, "1/s", 1, True, lambda p: p["real_time"]["evaluated_per_second"]
    ),
}


def number_of(metric: str) -> Number:
    """Return what a column's metric, such as profile/flops, stands for.

    Raises:
        ValueError: profiles have no such number.
    """
    return number_named(metric, PREFIX, NUMBERS, "a profile")


def write_profile(folder: Path, profile: Mapping[str, Any]) -> Path:
    """Write profile.json into a run's folder and return its path; it is complete or as it was.

    Raises:
        OSError: it cannot be written.
    """
    path = folder / NAME
    write_atomic(path, sealed(profile))
    return path


def read_profile(folder: Path, key: str | None = None) -> dict[str, Any] | None:
    """Return the profile in a run's folder; None if there is none.

    Args:
        folder: of the run.
        key: of the run, which the profile must name; None = any.

    Raises:
        DamagedFileError: it was changed, it has another form, or it is that of another run.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    advice = f"make it again: odkd-profile {shown(folder)}"
    try:
        profile: dict[str, Any] = unseal(read_bytes(path, MOST_RECORD))
        check_form(profile, FORM)
        for row in profile["timings"]:
            check_form(row, TIMING, "a timing")
    except ValueError as error:
        raise DamagedFileError(f"{shown(path)} is damaged: {error}; {advice}") from error
    if key is not None and profile.get("run") not in (None, key):
        raise DamagedFileError(f"{shown(path)} is the profile of another run; {advice}")
    return profile
