"""The records in the folders of runs and sweeps, as they are read back: each has its form, or is one message."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Literal

from annotated_types import Ge, Lt

from odkd.common.files import is_own, json_digest, write_json
from odkd.common.reading import (
    MOST_RECORD,
    DamagedFileError,
    brief,
    check_form,
    complete_lines,
    parse_json,
    read_bytes,
    shown,
)

Status = Literal["running", "finished", "failed", "killed", "pruned"]
Scores = dict[str, float | None]
Moment = Annotated[float, Ge(0), Lt(253402300800)]  # seconds since 1970, before the year 10000
Step = Annotated[int, Ge(-(2**53)), Lt(2**53)]  # trackers keep 64 bits
SWEEP_OF_RUN = dict[str, str]  # key and folder
STATUS = {"status": Status}
RUN = {
    **STATUS,
    "key": str,
    "name": str,
    "stage": str,
    "created": str,
    "title?": str | None,
    "updated?": Moment | None,
    "sweep?": SWEEP_OF_RUN | None,
    "params": dict[str, str],
    "tags": dict[str, str],
    "summary?": Scores,
}
JOB = {
    "number": int,
    "status": str,
    "overrides": list[str],
    "run?": str | None,
    "seconds?": float | None,
    "value?": float | None,
    "metric?": str | None,
    "error?": str | None,
}
SWEEP = {
    "key": str,
    "name": str,
    "command": str,
    "overrides": list[str],
    "varying": list[str],
    "status": Status,
    "created": str,
    "seconds": float,
    "metric": str | None,
    "jobs": list[dict[str, Any]],  # each a JOB
    "search?": dict[str, Any] | None,
}
NOTE_OF_JOB = {"status": str, "run?": str | None, "seconds?": float | None, "value?": Any, "error?": str | None}
MLFLOW = {
    "tracking_uri?": str,
    "experiment?": str,
    "experiment_id?": str | None,
    "run_id?": str | None,
    "complete?": str | None,
}
STILL = {"file": str, "caption": str, "step?": Step}
STILLS = {"titles": list[str], "stills": list[dict[str, str | int]]}
COST = {"processes": list[dict[str, Any]], "teacher?": dict[str, Any] | None}
LINE = {"iteration?": Step, "time?": Moment, "metrics?": Scores}
NUMBERED_LINE = {"iteration": Step, "time?": Moment, "metrics": Scores}
SAMPLE = {"sample": Step, "time?": Moment, "metrics": Scores}
RUN_ADVICE = "restore it, or move its folder away"
DIGEST = "sha256"  # the entry of a record that holds the digest of all others
MOST_OF_SWEEP = 2**26  # bytes; a job takes 370 in sweep.json, so 100,000 take 37 MB; run.json of a sweep has less
MOST_VALUES = 2**22  # in a record: each takes up to 250 bytes of memory; 100,000 jobs have 1,500,000


def write_record_of(path: Path, record: Mapping[str, Any]) -> None:
    """Write a record with its digest, so that any changed byte is found when it is read back."""
    plain = json.loads(json.dumps({key: value for key, value in record.items() if key != DIGEST}))  # as it is read back
    write_json(path, plain | {DIGEST: json_digest(plain)})


def without_digest(record: dict[str, Any]) -> dict[str, Any]:
    """Return a record without its digest; one of an earlier odkd has none.

    Raises:
        ValueError: it is the digest of another content.
    """
    plain = {key: value for key, value in record.items() if key != DIGEST}
    if record.get(DIGEST) not in (None, json_digest(plain)):
        raise ValueError("its digest is not that of its content")
    return plain


def read_content(path: Path, most: int) -> bytes:
    """Return the content of a record of at most `most` bytes, before it becomes values, which take more memory.

    Raises:
        DamagedFileError: it has more, or too many values.
        OSError: it is missing, or cannot be read.
    """
    content = read_bytes(path, most)
    if sum(map(content.count, (b",", b"[", b"{"))) > MOST_VALUES:
        raise DamagedFileError(f"{shown(path)} has more than {MOST_VALUES} values, too many for what it should hold")
    return content


def read_form(
    folder: Path, name: str, kind: Any, advice: str = RUN_ADVICE, *, most: int = MOST_RECORD
) -> dict[str, Any]:
    """Return a record of a folder, such as cost.json.

    Raises:
        DamagedFileError: it has another form or more than `most` bytes, or was changed since it was written with its
            digest.
        OSError: it is missing, or cannot be read.
    """
    record = parse_json(read_content(folder / name, most), kind, what=shown(folder / name), advice=advice)
    try:
        return without_digest(record)
    except (ValueError, TypeError, RecursionError) as error:
        raise DamagedFileError(f"{shown(folder / name)} is damaged: {brief(error)}; {advice}") from error


def read_if_there(folder: Path, name: str, kind: Any, advice: str = RUN_ADVICE) -> dict[str, Any]:
    """Return a record of a folder as `read_form` does; empty if it is missing."""
    return read_form(folder, name, kind, advice) if (folder / name).is_file() else {}


def read_sweep(folder: Path) -> dict[str, Any]:
    """Return the record of a sweep, sweep.json.

    Raises:
        ValueError: it cannot be read, or has another form.
    """
    path = folder / "sweep.json"
    try:
        record = read_form(folder, path.name, SWEEP, most=MOST_OF_SWEEP)
        for job in record["jobs"]:
            check_form(job, JOB, f"a job of {shown(path)}")
    except OSError as error:
        raise ValueError(f"{shown(path)} cannot be read ({error}); expected the folder of a sweep") from error
    return record


def read_mlflow_note(folder: Path) -> dict[str, Any]:
    """Return mlflow.json, where a folder was sent; empty if it is missing."""
    return read_if_there(folder, "mlflow.json", MLFLOW, "delete it: the next odkd-sync finds the run in MLflow again")


def stills_in(folder: Path) -> list[tuple[int, str, Path]]:
    """Return step, caption and file of each still of a run's report, in the order of their steps."""
    stills = read_stills_note(folder).get("stills", [])
    return [
        (int(still.get("step", number)), str(still["caption"]), path)
        for number, still in enumerate(stills)
        if is_own(folder, path := still_file(folder, still))
    ]


def still_file(folder: Path, still: Mapping[str, Any]) -> Path:
    """Return the file of a still of a run, which lies in stills/ whatever the note says."""
    return folder / "stills" / Path(str(still["file"])).name


def read_stills_note(folder: Path) -> dict[str, Any]:
    """Return stills/stills.json of a run: the files of its stills, and their captions; empty if it is missing."""
    note = read_if_there(folder / "stills", "stills.json", STILLS, "delete it; odkd-report --stills makes them again")
    for still in note.get("stills", ()):
        check_form(still, STILL, "a still")
    return note


def read_lines(path: Path, skip: int = 0, kind: Any = MappingProxyType(LINE)) -> list[dict[str, Any]]:
    """Return the complete lines of a JSON-lines file, in order, from byte `skip` on.

    A last line without a newline is left out: it is still being written.

    Raises:
        DamagedFileError: a line has another form, or there are too many; nothing after it is read.
    """
    if not path.is_file():
        return []
    return [
        parse_json(line, kind, what=f"line {number} of {shown(path)}", advice=RUN_ADVICE)
        for number, line in enumerate(complete_lines(path, skip), 1)
    ]
