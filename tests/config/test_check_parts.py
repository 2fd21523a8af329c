"""Parts are checked before a run has a folder; a finished run builds none of them; what a stage itself checks."""

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from odkd.students.tinynet import TinyNet

Odkd = Callable[..., Path]


def test_too_many_parts_and_too_long_a_pretraining_leave_no_run(odkd: Odkd, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"cannot be split into stage.num_parts=100; lower it"):
        odkd("stage=mckd", "stage.num_parts=100")
    with pytest.raises(ValueError, match=r"stage.pretrain_positions=1000 leaves nothing of the stream"):
        odkd("stage.pretrain_positions=1000")
    with pytest.raises(ValueError, match=r"no ground truth folder"):
        odkd("dataset.groundtruth=nope")
    assert not (tmp_path / "runs").exists()


def test_a_run_builds_its_student_once_and_a_finished_run_builds_none(
    odkd: Odkd, monkeypatch: pytest.MonkeyPatch
) -> None:
    built = []
    init = TinyNet.__init__

    def counting(self: TinyNet, num_classes: int, dropout: float = 0.25) -> None:
        built.append(1)
        init(self, num_classes, dropout)

    monkeypatch.setattr(TinyNet, "__init__", counting)
    odkd("replay=nothing")
    assert len(built) == 1
    odkd("replay=nothing")
    assert len(built) == 1


def test_one_time_learning_on_a_short_stream_says_that_it_equals_fifo(
    odkd: Odkd, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    odkd("baseline=one_time")
    assert "it never stops, and equals replay=fifo; set replay.num_positions below" in caplog.text
    caplog.clear()
    odkd("baseline=one_time", "replay.num_positions=8")
    assert "equals replay=fifo" not in caplog.text
