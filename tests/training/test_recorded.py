"""Replay of a recorded session: its student learns what it learned then, from the labels that there were then."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from tiny_settings import TINY

from odkd.commands.job import run_job
from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.data.recording.recorder import Recorder
from odkd.training.clocked import ClockedLoop
from odkd.training.pace.fixed import Fixed
from odkd.training.recorded import RecordedPace

CLOCK = ["timing.teacher_seconds=0.6", "timing.train_seconds=0.01", "timing.student_seconds=0.02"]


class OddFramesHaveLabels:
    """A sight of which nothing else is asked."""

    def has_label(self, position: int) -> bool:
        return position % 2 == 1

    def student_iou(self, position: int) -> float:
        raise NotImplementedError

    def agreement(self, before: int, after: int) -> float:
        raise NotImplementedError

    def confidence(self, position: int) -> float:
        raise NotImplementedError


def lines(folder: Path) -> list[dict[str, float | None]]:
    """Return the metrics of each iteration of a run."""
    return [json.loads(line)["metrics"] for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_the_teacher_sees_what_has_a_label_and_the_pace_goes_on_counting() -> None:
    inner, sight = Fixed(every=3), OddFramesHaveLabels()
    pace = RecordedPace(inner)
    assert [pace.sends(position, float(position), sight) for position in range(4)] == [False, True, False, True]
    assert pace.state_dict() == inner.state_dict() == {"frames": 4}
    other = RecordedPace(Fixed(every=3))
    other.load_state_dict(pace.state_dict())
    assert other.state_dict() == {"frames": 4}
    assert [pace.is_due(0.0, is_step=is_step) for is_step in (True, False)] == [True, False]
    assert pace.max_updates is None


@pytest.mark.slow
def test_a_replay_learns_the_same_as_the_session_to_the_bit_and_scores_labelled_frames_alone(
    odkd: Callable[..., Path], tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A simulated session stands for a live one: what it labelled is known, and all its times are exact."""
    came: list[tuple[int, float]] = []
    labelled = ClockedLoop.labelled
    monkeypatch.setattr(ClockedLoop, "labelled", lambda *given: came.append(given[1:]) or labelled(*given))
    first = odkd("timing=simulated", "run.overlay_video=false", *CLOCK)
    parts = Parts(compose_config([*TINY, f"paths.outputs={tmp_path}", f"paths.cache={cache}"]))
    recorder = Recorder(
        tmp_path / "kept", classes=parts.classes, palette=[[n, n, n] for n in range(len(parts.classes))]
    )
    seconds, labels = parts.stream.seconds.tolist(), dict(came)
    assert 5 < len(labels) < len(seconds) / 2
    for position, image_HWC in enumerate(parts.frames.read(range(len(seconds)))):
        recorder.frame(seconds[position], position, image_HWC)
        if position in labels:
            recorder.label(position, parts.references["teacher"].read(position), labels[position])
    recorder.took(teacher_seconds=0.6, train_seconds=0.01, student_seconds=0.02)
    recorder.close()
    came.clear()
    own = [word for word in TINY if "dataset" not in word and "debug" not in word]
    own += ["device=cpu", f"paths.outputs={tmp_path}", f"paths.cache={cache}"]
    cfg = compose_config(["experiment=replay", "run.overlay_video=false", *own], str(tmp_path / "kept" / "replay"))
    run_job(cfg)
    assert dict(came) == pytest.approx(labels)
    before, after = lines(first), lines(Parts(cfg).folder)
    assert [line.get("learn/loss_total") for line in after] == [line.get("learn/loss_total") for line in before]
    assert sum("learn/loss_total" in line for line in before) > 4
    for name in ("cost/teacher_frames", "cost/updates", "clock/weights_age_seconds", "clock/label_age_seconds"):
        assert [line[name] for line in after] == [line[name] for line in before]
    tested = {position for step in parts.window.steps(len(seconds)) for position in step.test}
    with np.load(Parts(cfg).folder / "confusion.npz") as confusions:
        assert confusions["teacher"].sum() == 32 * 48 * len(tested & labels.keys())
