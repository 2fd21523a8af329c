"""Console script `odkd-sync`: send run folders to their trackers: MLflow, and those that they note besides."""

from __future__ import annotations

import argparse
import logging
import re
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

from filelock import Timeout

from odkd.common.arguments import Arguments, add_version
from odkd.common.console import log_to_console, say
from odkd.common.ending import one_line
from odkd.common.names import counted
from odkd.common.optional import how_to_install, is_installed
from odkd.common.progress import tracked
from odkd.common.temporary import remove_left_behind
from odkd.runs import tracker as notes
from odkd.runs.mlflow_client import without_password
from odkd.runs.mlflow_place import asked_uri, check_uri, experiment_or_default, known_places
from odkd.runs.mlflow_sync import sync
from odkd.runs.reaching import is_unreachable
from odkd.runs.records import read_mlflow_note
from odkd.runs.sync import advice_of, brief, mark_if_killed
from odkd.runs.trackers.mlflow import advice


def main() -> None:
    """Send each run folder and print the result, including runs whose process was killed; exit with 1 if one failed."""
    args = _parser().parse_args()
    sys.path.append(str(Path.cwd()))  # where a tracker of the user's own may lie
    with one_line("odkd-sync"):
        code = _send_all(args)
    raise SystemExit(code)


def _send_all(args: argparse.Namespace) -> int:
    """Send what was named; return the exit code."""
    default = asked_uri("--uri", None)
    args.uri = args.uri and asked_uri("--uri", args.uri)
    given = args.folder or [Path("outputs")]
    folders = [run for folder in given for run in _runs_of(folder)]
    if not folders:
        places = ", ".join(map(str, given))
        say(f"no runs or sweeps under {places}; name run folders, or go to where odkd was run", file=sys.stderr)
        return 0
    sending = _Sending(args, default)
    log_to_console(logging.WARNING)
    for folder, outputs in tracked(folders, "sent", "folders"):
        sending.send(folder, outputs)
    for text in sorted(sending.advice):
        say(text)
    return 1 if sending.num_failed else 0


class _Sending:
    """One call of the command: what it was given, which places did not answer, how many folders were not sent."""

    def __init__(self, args: argparse.Namespace, default: str | None) -> None:
        self.args, self.default = args, default
        self.unreachable: set[str] = set()
        self.advice: set[str] = set()
        self.num_failed = 0

    def send(self, folder: Path, outputs: Path) -> None:
        """Send a folder to all its trackers, and print how that went."""
        try:
            remove_left_behind(folder)
            others = notes.read_notes(folder)
            to_mlflow = bool(self.args.uri) or notes.goes_to_mlflow(folder)
        except (ValueError, OSError) as error:
            self._failed(folder, str(error))
            return
        if to_mlflow:
            self._to_mlflow(folder, outputs)
        for name, own in others.items():
            self._to_other(folder, outputs, name, own.get("settings"))

    def _to_mlflow(self, folder: Path, outputs: Path) -> None:
        if not is_installed("mlflow"):
            say(f"odkd-sync: MLflow is not installed: {how_to_install('mlflow')}", file=sys.stderr)
            raise SystemExit(2)
        try:
            uri, experiment = _destination(folder, outputs, self.args.uri, self.args.experiment, self.default)
            check_known(uri, outputs, self.default, self.args.uri)
        except (ValueError, OSError) as error:
            self._failed(folder, str(error))
            return
        where = without_password(uri)
        self._try(
            folder,
            f"MLflow at {where}",
            lambda: sync(folder, uri=uri, experiment=experiment, artifacts=True),
            shown=where,
            advice=lambda error: advice(uri, error),
        )

    def _to_other(self, folder: Path, outputs: Path, name: str, settings: object) -> None:
        from odkd.config.parts_tracking import build  # with torch

        try:
            if not isinstance(settings, dict):
                raise ValueError(f"{folder / notes.NOTES} is damaged: {name} has no settings; delete it")
            notes.check_known(folder, outputs, name, settings)
            tracker = build(name, settings, outputs, self.args.allow)
        except (ValueError, OSError) as error:
            own = re.sub(r"add 'allow_targets=\[(.*?)\]' to the command", r"add --allow \1", str(error))
            self._failed(folder, own)
            return
        self._try(
            folder,
            tracker.place,
            lambda: tracker.sync(folder, is_last=True, sent={}),
            shown=tracker.place,
            advice=lambda error: advice_of(tracker, folder, error),
        )

    def _try(
        self,
        folder: Path,
        place: str,
        job: Callable[[], int],
        *,
        shown: str,
        advice: Callable[[BaseException], str],
    ) -> None:
        """Do one pass, and print how it went; a place out of reach is not asked again, one that refuses a run is."""
        try:
            if place in self.unreachable:
                raise ConnectionError("not tried again")
            mark_if_killed(folder)
            num_sent = job()
            say(f"{folder}: {counted(num_sent, 'iteration')} sent to {shown}")
        except ValueError as error:
            self._failed(folder, str(error))
        except Timeout:
            self._failed(folder, "another process is sending it")
        except Exception as error:
            self._failed(folder, f"{place}: {brief(error)}")
            if place not in self.unreachable and is_unreachable(error, folder):
                self.unreachable.add(place)
                self.advice |= {advice(error)} - {""}

    def _failed(self, folder: Path, reason: str) -> None:
        say(f"{folder}: not sent: {reason}")
        self.num_failed += 1


