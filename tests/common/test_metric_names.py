"""Every metric that a run gives is listed, explained in docs/metrics.md, and nothing else is listed."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
from paths import ROOT

from odkd.common.metric_names import METRICS, REFERENCES, SCORES, metric_name, pattern_of

Odkd = Callable[..., Path]
EPOCHS = ("stage.epochs=2", "dataset.stride=5")
COMMANDS = {
    "label": ("stage=label",),
    "online": ("evaluation.segment_frames=2", "dataset.order.by=video", "updates.sent=float16"),
    "supervised": ("stage=supervised", *EPOCHS),
    "mckd": ("stage=mckd", "stage.plain_epochs=2", "stage.reference_metric=true", *EPOCHS),
}


def names_of(run: Path) -> set[str]:
    """Return all names in the files of a run."""
    names = set(json.loads((run / "summary.json").read_text()))
    for file in ("metrics.jsonl", "timing.jsonl"):
        if (run / file).is_file():
            for line in (run / file).read_text().splitlines():
                names |= json.loads(line)["metrics"].keys()
    return names


@pytest.mark.parametrize("stage", COMMANDS)
def test_every_metric_of_a_run_is_listed(odkd: Odkd, stage: str) -> None:
    unlisted = sorted(name for name in names_of(odkd(*COMMANDS[stage])) if pattern_of(name) is None)
    assert unlisted == []


def test_the_page_explains_every_metric_and_no_other() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text()
    listed = {pattern.replace("REFERENCE", "") for pattern in METRICS}
    rows = [line.split("|")[1] for line in page.splitlines() if line.startswith("| `")]
    explained = {name for row in rows for name in re.findall(r"`([^`]+)`", row)}
    assert explained == listed


def test_a_name_says_scope_score_reference_and_part() -> None:
    assert metric_name("test", "miou", "teacher") == "test/miou"
    assert metric_name("domain", "miou", "groundtruth", "night") == "domain/miou_groundtruth/night"
    assert metric_name("round_2/student_1", "accuracy", "previous_round") == "round_2/student_1/accuracy_previous_round"
    assert metric_name("learn", "loss_total") == "learn/loss_total"


@pytest.mark.parametrize("reference", REFERENCES)
@pytest.mark.parametrize("score", SCORES)
def test_names_that_are_built_are_recognized(score: str, reference: str) -> None:
    assert pattern_of(metric_name("final", score, reference)) == "STUDENT/SCOREREFERENCE"
    assert pattern_of(metric_name("final/val", score, reference)) == "STUDENT/val/SCOREREFERENCE"
    assert pattern_of(metric_name("elsewhere", score, reference)) is None


def test_no_name_belongs_to_two_entries() -> None:
    for pattern in METRICS:
        example = pattern.replace("REFERENCE", "_groundtruth").replace("SCORE", "accuracy").replace("CLASS", "car")
        example = example.replace("DOMAIN", "night").replace("NUMBER", "003").replace("LOSS", "total")
        example = example.replace("STUDENT", "round_1/student_0").replace("ROUND", "round_1")
        assert pattern_of(example) == pattern
