"""What a run shows in a tracker besides its series: name and final scores."""

from __future__ import annotations

from pathlib import Path

from odkd.common.files import json_digest
from odkd.common.metric_names import SUMMARY
from odkd.common.names import is_plain
from odkd.common.reading import read_text
from odkd.runs.mlflow_sending import finite
from odkd.runs.results import Run


def name_of(folder: Path, run: Run) -> str:
    """Return a name for a run among all: that of its folder, or of the job whose failure the folder stands for."""
    name = folder.absolute().name if folder.absolute().parent.name == "runs" else run.name
    return name if is_plain(name) else identity_of(run)  # somebody else's may be any text


def identity_of(run: Run) -> str:
    """Return a digest that this run has, and no other: also not the same run when it is started over."""
    return json_digest([run.key, run.created.isoformat()])[:16]


def final_scores(run: Run) -> dict[str, float]:
    """Return the final scores that are numbers, under `summary/`; empty before the end."""
    return finite({f"{SUMMARY}{name}": value for name, value in run.summary.items()})


def state_of(folder: Path) -> str:
    """Return a digest of what trackers show of a run: it changes when a run goes on, or ends in another way."""
    names = ("metrics.jsonl", "timing.jsonl", "system.jsonl", "summary.json", "stills/stills.json")
    sizes = [[name, path.stat().st_size] for name in names if (path := folder / name).is_file()]
    return json_digest([read_text(folder / "run.json"), sizes])
