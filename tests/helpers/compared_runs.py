"""Run folders that differ in a few settings: for tests of comparisons, sweeps and searches."""

import json
from pathlib import Path

import yaml
from run_folders import make_run

from odkd.report.comparison import Entry
from odkd.report.sweep_pictures import student_score

SCORE = student_score("total/miou")


def add_run(outputs: Path, name: str, overrides: list[str], config: dict[str, object], miou: float | None) -> Path:
    """Write a finished run of two classes with these settings and this score; without a score, a failed run."""
    folder = make_run(outputs / "runs" / name, num_iterations=4, classes=["road", "sky"], groundtruth=False)
    (folder / "overrides.txt").write_text("".join(f"{line}\n" for line in overrides))
    (folder / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False))
    record = json.loads((folder / "run.json").read_text()) | {"name": name}
    if miou is None:
        (folder / "summary.json").unlink()
        record["status"] = "failed"
    else:
        (folder / "summary.json").write_text(json.dumps({"total/miou": miou, "num_iterations": 4}))
    (folder / "run.json").write_text(json.dumps(record))
    return folder


def settings(replay: str, learn: int, seed: int, **more: object) -> dict[str, object]:
    capacity = {"capacity": learn} if replay == "fifo" else {"capacity": 250, "warmup": 3}
    target = {"_target_": f"odkd.training.replay.{replay}.{replay.title()}"}
    return {
        "seed": seed,
        "window": {"learn": learn},
        "replay": target | capacity,
        "paths": {"outputs": f"x{seed}"},
    } | more


def entries(outputs: Path) -> list[Entry]:
    return [Entry.read(folder) for folder in sorted((outputs / "runs").iterdir())]
