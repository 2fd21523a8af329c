"""Online distillation on several streams at the same time, with one teacher (MSC-TTA: Gérin et al., CVPRW 2024).

Each cell of streams has a student, which learns and is scored as by `stage=online` on the frames of its streams in the
order of time. With one stream the numbers are those of `stage=online`, bit for bit. Under a clock the cells share the
teacher: each stream has a queue, and `teacher` says whose turn it is. Without a clock the teacher labels at once, so
there are no turns.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from odkd.common.progress import Progress
from odkd.common.settings import PositiveInt
from odkd.data.video.stream import Stream
from odkd.data.video.streams import Merged, divide, merge
from odkd.data.window import Window
from odkd.runs.run import OpenRun
from odkd.stages import Traits
from odkd.training.batches import Order
from odkd.training.clock.plan import ClockPlan
from odkd.training.clock.turns import TURNS, MostDrift, Policy
from odkd.training.clocked import Loop, Share
from odkd.training.iteration import Journal, Stopwatch
from odkd.training.loops import loop_of
from odkd.training.online_state import OnlineState
from odkd.training.streams.cells import Cell, Cells, Equip, Equipment, cells_of, frames_by_time
from odkd.training.streams.results import journals_of, save_students, summary_of_cells
from odkd.training.streams.state import CellsState


@dataclass(frozen=True, kw_only=True)
class OnlineStreams:
    """Runs the online loop along several streams.

    Args:
        name: of the stage, in the run's folder and in MLflow.
        learn_from: label source of the training.
        epochs, batch_size, order: as those of `stage=online`.
        streams: name of a stream -> patterns of its videos' names; None = each video is a stream.
        cells: "each": a student for each stream; "all": one for all; or the cell of each stream.
        teacher: whose turn it is at the teacher, under a clock.
    """

    name: str
    learn_from: Literal["teacher", "groundtruth"] = "teacher"
    epochs: PositiveInt = 1
    batch_size: PositiveInt = 1
    order: Order = "stream"
    streams: Mapping[str, Any] | None = None
    cells: Cells = "each"
    teacher: Policy = "round_robin"
    traits: ClassVar[Traits] = Traits(sends_updates=True, leaves_student=False)

    def check(self, *, stream: Stream, window: Window) -> None:
        """Check that streams and cells fit the data set, and the window each cell."""
        parts = divide(stream, self.streams)
        for cell, names in cells_of(list(parts), self.cells).items():
            num_positions = sum(len(parts[name]) for name in names)
            if window.num_iterations(num_positions) < 2:
                raise ValueError(
                    f"the cell {cell} has {num_positions} sampled frames; expected at least "
                    f"window.step={window.step} + window.test={window.test}, so that something is learned"
                )

    def run(
        self, *, stream: Stream, window: Window, equip: Equip, clock: ClockPlan, run: OpenRun, seed: int
    ) -> dict[str, float]:
        """Follow all streams to their ends, from where an earlier process stopped, and return the summary."""
        parts = divide(stream, self.streams)
        turns = TURNS[self.teacher]()
        desk = clock.shared_desk(turns, len(parts))
        note = turns.note if isinstance(turns, MostDrift) and len(parts) > 1 and not clock.is_instant else None
        cells: list[Cell] = []
        for name, names in cells_of(list(parts), self.cells).items():
            merged = merge(stream, [parts[one] for one in names], clock.arrivals)
            equipment = equip(merged)
            state = OnlineState(run, equipment.learner, equipment.replay, equipment.watch)
            share = Share(desk, merged.stream_of_P.tolist(), len(names), note)
            loop = self._loop(equipment, merged, window, share, clock=clock, seed=seed)
            cells.append(Cell(name, names, merged, state, loop, window))
        states = CellsState(run, cells, desk)
        states.resume()
        self._follow(states, journals_of(run, cells, window), window)
        save_students(run, cells)
        return summary_of_cells(run, cells, None if clock.is_instant else clock.durations)

    def _follow(self, states: CellsState, journals: Mapping[str, Journal], window: Window) -> None:
        """Let all frames arrive by time, and end an iteration of a cell with the last frame of its step."""
        total = sum(len(cell.merged.stream) for cell in states.cells)
        with Progress(self.name, "frames", total, done=states.num_done, seconds=None) as progress:
            stopwatch = Stopwatch()
            for cell, step, position in frames_by_time(states.cells, window):
                cell.loop.arrive(step, position)
                if position != step.fresh[-1]:
                    continue
                losses = cell.loop.settle(step)
                stopwatch.lap("learn")  # under a clock also what other cells have learned since the last line
                scores, metrics = cell.state.watch.test_answers(cell.loop.answers(step), step)
                stopwatch.lap("evaluate")
                metrics |= cell.state.watch.elsewhere(cell.loop.network(step), step)
                stopwatch.lap("watch")
                metrics |= cell.loop.end(step)
                cell.count(step, scores)
                place = states.next_line(cell, step)
                num_learned = cell.loop.costs.num_learned
                journal = journals[cell.name]
                journal.write(step, scores, losses | metrics, stopwatch, num_learned=num_learned, place=place)
                cell.state.iteration = step.iteration
                states.commit_if_due(journals.values())
                journal.report()
                progress(states.num_done)
                stopwatch = Stopwatch()

    def _loop(
        self, equipment: Equipment, merged: Merged, window: Window, share: Share, *, clock: ClockPlan, seed: int
    ) -> Loop:
        """Return the loop of a cell."""
        return loop_of(
            *(equipment.learner, equipment.replay, equipment.watch, window),
            passes=self,
            seed=seed,
            arrivals=merged.arrivals,
            first=0,
            clock=clock,
            pace=equipment.pace,
            share=share,
        )
