"""Console script odkd-sync: send run folders to MLflow."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from filelock import Timeout

from odkd.runs.client import without_password
from odkd.runs.sync import advice, brief, mark_if_killed
from odkd.runs.tracking import sync


def main() -> None:
    """Console script `odkd-sync`: send run folders to MLflow, also those whose process is gone."""
    parser = argparse.ArgumentParser(
        prog="odkd-sync",
        description="Send to MLflow what it does not have yet of each run folder.",
    )
    parser.add_argument(
        "folder", type=Path, nargs="*", help="of a run, a sweep, or all outputs (default: outputs, with all in it)"
    )
    parser.add_argument("--uri", help="MLflow's tracking URI (default: where the run was to be logged)")
    parser.add_argument("--experiment", help="MLflow's experiment (default: where the run was to be logged)")
    args = parser.parse_args()
    given = args.folder or [Path("outputs")]
    folders = [place for folder in given for place in _runs_of(folder)]
    if not folders:
        where = ", ".join(map(str, given))
        parser.exit(0, f"no runs or sweeps under {where}; name run folders, or go to where odkd was run\n")
    unreached: set[str] = set()
    num_failed = 0
    for folder, outputs in folders:
        uri, experiment = _destination(folder, outputs, args.uri, args.experiment)
        where = without_password(uri)
        try:
            if uri in unreached:
                raise ConnectionError("not tried again")
            mark_if_killed(folder)
            num_sent = sync(folder, uri=uri, experiment=experiment, artifacts=True)
            print(f"{folder}: {num_sent} iterations sent to {where}")
        except ValueError as error:
            print(f"{folder}: not sent: {error}")
            num_failed += 1
        except Timeout:
            print(f"{folder}: not sent: another process is sending it")
            num_failed += 1
        except Exception as error:
            print(f"{folder}: not sent: MLflow at {where}: {brief(error)}")
            unreached.add(uri)
            num_failed += 1
    for uri in sorted(unreached):
        print(advice(uri))
    raise SystemExit(1 if num_failed else 0)


def _runs_of(folder: Path) -> list[tuple[Path, Path]]:
    """(run folder, outputs) of all runs and sweeps in an outputs folder, parents first; any other is a run's own."""
    is_outputs = (folder / "runs").is_dir() or (folder / "sweeps").is_dir() or folder == Path("outputs")
    if (folder / "run.json").is_file() or not is_outputs:
        return [(folder, Path("outputs"))]
    patterns = ("sweeps/*", "runs/*", "sweeps/*/failed/*")
    return [(path.parent, folder) for pattern in patterns for path in sorted(folder.glob(f"{pattern}/run.json"))]


def _destination(folder: Path, outputs: Path, uri: str | None, experiment: str | None) -> tuple[str, str]:
    """What is asked for, else what the run has noted, else the default of conf/tracking."""
    path = folder / "mlflow.json"
    noted = json.loads(path.read_text()) if path.is_file() else {}
    default = f"sqlite:///{(outputs / 'mlflow.db').absolute()}"
    return uri or noted.get("tracking_uri", default), experiment or noted.get("experiment", "odkd")


if __name__ == "__main__":
    main()
