"""Runs under a simulated clock: those without one where nothing takes time, else as arithmetic says."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from samples import one_of

from odkd.config.known import CONF

Odkd = Callable[..., Path]
NO_TIME = ["timing=simulated", *(f"timing.{part}_seconds=0" for part in ("teacher", "train", "student"))]
REPLAYS = sorted(path.stem for path in (CONF / "replay").glob("*.yaml"))
CASES = [(replay, regularizer) for regularizer in ("ace", "mas") for replay in REPLAYS]


def numbers(run: Path) -> tuple[list[dict[str, object]], dict[str, object]]:
    """The metrics lines and the summary of a run, without what only a clock has."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line["metrics"] = {name: value for name, value in line["metrics"].items() if not name.startswith("clock/")}
    summary = json.loads((run / "summary.json").read_text())
    return lines, {name: value for name, value in summary.items() if not name.startswith("clock/")}


@pytest.mark.parametrize(("replay", "regularizer"), one_of(9, CASES))
def test_durations_of_0_change_no_bit(odkd: Odkd, replay: str, regularizer: str) -> None:
    settings = [f"replay={replay}", f"regularizer={regularizer}", "dataset.prepare.num_periods=2", "window.test=6"]
    settings += ["regularizer.warmup_passes=1"] if regularizer == "mas" else []
    settings += ["run.overlay_video=false", "evaluation.batch_size=2"]
    plain, clocked = odkd(*settings), odkd(*settings, *NO_TIME)
    assert plain != clocked
    (plain_lines, plain_summary), (lines, summary) = numbers(plain), numbers(clocked)
    for expected, line in zip(plain_lines, lines, strict=True):
        found, wanted = line["metrics"], expected["metrics"]
        assert {k: (found.get(k), v) for k, v in wanted.items() if found.get(k) != v} == {}, line["iteration"]
        assert line == expected
    assert summary == plain_summary
    assert (clocked / "student.safetensors").read_bytes()[-4096:] == (plain / "student.safetensors").read_bytes()[
        -4096:
    ]
