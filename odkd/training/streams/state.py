"""Everything on which the rest of a run along several streams depends, as its checkpoint has it."""

import logging
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from odkd.data.window import Step
from odkd.runs.run import OpenRun
from odkd.training.clock.desk import Desk
from odkd.training.clocked import ClockedLoop
from odkd.training.iteration import Journal
from odkd.training.streams.cells import Cell

logger = logging.getLogger(__name__)


@dataclass
class CellsState:
    """The cells of a run, what they share, and how many lines there are.

    Args:
        cells: in the order in which frames of one moment arrive.
        desk: of those that have a clock.
    """

    run: OpenRun
    cells: Sequence[Cell]
    desk: Desk
    num_lines: int = 0

    @property
    def num_done(self) -> int:
        """Frames whose iteration has ended."""
        return sum((cell.state.iteration + 1) * cell.window.step for cell in self.cells)

    def next_line(self, cell: Cell, step: Step) -> dict[str, Any]:
        """Return what the line of an iteration has that it has not with one stream: number, position, name of the cell.

        The position counts the frames of all streams that have arrived when the step ends, less those of the step: it
        grows from line to line, however long the steps of the cells are.
        """
        now, own = cell.merged.arrivals[step.fresh[-1]], self.cells.index(cell)
        others = [
            (bisect_right if number < own else bisect_left)(other.merged.arrivals, now)
            for number, other in enumerate(self.cells)
            if number != own
        ]
        line = {"iteration": self.num_lines, "position": step.position + sum(others)}
        self.num_lines += 1
        return line | ({"cell": cell.name} if len(self.cells) > 1 else {})

    def resume(self) -> None:
        """Continue from the run's checkpoint, if it has one."""
        state = self.run.resume()
        if state:
            self.num_lines = state["num_lines"]
            self.desk.load_state_dict(state["desk"])
            for cell in self.cells:
                cell.load_state_dict(state["cells"][cell.name])
            logger.info("resumed after %d iterations", self.num_lines)
        for cell in self.cells:
            if isinstance(cell.loop, ClockedLoop):
                cell.state.carry(cell.loop)

    def commit_if_due(self, journals: Iterable[Journal]) -> None:
        """Write a checkpoint if it is time, or if the streams have ended, after the predictions of all cells."""
        ends = [cell.window.num_iterations(len(cell.merged.stream)) - 1 for cell in self.cells]
        has_ended = all(cell.state.iteration == end for cell, end in zip(self.cells, ends, strict=True))
        if self.run.is_checkpoint_due() or has_ended:
            for journal in journals:
                journal.flush()
            self.run.commit_behind(
                {
                    "num_lines": self.num_lines,
                    "desk": self.desk.state_dict(),
                    "cells": {cell.name: cell.state_dict() for cell in self.cells},
                }
            )