def _parser() -> Arguments:
    parser = Arguments(
        prog="odkd-sync",
        description="Send the trackers of each run folder what they lack: MLflow, and others that it notes.",
    )
    add_version(parser)
    parser.add_argument(
        "folder", type=Path, nargs="*", help="of a run, a sweep, or all outputs (default: outputs, with all in it)"
    )
    parser.add_argument("--uri", help="MLflow's tracking URI (default: that of the run, else MLFLOW_TRACKING_URI)")
    parser.add_argument("--experiment", help="MLflow's experiment (default: that of the run)")
    parser.add_argument(
        "--allow", action="append", default=[], metavar="PACKAGE", help="a package of your own whose tracker may run"
    )
    return parser


def _runs_of(folder: Path) -> list[tuple[Path, Path]]:
    """Return (run folder, outputs folder) of all runs and sweeps in an outputs folder, parents first.

    Any other folder is returned as a run folder.
    """
    is_outputs = (folder / "runs").is_dir() or (folder / "sweeps").is_dir() or folder == Path("outputs")
    if (folder / "run.json").is_file() or not is_outputs:
        return [(folder, Path("outputs"))]
    patterns = ("sweeps/*", "runs/*", "sweeps/*/failed/*")
    return [(path.parent, folder) for pattern in patterns for path in sorted(folder.glob(f"{pattern}/run.json"))]


def _destination(
    folder: Path, outputs: Path, uri: str | None, experiment: str | None, default: str | None
) -> tuple[str, str]:
    """Return the tracking URI and the experiment: as given, else as stored in the run, else those of a new run."""
    stored = read_mlflow_note(folder)
    new_uri = default or own_database(outputs)
    new_experiment = experiment_or_default(None)
    return uri or stored.get("tracking_uri", new_uri), experiment or stored.get("experiment", new_experiment)


def own_database(outputs: Path) -> str:
    """Return the address of the SQLite file to which runs of an outputs folder go by default."""
    return f"sqlite:///{(outputs / 'mlflow.db').absolute()}"


def check_known(uri: str, outputs: Path, *named: str | None) -> None:
    """Check that a run's address is one to which the user's own runs go: a folder may come from anywhere.

    Args:
        uri: where the run says that it belongs.
        outputs: the user's folder.
        named: addresses that the user has given.

    Raises:
        ValueError: it is another one.
    """
    given = [place for place in (*named, own_database(outputs)) if place]
    if uri in given:
        return
    check_uri("its note", uri)
    address = without_password(uri)
    known = known_places(outputs) | {without_password(place) for place in given}
    if uri != address or uri not in known:  # notes have no user: with an @, libraries differ on the host
        raise ValueError(
            f"it notes MLflow at {address}, where no run of {outputs} has gone; to send it there: "
            f"--uri {shlex.quote(address)}"
        )


if __name__ == "__main__":
    main()
