"""What a run shows in a tracker besides its series: name, final scores, stills."""

from __future__ import annotations

from pathlib import Path

from odkd.common.files import is_own, json_digest
from odkd.common.metric_names import SUMMARY
from odkd.common.names import is_plain
from odkd.common.reading import read_text
from odkd.runs.mlflow_sending import finite
from odkd.runs.records import read_stills_note, still_file
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


def stills_of(run: Run) -> list[tuple[int, str, Path]]:
    """Return step, caption and file of each still of the report, in the order of their steps."""
    stills = read_stills_note(run.folder).get("stills", [])
    return [
        (int(still.get("step", number)), str(still["caption"]), path)
        for number, still in enumerate(stills)
        if is_own(run.folder, path := still_file(run.folder, still))
    ]


def state_of(folder: Path) -> str:
    """Return a digest of what trackers show of a run: it changes when a run goes on, or ends in another way."""
    names = ("metrics.jsonl", "timing.jsonl", "system.jsonl", "summary.json", "stills/stills.json")
    sizes = [[name, path.stat().st_size] for name in names if (path := folder / name).is_file()]
    return json_digest([read_text(folder / "run.json"), sizes])
