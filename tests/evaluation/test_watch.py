"""Metrics over time: worked by hand, compared with slow twins, and of a tiny run."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from extras import need

from odkd.common.ignore import IGNORE
from odkd.evaluation.continual import backward_transfer, forgetting, recovery
from odkd.evaluation.metrics import ignore_borders, steady_pixels
from odkd.training.replay.fifo import Fifo

Odkd = Callable[..., Path]
STILL = ["baseline=frozen", "seed=1"]  # nothing is learned: a window has the same score at any time


def metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line)["metrics"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def summary(run: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((run / "summary.json").read_text())
    return found


# --- arithmetic


def test_recovery_counts_iterations_until_95_percent_of_the_earlier_level() -> None:
    # segment 0 | 1: recovers at once | 2: after two iterations | 3: never, in three iterations
    miou = [0.1, 0.4, 0.38, 0.5, 0.1, 0.3, 0.48, 0.2, 0.1, 0.2]
    segments = [0, 0, 1, 1, 2, 2, 2, 3, 3, 3]
    assert recovery(miou, segments) == ((0 + 2 + 3) / 3, 3, 1)
    assert recovery([0.5, 0.4], [0, 1], share=0.8).num_iterations == 0
    nothing = recovery([0.5, 0.5], [0, 0])
    assert math.isnan(nothing.num_iterations)
    assert nothing.num_changes == 0
    assert recovery([math.nan, 0.5], [0, 1]).num_changes == 0  # there is no level before the change


def test_forgetting_and_transfer_leave_out_undefined_scores() -> None:
    scores = np.array([[0.5, math.nan, 0.0], [0.4, math.nan, 0.0], [0.1, math.nan, 0.9]])
    assert backward_transfer(scores) == pytest.approx(0.1 - 0.5)
    assert forgetting(scores) == pytest.approx(0.5 - 0.1)
    assert math.isnan(backward_transfer(np.array([[0.5]])))


def test_borders_equal_those_of_a_slow_search() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(3, (2, 4, 5), generator=generator).repeat_interleave(4, 1).repeat_interleave(4, 2).byte()
    labels[0, :3] = IGNORE
    for radius in (1, 3):
        expected = labels.clone()
        for b in range(2):
            for y in range(16):
                for x in range(20):
                    near = labels[b, max(0, y - radius) : y + radius + 1, max(0, x - radius) : x + radius + 1]
                    known = near[near != IGNORE]
                    if labels[b, y, x] != IGNORE and (known != labels[b, y, x]).any():
                        expected[b, y, x] = IGNORE
        found = ignore_borders(labels, radius)
        assert torch.equal(found[labels != IGNORE], expected[labels != IGNORE])
        assert (found[labels == IGNORE] == IGNORE).all()
    assert torch.equal(ignore_borders(labels, 0), labels)


def test_steady_pixels_by_hand() -> None:
    reference = torch.tensor([[[0, 1, 255, 2]], [[0, 2, 255, 2]], [[0, 2, 1, 255]]]).byte()
    predicted = torch.tensor([[[5, 1, 1, 2]], [[5, 1, 1, 3]], [[6, 1, 1, 3]]]).byte()
    # Frames 0 to 1: pixels 0 and 3 of the reference are constant, 0 also in the prediction; 1 to 2: 0 and 1, and 1.
    assert steady_pixels(predicted, reference).tolist() == [[2, 1], [2, 1]]


# --- of a run


def test_a_frozen_student_has_the_same_score_now_one_sequence_earlier_and_later(odkd: Odkd) -> None:
    run = odkd(*STILL, "evaluation.shift=8")  # two steps of 4
    lines = metrics(run)
    assert len(lines) == 7
    for now, line in enumerate(lines):
        for name, then in (("past", now - 2), ("future", now + 2)):
            expected = lines[then]["test/miou"] if 0 <= then < len(lines) else None
            assert line[f"{name}/miou"] == expected, (name, now)
    found = summary(run)
    assert found["mean_past/miou"] == pytest.approx(np.mean([line["test/miou"] for line in lines[:5]]))
    assert found["mean_future/miou"] == pytest.approx(np.mean([line["test/miou"] for line in lines[2:]]))
    assert found["mean_last/miou"] == pytest.approx(found["mean/miou"])
    assert found["segments/backward_transfer"] == found["segments/forgetting"] == 0


@pytest.mark.slow
def test_last_scores_the_last_student_on_the_entire_stream_and_total_the_student_of_each_iteration(odkd: Odkd) -> None:
    run = odkd(*STILL)
    predictions = need("zarr").open_array(run / "predictions", mode="r")
    assert predictions.shape[0] == 30  # the last 2 positions do not fill a test window
    found = summary(run)
    assert found["last/miou"] != found["total/miou"]
    complete = summary(odkd(*STILL, "window.test=5", "window.step=5"))
    assert complete["last/miou"] == complete["total/miou"] == found["last/miou"]
    learning = summary(odkd("seed=1", "window.test=5", "window.step=5"))
    assert learning["last/miou"] > learning["total/miou"]


def test_a_frame_counts_in_the_scores_of_its_own_domain(odkd: Odkd) -> None:
    frozen = summary(odkd(*STILL, "window.test=5", "window.step=5"))
    straddling = summary(odkd(*STILL, "window.test=6", "window.step=6"))  # some windows have both domains
    for name in ("city", "night"):
        assert straddling[f"domain/miou/{name}"] == frozen[f"domain/miou/{name}"]
    assert frozen["domain/miou/city"] != frozen["domain/miou/night"]


@pytest.mark.slow
def test_all_segments_are_scored_when_one_ends(odkd: Odkd) -> None:
    run = odkd("window.step=5", "window.test=5", "evaluation.segment_frames=3")
    lines = metrics(run)
    rows = [i for i, line in enumerate(lines) if "segment/miou/000" in line]
    assert rows == [2, 4]  # a segment of ten frames is learned from completely when the next one has begun
    found = summary(run)
    table = [[lines[i][f"segment/miou/{j:03d}"] for j in range(3)] for i in rows]
    table.append([found[f"last_segment/miou/{j:03d}"] for j in range(3)])
    assert found["segments/backward_transfer"] == pytest.approx(backward_transfer(np.array(table)))
    assert found["segments/forgetting"] == pytest.approx(forgetting(np.array(table)))
    assert not any("segment" in key for key in metrics(odkd("evaluation.segment_frames=0"))[-1])


@pytest.mark.slow
def test_scores_over_time_are_equal_after_an_interrupt(odkd: Odkd, monkeypatch: pytest.MonkeyPatch) -> None:
    from odkd.training.iteration import Journal

    always = "run.checkpoint_overhead=1000"
    uninterrupted = odkd("run.name=uninterrupted", always)
    original, calls = Journal.report, iter(range(100))

    def interrupt(journal: Journal) -> None:
        original(journal)
        if next(calls) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(Journal, "report", interrupt)
    with pytest.raises(KeyboardInterrupt):
        odkd("run.name=cut", always)
    run = odkd("run.name=cut", always)
    for name in ("metrics.jsonl", "summary.json"):
        assert (run / name).read_text() == (uninterrupted / name).read_text()


# --- baselines and ARTHuS's scoring


def test_the_teacher_as_predictor_has_the_scores_of_its_labels(odkd: Odkd) -> None:
    noisy = ["teacher.label_noise=0.3", "window.test=5", "window.step=5"]
    run = summary(odkd("baseline=teacher", *noisy))
    labels = summary(odkd("stage=label", *noisy))
    assert run["total/miou"] == 1
    assert run["total/miou_groundtruth"] == run["last/miou_groundtruth"] == labels["teacher/miou_groundtruth"]


@pytest.mark.slow
def test_training_on_the_entire_stream_beforehand_beats_no_training(odkd: Odkd) -> None:
    everything = odkd("baseline=everything", "optimizer.lr=1e-3")
    assert summary(everything)["total/miou"] > 2 * summary(odkd(*STILL))["total/miou"]
    assert "learn/loss_total" not in metrics(everything)[-1]


@pytest.mark.slow
def test_unscored_borders_change_only_the_scores(odkd: Odkd) -> None:
    plain, bordered = odkd(), odkd("evaluation.border_pixels=2")
    assert plain != bordered
    first, second = metrics(plain)[-1], metrics(bordered)[-1]
    assert first["learn/loss_total"] == second["learn/loss_total"]
    assert second["test/accuracy"] > first["test/accuracy"]  # most errors are at borders


@pytest.mark.slow
def test_inverse_frequency_weights_change_what_is_learned(odkd: Odkd) -> None:
    weighted = metrics(odkd("loss.class_weights=inverse_frequency"))
    assert weighted[-1]["learn/loss_total"] != metrics(odkd())[-1]["learn/loss_total"]


# --- mistakes that would otherwise go unnoticed


class Seer(Fifo):
    """Replay memory that selects future positions."""

    def select(self, num_positions: int, scorer: Any) -> list[int]:
        return [position + 4 for position in super().select(num_positions, scorer)]


class Twice(Fifo):
    """Replay memory that selects positions twice."""

    def select(self, num_positions: int, scorer: Any) -> list[int]:
        return 2 * super().select(num_positions, scorer)


class Greedy(Fifo):
    """Replay memory that selects all past positions, more than window.learn."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.seen: list[int] = []

    def observe(self, fresh: Any, scorer: Any) -> None:
        super().observe(fresh, scorer)
        self.seen += fresh

    def select(self, num_positions: int, scorer: Any) -> list[int]:
        return self.seen if num_positions and scorer else []


