"""Runs that are cut off again and again, compared with one that is not."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from odkd.training.iteration import Journal


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
