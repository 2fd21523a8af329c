"""Any replay with any regularizer: composes, runs, and resumes after a cut bit for bit."""

import itertools
from pathlib import Path

import pytest
import torch
from tiny_settings import TINY

from odkd.commands.job import describe
from odkd.config.call_stage import call_stage
from odkd.config.compose import compose_config
from odkd.config.known import CONF
from odkd.config.parts import Parts
from odkd.runs.run import OpenRun
from odkd.training.iteration import Stopwatch

REPLAYS, REGULARIZERS = (sorted(p.stem for p in (CONF / group).glob("*.yaml")) for group in ("replay", "regularizer"))
# The default tests run the kinds of state that there are; the slow tests run the complete grid.
QUICK = {("prioritized", "ace")}
GRID = [
    pytest.param(replay, regularizer, marks=() if (replay, regularizer) in QUICK else pytest.mark.slow)
    for replay in REPLAYS
    for regularizer in REGULARIZERS
]
SMALL = [  # so small that every method has something to choose, to evict and to keep
    "++replay.capacity=6",
    "++replay.candidates=8",
    "++regularizer.warmup_passes=2",
    "stage.order=paired",
    "window.learn=8",
    "window.test=5",
    "window.step=3",
    "evaluation.segment_frames=2",
    "run.checkpoint_overhead=1000",
]
UNKNOWN_TO = {  # setting above -> replays or regularizers that do not have it
    "++replay.capacity=6": ("memoryless", "nothing", "first"),
    "++replay.candidates=8": tuple(name for name in REPLAYS if name != "mir"),
    "++regularizer.warmup_passes=2": ("none", "ace", "derpp", "temporal"),
}


class CutOffError(Exception):
    """Simulated kill, raised where the state is already on the disk."""


def run_stage(folder: Path, cache: Path, overrides: list[str], cut_after: int | None = None) -> OpenRun:
    parts = Parts(compose_config([*TINY, *overrides, f"paths.outputs={folder}", f"paths.cache={cache}"]))
    run = OpenRun(folder, describe(parts, []), checkpoint_overhead=parts.cfg.run.checkpoint_overhead).open(
        {}, restart=False
    )
    original = Stopwatch.__init__
    begun = itertools.count()

    def begin(clock: Stopwatch) -> None:
        if next(begun) - 1 == cut_after:
            raise CutOffError
        original(clock)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stopwatch, "__init__", begin)
        try:
            with run:
                run.finish(call_stage(parts, run))
        finally:
            parts.close()
    torch.save(parts.learner.state_dict(), folder / "learner.pt")
    torch.save(parts.replay.state_dict(), folder / "replay.pt")
    return run


@pytest.mark.parametrize(("replay", "regularizer"), GRID)
def test_any_replay_with_any_regularizer_resumes_bit_identically(
    replay: str, regularizer: str, tmp_path: Path, cache: Path
) -> None:
    settings = [s for s in SMALL if not {replay, regularizer} & set(UNKNOWN_TO.get(s, ()))]
    overrides = [f"replay={replay}", f"regularizer={regularizer}", *settings]
    whole = run_stage(tmp_path / "whole", cache, overrides)
    with pytest.raises(CutOffError):
        run_stage(tmp_path / "cut", cache, overrides, cut_after=4)
    cut = run_stage(tmp_path / "cut", cache, overrides)
    assert cut.summary() == whole.summary()
    assert cut.records() == whole.records()
    for name in ("learner.pt", "replay.pt"):
        assert_equal(*(torch.load(run.folder / name, weights_only=True) for run in (cut, whole)))


def assert_equal(first: object, second: object) -> None:
    """Check that two nested states are equal to the bit."""
    assert type(first) is type(second)
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        assert torch.equal(first, second)
    elif isinstance(first, dict) and isinstance(second, dict):
        assert first.keys() == second.keys()
        for key in first:
            assert_equal(first[key], second[key])
    elif isinstance(first, list) and isinstance(second, list):
        assert len(first) == len(second)
        for one, other in zip(first, second, strict=True):
            assert_equal(one, other)
    else:
        assert first == second
