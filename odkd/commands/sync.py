"""Console script `odkd-sync`: send run folders to MLflow."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from filelock import Timeout

from odkd.common.names import counted
from odkd.common.optional import how_to_install, is_installed
from odkd.common.version import add_version
from odkd.runs.mlflow_client import without_password
from odkd.runs.mlflow_place import asked_uri, experiment_or_default, known_places
from odkd.runs.mlflow_sync import sync
from odkd.runs.records import read_mlflow_note
from odkd.runs.sync import advice, brief, mark_if_killed


def main() -> None:
    """Send each run folder and print the result, including runs whose process was killed; exit with 1 if one failed."""
    args = _parser().parse_args()
    if not is_installed("mlflow"):
        print(f"odkd-sync: MLflow is not installed: {how_to_install('mlflow')}", file=sys.stderr)
        raise SystemExit(2)
    try:
        default = asked_uri("--uri", None)
        args.uri = args.uri and asked_uri("--uri", args.uri)
    except ValueError as error:
        print(f"odkd-sync: {error}", file=sys.stderr)
        raise SystemExit(2) from None
    given = args.folder or [Path("outputs")]
    folders = [run for folder in given for run in _runs_of(folder)]
    if not folders:
        places = ", ".join(map(str, given))
        print(f"no runs or sweeps under {places}; name run folders, or go to where odkd was run", file=sys.stderr)
        raise SystemExit(0)
    unreachable: set[str] = set()
    num_failed = 0
    for folder, outputs in folders:
        try:
            uri, experiment = _destination(folder, outputs, args.uri, args.experiment, default)
        except (ValueError, OSError) as error:
            print(f"{folder}: not sent: {error}")
            num_failed += 1
            continue
        where = without_password(uri)
        try:
            check_known(uri, outputs, default, args.uri)
            if uri in unreachable:
                raise ConnectionError("not tried again")
            mark_if_killed(folder)
            num_sent = sync(folder, uri=uri, experiment=experiment, artifacts=True)
            print(f"{folder}: {counted(num_sent, 'iteration')} sent to {where}")
        except ValueError as error:
            print(f"{folder}: not sent: {error}")
            num_failed += 1
        except Timeout:
            print(f"{folder}: not sent: another process is sending it")
            num_failed += 1
        except Exception as error:
            print(f"{folder}: not sent: MLflow at {where}: {brief(error)}")
            unreachable.add(uri)
            num_failed += 1
    for uri in sorted(unreachable):
        print(advice(uri))
    raise SystemExit(1 if num_failed else 0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="odkd-sync",
        description="Send to MLflow what is missing there from each run folder.",
    )
    add_version(parser)
    parser.add_argument(
        "folder", type=Path, nargs="*", help="of a run, a sweep, or all outputs (default: outputs, with all in it)"
    )
    parser.add_argument("--uri", help="MLflow's tracking URI (default: that of the run, else MLFLOW_TRACKING_URI)")
    parser.add_argument("--experiment", help="MLflow's experiment (default: that of the run)")
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
    address, given = without_password(uri), [place for place in (*named, own_database(outputs)) if place]
    if address not in known_places(outputs) | {without_password(place) for place in given}:
        raise ValueError(
            f"it notes MLflow at {address}, where no run of {outputs} has gone; to send it there: --uri {address}"
        )


if __name__ == "__main__":
    main()
