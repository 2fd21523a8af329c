"""Partial updates in runs: their keys, their numbers, resuming, and where they are refused."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from run_keys import run_key
from safetensors.torch import load_file

from odkd.report.summary import summary_table

Odkd = Callable[..., Path]
CHOICES = ("gradient_guided", "first", "last", "both_ends", "random")
FAST = "optimizer.lr=1e-3"


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line)["metrics"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def sent_apart(metrics: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in metrics.items() if not name.startswith(("update/", "cost/bytes_down"))}


def test_a_run_that_changes_all_weights_has_the_key_that_it_had(cache: Path) -> None:
    assert run_key(cache) == run_key(cache, "updates=all") == run_key(cache, "updates.sent=null")
    others = (("updates=random", "updates.share=0.2"), ("updates.sent=float32",))
    assert len({run_key(cache), *(run_key(cache, *words) for words in others)}) == 3


class Killed(BaseException):
    """What ends a run in the middle."""


@pytest.mark.parametrize(
    "words",
    [
        ("updates=gradient_guided", "student.ema=0.9", "stage.pretrain_positions=4", "stage.pretrain_epochs=1"),
        pytest.param(
            ("updates=gradient_guided", "updates.guide=last_step", "regularizer=rwalk"), marks=pytest.mark.slow
        ),
        pytest.param(("updates=random", "precision=bfloat16", "replay=mir"), marks=pytest.mark.slow),
    ],
)
def test_a_killed_run_goes_on_with_its_selection_and_its_camera(
    odkd: Odkd, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    from odkd.training.iteration import Journal

    words = (*words, FAST, "run.checkpoint_overhead=1e9", "dataset.prepare.num_periods=2")
    whole = odkd(*words, "run.name=whole")
    report, seen = Journal.report, []

    def ends(journal: Journal) -> None:
        report(journal)
        seen.append(1)
        if len(seen) == 2:
            raise Killed

    monkeypatch.setattr(Journal, "report", ends)
    with pytest.raises(Killed):
        odkd(*words, "run.name=killed")
    run = odkd(*words, "run.name=killed")
    assert (run / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    one, other = (load_file(folder / "student.safetensors") for folder in (whole, run))
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    sizes = [metrics["update/bytes"] for metrics in lines_of(run)]
    assert json.loads((run / "summary.json").read_text())["total/update_bytes"] == sum(sizes) > 0
    assert f"{len(sizes)} iterations, {sum(sizes):.0f} bytes sent to the camera" in summary_table(run)


@pytest.mark.slow
def test_counting_bytes_changes_no_number_and_rounding_changes_few(odkd: Odkd) -> None:
    plain, exact, rounded = (odkd(FAST, *more) for more in ((), ("updates.sent=float32",), ("updates.sent=float16",)))
    assert [sent_apart(metrics) for metrics in lines_of(exact)] == [sent_apart(metrics) for metrics in lines_of(plain)]
    found, near = [sent_apart(metrics) for metrics in lines_of(plain)], lines_of(rounded)
    assert [sent_apart(metrics) for metrics in near] != found
    for one, other in zip(found, near, strict=True):
        assert one.get("learn/loss_total") == other.get("learn/loss_total")  # the server goes on in float32
        assert other["test/accuracy"] == pytest.approx(one["test/accuracy"], abs=0.02)
    sizes = [[metrics["update/bytes"] for metrics in lines_of(run)[1:]] for run in (exact, rounded)]
    assert all(0.4 * large < small < 0.6 * large for large, small in zip(*sizes, strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_sends_its_share(odkd: Odkd, choice: str) -> None:
    run = odkd(f"updates={choice}", "updates.share=0.05", FAST, "dataset.prepare.num_periods=1")
    found = [(metrics["update/changed_share"], metrics["update/bytes"]) for metrics in lines_of(run)]
    entries = sum(value.numel() for value in load_file(run / "student.safetensors").values())
    assert found[0] == (0, 0)
    for share, size in found[1:]:
        assert 0.03 < share <= 0.0501
        assert share * entries < size < 2 * share * entries + entries / 8 + 100


def test_trainings_over_epochs_and_impossible_shares_are_refused(odkd: Odkd) -> None:
    with pytest.raises(ValueError, match=r"sent to a camera after each; stage=mckd has none: set updates=all"):
        odkd("stage=mckd", "updates=gradient_guided")
    with pytest.raises(ValueError, match=r"sent=float16 are for a student .* stage=distill has none"):
        odkd("stage=distill", "updates.sent=float16")
    with pytest.raises(ValueError, match=r"updates\.share=0; expected a number above 0 and of at most 1"):
        odkd("updates=random", "updates.share=0")
    with pytest.raises(ValueError, match=r"updates\.sent=float61; expected one of float16, float32, null"):
        odkd("updates.sent=float61")
