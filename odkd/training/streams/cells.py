"""The cells of a run: which streams a student answers, and what a run needs for each of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from heapq import merge as merge_sorted
from typing import Any, Literal

import torch
from torch import Tensor

from odkd.data.video.streams import Merged
from odkd.data.window import Step, Window
from odkd.evaluation.answers import Scores
from odkd.evaluation.watch import Watch
from odkd.training.clocked import Loop
from odkd.training.learn import Learner
from odkd.training.online_state import OnlineState
from odkd.training.pace import Pace
from odkd.training.replay import Replay

Cells = Literal["each", "all"] | dict[str, Any]


@dataclass(frozen=True)
class Equipment:
    """What a cell learns and is scored with."""

    learner: Learner
    replay: Replay
    pace: Pace
    watch: Watch


Equip = Callable[[Merged], Equipment]


def cells_of(streams: Sequence[str], cells: Cells) -> dict[str, list[str]]:
    """Return the streams of each cell, by its name.

    Args:
        streams: names of all streams.
        cells: "each": a student for each stream; "all": one for all; or the cell of each stream.

    Raises:
        ValueError: a stream has no cell, or there is no such stream.

    >>> cells_of(["a", "b", "c"], {"a": "town", "b": "motorway", "c": "town"})
    {'town': ['a', 'c'], 'motorway': ['b']}
    """
    if cells == "each":
        return {name: [name] for name in streams}
    if cells == "all":
        return {"all": list(streams)}
    if not isinstance(cells, Mapping):
        raise ValueError(f"stage.cells={cells}; expected each, all, or the cell of each stream: {{front: town}}")
    if unknown := [name for name in cells if name not in streams]:
        raise ValueError(f"stage.cells has a stream {unknown[0]}; there are {', '.join(streams)}")
    if left := [name for name in streams if name not in cells]:
        raise ValueError(f"stage.cells has no cell for the stream {left[0]}; add {left[0]}: NAME")
    found: dict[str, list[str]] = {}
    for name in streams:
        found.setdefault(str(cells[name]), []).append(name)
    return found


@dataclass
class Cell:
    """A student, and the streams that it answers.

    Args:
        name: of the cell.
        streams: their names.
        merged: their frames.
        state: of the student and its memory; the loop's is in it.
        loop: over the frames.
        window: that slides over them.
    """

    name: str
    streams: Sequence[str]
    merged: Merged
    state: OnlineState
    loop: Loop
    window: Window
    totals: dict[str, Tensor] = field(default_factory=dict)  # source -> counts of all test windows by stream, [S, K, K]

    def count(self, step: Step, scores: Scores) -> None:
        """Add the counts of a test window to those of its streams."""
        numbers = torch.from_numpy(self.merged.stream_of_P[step.test.start : step.test.stop])
        for source, confusions_NKK in scores.confusions.items():
            zeros = torch.zeros(len(self.streams), *confusions_NKK.shape[1:], dtype=confusions_NKK.dtype)
            self.totals.setdefault(source, zeros).index_add_(0, numbers, confusions_NKK)

    def state_dict(self) -> dict[str, Any]:
        return {**self.state.state_dict(), "totals": self.totals}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.state.load_state_dict(state)
        self.totals = state["totals"]


def frames_by_time(cells: Sequence[Cell], window: Window) -> Iterator[tuple[Cell, Step, int]]:
    """Yield all frames that are still to come, by time: their cell, their step of its window, and their position."""

    def frames(number: int, cell: Cell) -> Iterator[tuple[float, int, Step, int]]:
        for step in window.steps(len(cell.merged.stream), cell.state.iteration + 1):
            for position in step.fresh:
                if position >= cell.loop.arrived:
                    yield cell.merged.arrivals[position], number, step, position

    streams = [frames(number, cell) for number, cell in enumerate(cells)]
    for _, number, step, position in merge_sorted(*streams, key=lambda frame: frame[:2]):
        yield cells[number], step, position
