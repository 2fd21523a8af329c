"""Runs that are cut off again and again, compared with one that is not."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from odkd.training.epochs import Task, Training
from odkd.training.iteration import Journal
from odkd.training.trainings import Trainings


def compare_with_cut_off(
    odkd: Callable[..., Path], patch: pytest.MonkeyPatch, settings: Sequence[str], iterations: set[int]
) -> tuple[Path, Path]:
    """Run to the end, and once more cut off after the work of some iterations, each once; check that both are equal.

    Return the folders of both runs, the undisturbed one first.
    """
    whole, left, write = odkd(*settings, "run.name=whole"), set(iterations), Journal.write

    def write_or_die(self: Journal, step: Any, *arguments: Any, **named: Any) -> None:
        number = named["place"]["iteration"] if "place" in named else step.iteration
        if number in left:
            left.remove(number)
            raise KeyboardInterrupt
        write(self, step, *arguments, **named)

    patch.setattr(Journal, "write", write_or_die)
    cut = [*settings, "run.name=cut", "run.checkpoint_overhead=1e9"]  # a checkpoint after each iteration
    while left:
        with pytest.raises(KeyboardInterrupt):
            odkd(*cut)
    resumed = odkd(*cut)
    for name in ("metrics.jsonl", "summary.json"):
        assert (resumed / name).read_text() == (whole / name).read_text(), name
    return whole, resumed


def compare_with_cut_off_trainings(
    odkd: Callable[..., Path], patch: pytest.MonkeyPatch, settings: Sequence[str], labels: Path
) -> int:
    """Run trainings over epochs to the end, and once more cut off at every epoch and every end of a training.

    Check that both runs are equal, students included; return how often the second one was cut off.

    Args:
        labels: folder of the label stores, of which each run has its own.
    """
    points: list[tuple[str, int]] = []
    is_cut, validate, finish = False, Training.validate, Trainings.finish

    def reach(*point: Any) -> None:
        """Die at a point that the undisturbed run has come to as well, once."""
        if not is_cut:
            points.append(point)
        elif point in points:
            points.remove(point)
            raise KeyboardInterrupt

    def validated(self: Training) -> dict[str, float]:
        reach(self.task.name, self.num_done)
        return validate(self)

    def finished(self: Trainings, task: Task, *arguments: Any) -> None:
        reach(task.name, -1)
        finish(self, task, *arguments)

    patch.setattr(Training, "validate", validated)
    patch.setattr(Trainings, "finish", finished)
    settings = [*settings, "run.checkpoint_overhead=1e9"]  # a checkpoint after each epoch
    whole = odkd(*settings, "run.name=whole", f"paths.labels={labels / 'whole'}")
    is_cut, num_points = True, len(points)
    while points:
        with pytest.raises(KeyboardInterrupt):
            odkd(*settings, "run.name=cut", f"paths.labels={labels / 'cut'}")
    resumed = odkd(*settings, "run.name=cut", f"paths.labels={labels / 'cut'}")
    students = [f"students/{path.name}" for path in (whole / "students").iterdir()]
    for name in ("metrics.jsonl", "summary.json", "student.safetensors", *students):
        assert (resumed / name).read_bytes() == (whole / name).read_bytes(), name
    assert not (resumed / "trainings").exists()
    return num_points
