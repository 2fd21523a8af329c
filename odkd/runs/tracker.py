"""What a tracker is: a place outside that holds a copy of run folders, such as MLflow; and what a run notes of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from odkd.common.files import write_json
from odkd.common.reading import shown
from odkd.runs.records import read_if_there, read_mlflow_note

NOTES = "trackers.json"  # in the folder of a run: tracker -> its settings and how to look at it
PLACES = "tracker_places.jsonl"  # in the folder of outputs: one tracker's settings a line
NOTE = dict[str, dict[str, Any]]


class Tracker(Protocol):
    """A copy of run folders somewhere else. One object follows one run, pass after pass, on a thread of its own.

    A pass may fail, or be killed, at any place, and another process may repeat it: a tracker writes so that nothing is
    there twice. The run folder holds the truth; `odkd.runs.results.read_run` reads it.

    A tracker may also have `dashboard`, the command or address that shows its runs, and `advice`, what to do about one
    that was not reached; both are texts, or `advice` is a function of the error, None for no answer, that returns one.
    """

    place: str
    """Where the copy is, for messages: "MLflow at http://lab:5000"."""

    def sync(self, folder: Path, *, is_last: bool, sent: Mapping[str, int]) -> int:
        """Bring the copy up to date, and return the number of iterations sent.

        Args:
            folder: of a run; or of a sweep, which a tracker may ignore.
            is_last: the last pass of this process: send the end too, if the run has ended.
            sent: bytes at the start of files of lines that earlier passes of this object have sent, for `read_run`.

        Raises:
            Exception: it cannot be reached; the run goes on, and the next pass sends what is missing.
        """
        ...

    def is_complete(self, folder: Path) -> bool:
        """Return True if the copy has all of a run that has ended, as far as the folder knows; nothing is asked."""
        ...

    def forget(self, folder: Path) -> None:
        """Delete the copy of a folder that stands for a failure; do nothing if there is none."""
        ...


def read_notes(folder: Path) -> NOTE:
    """Return trackers.json, the trackers besides MLflow that follow a run; empty if it is missing."""
    advice = "delete it; the next run of the same command writes it again"
    return read_if_there(folder, NOTES, dict[str, dict[str, Any]], advice)


def note(folder: Path, outputs: Path, name: str, settings: Mapping[str, Any], tracker: Tracker) -> None:
    """Note in a run's folder, and beside the runs, where it is copied to: `odkd-sync` sends it to no other place."""
    known = read_notes(folder)
    own = {"settings": dict(settings), "dashboard": getattr(tracker, "dashboard", "")}
    if known.get(name) != own:
        write_json(folder / NOTES, known | {name: own})
    if not is_known(outputs, settings):
        outputs.mkdir(parents=True, exist_ok=True)
        with (outputs / PLACES).open("a") as file:
            file.write(_line(settings))


def is_known(outputs: Path, settings: Mapping[str, Any]) -> bool:
    """True if a run of an outputs folder has been copied by a tracker with these settings."""
    path = outputs / PLACES
    return path.is_file() and _line(settings) in path.read_text(errors="replace").splitlines(keepends=True)


def check_known(folder: Path, outputs: Path, name: str, settings: Mapping[str, Any]) -> None:
    """Check that a tracker which a folder notes is one of the user's own runs: a folder may come from anywhere.

    Raises:
        ValueError: it is another one.
    """
    if not is_known(outputs, settings):
        raise ValueError(
            f"it notes {name}, with settings that no run of {outputs} has had; remove {shown(folder / NOTES)}, "
            "or run odkd there with that tracker once"
        )


def shows(folder: Path) -> dict[str, str]:
    """Return how to look at the copies of a run, by tracker; MLflow is not among them."""
    return {name: text for name, own in read_notes(folder).items() if isinstance(text := own.get("dashboard"), str)}


def goes_to_mlflow(folder: Path) -> bool:
    """True if a folder notes MLflow, or no tracker at all."""
    return bool(read_mlflow_note(folder)) or not read_notes(folder)


def _line(settings: Mapping[str, Any]) -> str:
    return json.dumps(settings, sort_keys=True) + "\n"
