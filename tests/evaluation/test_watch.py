"""Metrics over time: by hand, against slow twins, and along a tiny run."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import zarr
from torch import Tensor

from odkd.common.ignore import IGNORE
from odkd.evaluation.continual import backward_transfer, forgetting, recovery
from odkd.evaluation.metrics import ignore_borders, steady_pixels
from odkd.training.replay.fifo import Fifo

Odkd = Callable[..., Path]
STILL = ["baseline=frozen", "seed=1"]  # nothing is learned: every window has one score, whoever asks when


def metrics(run: Path) -> list[dict[str, float]]:
    return [json.loads(line)["metrics"] for line in (run / "metrics.jsonl").read_text().splitlines()]


def summary(run: Path) -> dict[str, float]:
    found: dict[str, float] = json.loads((run / "summary.json").read_text())
    return found


# --- arithmetic


def test_recovery_counts_iterations_until_95_percent_of_the_level_before() -> None:
    #        segment 0 | 1: at once | 2: after two | 3: never, three iterations long
    miou = [0.1, 0.4, 0.38, 0.5, 0.1, 0.3, 0.48, 0.2, 0.1, 0.2]
    segments = [0, 0, 1, 1, 2, 2, 2, 3, 3, 3]
    assert recovery(miou, segments) == ((0 + 2 + 3) / 3, 3, 1)
    assert recovery([0.5, 0.4], [0, 1], share=0.8).num_iterations == 0
    nothing = recovery([0.5, 0.5], [0, 0])
    assert math.isnan(nothing.num_iterations)
    assert nothing.num_changes == 0
    assert recovery([math.nan, 0.5], [0, 1]).num_changes == 0  # no level to come back to


def test_forgetting_and_transfer_leave_out_what_is_undefined() -> None:
    scores = np.array([[0.5, math.nan, 0.0], [0.4, math.nan, 0.0], [0.1, math.nan, 0.9]])
    assert backward_transfer(scores) == pytest.approx(0.1 - 0.5)
    assert forgetting(scores) == pytest.approx(0.5 - 0.1)
    assert math.isnan(backward_transfer(np.array([[0.5]])))


def test_borders_are_what_a_slow_search_finds() -> None:
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
    # Frame 0 to 1: pixels 0 and 3 stay, of these 0 is steady. 1 to 2: pixels 0 and 1 stay, of these 1 is steady.
    assert steady_pixels(predicted, reference).tolist() == [[2, 1], [2, 1]]


# --- along a run


def test_a_frozen_student_has_the_same_score_now_one_sequence_ago_and_ahead(odkd: Odkd) -> None:
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


def test_final_is_the_last_student_on_the_whole_stream_and_total_the_student_of_each_moment(odkd: Odkd) -> None:
    run = odkd(*STILL)
    predictions = zarr.open_array(run / "predictions", mode="r")
    assert predictions.shape[0] == 30  # the last 2 positions fill no test window
    found = summary(run)
    assert found["last/miou"] != found["total/miou"]
    whole = summary(odkd(*STILL, "window.test=5", "window.step=5"))
    assert whole["last/miou"] == whole["total/miou"] == found["last/miou"]
    learning = summary(odkd("seed=1", "window.test=5", "window.step=5"))
    assert learning["last/miou"] > learning["total/miou"]


def test_scores_of_domains_come_from_each_frames_own_domain(odkd: Odkd) -> None:
    frozen = summary(odkd(*STILL, "window.test=5", "window.step=5"))
    straddling = summary(odkd(*STILL, "window.test=6", "window.step=6"))  # windows over both domains, the same frames
    for name in ("city", "night"):
        assert straddling[f"domain/miou/{name}"] == frozen[f"domain/miou/{name}"]
    assert frozen["domain/miou/city"] != frozen["domain/miou/night"]


def test_each_segment_is_scored_when_one_ends(odkd: Odkd) -> None:
    run = odkd("window.step=5", "window.test=5", "evaluation.segment_frames=3")
    lines = metrics(run)
    rows = [i for i, line in enumerate(lines) if "segment/miou/000" in line]
    assert rows == [2, 4]  # all ten frames of a segment are learned from when the next has begun; 15 s in 6 windows
    found = summary(run)
    table = [[lines[i][f"segment/miou/{j:03d}"] for j in range(3)] for i in rows]
    table.append([found[f"last_segment/miou/{j:03d}"] for j in range(3)])
    assert found["segments/backward_transfer"] == pytest.approx(backward_transfer(np.array(table)))
    assert found["segments/forgetting"] == pytest.approx(forgetting(np.array(table)))
    assert not any("segment" in key for key in metrics(odkd("evaluation.segment_frames=0"))[-1])


def test_scores_over_time_are_the_same_after_a_cut(odkd: Odkd, monkeypatch: pytest.MonkeyPatch) -> None:
    import odkd.stages.online as module

    always = "run.checkpoint_overhead=1000"
    whole = odkd("run.name=whole", always)
    original, calls = module.report, iter(range(100))

    def cut(*arguments: Any) -> None:
        original(*arguments)
        if next(calls) == 4:
            raise KeyboardInterrupt

    monkeypatch.setattr(module, "report", cut)
    with pytest.raises(KeyboardInterrupt):
        odkd("run.name=cut", always)
    run = odkd("run.name=cut", always)
    for name in ("metrics.jsonl", "summary.json"):
        assert (run / name).read_text() == (whole / name).read_text()


# --- baselines and ARTHuS's scoring


def test_the_teacher_in_the_students_place_has_the_scores_of_its_labels(odkd: Odkd) -> None:
    noisy = ["teacher.label_noise=0.3", "window.test=5", "window.step=5"]
    run = summary(odkd("baseline=teacher", *noisy))
    labels = summary(odkd("stage=label", *noisy))
    assert run["total/miou"] == 1
    assert run["total/miou_groundtruth"] == run["last/miou_groundtruth"] == labels["teacher/miou_groundtruth"]


def test_learning_everything_beforehand_beats_learning_nothing(odkd: Odkd) -> None:
    everything = odkd("baseline=everything", "optimizer.lr=1e-3")
    assert summary(everything)["total/miou"] > 2 * summary(odkd(*STILL))["total/miou"]
    assert "learn/loss_total" not in metrics(everything)[-1]


def test_borders_left_out_of_scores_leave_everything_else_alone(odkd: Odkd) -> None:
    plain, bordered = odkd(), odkd("evaluation.border_pixels=2")
    assert plain != bordered
    first, second = metrics(plain)[-1], metrics(bordered)[-1]
    assert first["learn/loss_total"] == second["learn/loss_total"]
    assert second["test/accuracy"] > first["test/accuracy"]  # borders are where students err


def test_inverse_frequency_weights_are_those_of_the_frames_learned_from() -> None:
    from odkd.training.losses import CrossEntropy

    loss = CrossEntropy("inverse_frequency")
    loss.weigh(torch.tensor([30, 10, 0]))
    assert isinstance(loss.class_weights, Tensor)
    assert loss.class_weights.tolist() == [pytest.approx(4 / 3), 4, 0]
    with pytest.raises(ValueError, match="expected a list"):
        CrossEntropy("inverse")  # type: ignore[arg-type]


def test_a_learner_counts_the_classes_of_each_pass(odkd: Odkd) -> None:
    weighted = metrics(odkd("loss.class_weights=inverse_frequency"))
    assert weighted[-1]["learn/loss_total"] != metrics(odkd())[-1]["learn/loss_total"]


# --- what would go wrong in silence


class Seer(Fifo):
    """A replay that selects what has not gone by yet."""

    def select(self, num_positions: int, scorer: Any) -> list[int]:
        return [position + 4 for position in super().select(num_positions, scorer)]


class Twice(Fifo):
    """A replay that selects a position twice."""

    def select(self, num_positions: int, scorer: Any) -> list[int]:
        return 2 * super().select(num_positions, scorer)


class Greedy(Fifo):
    """A replay that learns from more than the others: from all that has gone by."""

    def __init__(self, capacity: int) -> None:
        super().__init__(capacity)
        self.seen: list[int] = []

    def observe(self, fresh: Any, scorer: Any) -> None:
        super().observe(fresh, scorer)
        self.seen += fresh

    def select(self, num_positions: int, scorer: Any) -> list[int]:
        return self.seen if num_positions and scorer else []


def test_a_replay_that_selects_more_than_the_others_is_stopped(odkd: Odkd) -> None:
    target = ["replay._target_=test_watch.Greedy", "allow_targets=[test_watch]"]
    with pytest.raises(ValueError, match=r"Greedy selects 8 positions at position 8; expected at most window.learn=6"):
        odkd(*target)


@pytest.mark.parametrize("name", ["Seer", "Twice"])
def test_a_replay_that_selects_what_it_may_not_is_stopped(name: str, odkd: Odkd) -> None:
    target = [f"replay._target_=test_watch.{name}", "allow_targets=[test_watch]"]
    with pytest.raises(ValueError, match=rf"replay {name} selects position .* expected positions that have gone by"):
        odkd(*target)


def test_a_regularizer_that_never_sets_in_is_named(odkd: Odkd, caplog: pytest.LogCaptureFixture) -> None:
    odkd("regularizer=rwalk")
    assert "regularizer RWalk sets in after 10 passes, and this run has 6: it will change nothing" in caplog.text
    caplog.clear()
    odkd("regularizer=rwalk", "regularizer.warmup_passes=2")
    assert "sets in after" not in caplog.text


def test_candidates_that_leave_no_choice_are_refused(odkd: Odkd) -> None:
    with pytest.raises(ValueError, match=r"replay.candidates=2 leaves no choice: .* = 2 of them are replayed"):
        odkd("replay=mir", "replay.candidates=2")


def test_the_stream_begins_after_what_was_learned_from_beforehand(odkd: Odkd) -> None:
    run = odkd("stage.pretrain_positions=10", "stage.pretrain_epochs=1")
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [record["position"] for record in records] == [12, 16, 20, 24]
    assert "learn/loss_total" not in records[0]["metrics"]  # nothing has gone by since
    assert summary(run)["num_iterations"] == 4
    with pytest.raises(ValueError, match=r"leaves nothing of the stream .* lower it to 24"):
        odkd("stage.pretrain_positions=29")


def test_windows_over_a_change_do_not_count_for_recovery(odkd: Odkd) -> None:
    run = odkd("window.test=6", "window.step=2", "optimizer.lr=1e-3")
    records = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    whole = [(record["position"], record["segment"]) for record in records if record["segment"] is not None]
    assert whole == [(0, 0), (2, 0), (4, 0), (10, 1), (12, 1), (14, 1), (20, 2), (22, 2), (24, 2)]
    miou = [record["metrics"]["test/miou"] for record in records if record["segment"] is not None]
    found = summary(run)
    assert found["recovery/iterations"] == recovery(miou, [segment for _, segment in whole]).num_iterations
    assert found["recovery/num_changes"] == 2