def test_a_replay_that_selects_more_than_window_learn_is_refused(odkd: Odkd) -> None:
    target = ["replay._target_=test_watch.Greedy", "allow_targets=[test_watch]"]
    with pytest.raises(ValueError, match=r"Greedy selects 8 positions at position 8; expected at most window.learn=6"):
        odkd(*target)


@pytest.mark.parametrize("name", ["Seer", "Twice"])
def test_a_replay_that_selects_future_or_repeated_positions_is_refused(name: str, odkd: Odkd) -> None:
    target = [f"replay._target_=test_watch.{name}", "allow_targets=[test_watch]"]
    with pytest.raises(ValueError, match=rf"replay {name} selects position .* expected past positions"):
        odkd(*target)


@pytest.mark.slow
def test_a_regularizer_that_never_sets_in_gives_a_warning(odkd: Odkd, caplog: pytest.LogCaptureFixture) -> None:
    odkd("regularizer=rwalk")
    assert "regularizer RWalk sets in after 10 passes, and this run has 6: it will change nothing" in caplog.text
    caplog.clear()
    odkd("regularizer=rwalk", "regularizer.warmup_passes=2")
    assert "sets in after" not in caplog.text


def test_candidates_that_leave_no_choice_are_refused(odkd: Odkd) -> None:
    with pytest.raises(ValueError, match=r"replay.candidates=2 leaves no choice: .* = 2 of them are replayed"):
        odkd("replay=mir", "replay.candidates=2")


def test_the_stream_begins_after_the_positions_of_pretraining(odkd: Odkd) -> None:
    run = odkd("stage.pretrain_positions=10", "stage.pretrain_epochs=1")
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [record["position"] for record in records] == [12, 16, 20, 24]
    assert "learn/loss_total" not in records[0]["metrics"]  # there are no stream frames yet
    assert summary(run)["num_iterations"] == 4
    with pytest.raises(ValueError, match=r"leaves nothing of the stream .* lower it to 24"):
        odkd("stage.pretrain_positions=29")


def test_windows_over_two_segments_do_not_count_for_recovery(odkd: Odkd) -> None:
    run = odkd("window.test=6", "window.step=2", "optimizer.lr=1e-3")
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    within = [(record["position"], record["segment"]) for record in records if record["segment"] is not None]
    assert within == [(0, 0), (2, 0), (4, 0), (10, 1), (12, 1), (14, 1), (20, 2), (22, 2), (24, 2)]
    miou = [record["metrics"]["test/miou"] for record in records if record["segment"] is not None]
    found = summary(run)
    assert found["recovery/iterations"] == recovery(miou, [segment for _, segment in within]).num_iterations
    assert found["recovery/num_changes"] == 2
