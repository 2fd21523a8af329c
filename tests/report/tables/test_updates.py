"""The number of updates of a run, from what it stores, against the loop that made them."""

from collections.abc import Callable
from pathlib import Path

import pytest

from odkd.report.tables.updates import count_updates
from odkd.runs.results import read_run
from odkd.training.learn import Learner


def counted(folder: Path, loss: str) -> int | None:
    run = read_run(folder)
    return count_updates(
        run.params,
        lambda name: {line["iteration"]: line["metrics"][name] for line in run.metrics if name in line["metrics"]},
        loss,
    )


@pytest.mark.parametrize(
    ("overrides", "losses"),
    [
        (["replay=uniform", "stage.batch_size=3", "stage.epochs=2"], ["learn/loss_total"]),
        pytest.param(
            ["stage.pretrain_positions=5", "stage.pretrain_epochs=3", "stage.batch_size=2"],
            ["learn/loss_total"],
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["stage=mckd", "stage.epochs=2"],
            ["round_1/student_0/loss_total", "round_1/student_1/loss_total", "final/loss_total"],
            marks=pytest.mark.slow,
        ),
    ],
)
def test_updates_are_those_that_the_learner_made(
    odkd: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, overrides: list[str], losses: list[str]
) -> None:
    made = 0
    step = Learner.step

    def count(self: Learner, *arguments: object) -> object:
        nonlocal made
        made += 1
        return step(self, *arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(Learner, "step", count)
    folder = odkd(*overrides)
    found = [counted(folder, loss) for loss in losses]
    assert all(found)
    assert sum(number or 0 for number in found) == made
    assert counted(folder, "teacher/loss_total") is None


def test_updates_of_pairs_are_not_guessed() -> None:
    assert count_updates({"stage.order": "paired_apart"}, lambda _: {0: 1.0}, "learn/loss_total") is None
