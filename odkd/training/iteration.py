"""The parts of the online loop: its state, the choice of frames, the passes over them, and its records."""

import logging
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

from odkd.common.console import IN_BAR
from odkd.common.metric_names import REFERENCES, metric_name
from odkd.common.progress import Progress
from odkd.data.labels.appended import AppendedFrames
from odkd.data.labels.shards import FrameArray
from odkd.data.tensor_bank import Bank
from odkd.data.video.stream import Stream
from odkd.data.window import Step, Window
from odkd.evaluation.answers import Scores
from odkd.runs.lines import Record
from odkd.runs.run import OpenRun
from odkd.training.batches import Order, batches_of_pass
from odkd.training.learn import Learner
from odkd.training.loss_values import check_finite
from odkd.training.replay import Replay
from odkd.training.scorer import StudentScorer

logger = logging.getLogger(__name__)
ITERATIONS_PER_FILE = 64  # whose predictions lie in one file


class Passes(Protocol):
    """How the selected frames of an iteration are learned from; a stage's settings."""

    @property
    def epochs(self) -> int: ...
    @property
    def batch_size(self) -> int: ...
    @property
    def order(self) -> Order: ...


class Stopwatch:
    """Seconds of each part of an iteration, from its creation on."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._before = time.perf_counter()

    def lap(self, name: str) -> None:
        """End a part."""
        now = time.perf_counter()
        self.seconds[name], self._before = now - self._before, now


def select(replay: Replay, window: Window, step: Step, scorer: StudentScorer) -> list[int]:
    """Return the past positions to learn from, as the replay memory selects them.

    Raises:
        ValueError: the memory selects a position that is not past, a position twice, or more than `window.learn`.
    """
    selected = replay.select(window.learn, scorer)
    counts = Counter(selected)
    wrong = [p for p, count in counts.items() if count > 1 or not 0 <= p < step.position]
    if wrong:
        raise ValueError(
            f"replay {type(replay).__name__} selects position {wrong[0]} at position {step.position}; expected past "
            "positions, each once"
        )
    if len(selected) > window.learn:
        raise ValueError(
            f"replay {type(replay).__name__} selects {len(selected)} positions at position {step.position}; expected "
            f"at most window.learn={window.learn}, which is what every method learns from"
        )
    return selected


def learn(
    learner: Learner,
    bank: Bank,
    selected: Sequence[int],
    step: Step,
    replay: Replay,
    *,
    passes: Passes,
    seed: int,
    told: Callable[[int], object] = lambda _: None,
) -> dict[str, float]:
    """Make the passes over the selected positions, and have the camera get what they change.

    Return metrics by name: the mean losses of the last pass, and what was sent. `told` is called after each update with
    the number of its positions.
    """
    losses: dict[str, float] = {}
    if selected:
        learner.updates.begin()
    past: Collection[int] = step.gone_by
    for epoch in range(passes.epochs):
        batches = batches_of_pass(
            selected,
            passes.order,
            passes.batch_size,
            stream_positions=past,
            seed=seed,
            iteration=step.iteration,
            epoch=epoch,
        )
        is_apart = passes.order == "paired_apart"
        losses = learner.learn(bank, batches, stream_positions=past, kept=replay.kept(), is_apart=is_apart, told=told)
        check_finite(losses, f"iteration {step.iteration}")
    return ended(learner, losses)


def ended(learner: Learner, losses: Mapping[str, float]) -> dict[str, float]:
    """Send what a training has changed; return its losses, and what was sent, by metric name."""
    found = {metric_name("learn", f"loss_{name}"): loss for name, loss in losses.items()}
    return found | learner.updates.send()


class Journal:
    """Writes what a run keeps of each iteration: predictions, a metrics line and a timing line.

    Args:
        run: the run.
        stream: what it follows.
        window: how far an iteration reaches.
        place: of the predictions, below the run's folder.
    """

    def __init__(self, run: OpenRun, stream: Stream, window: Window, place: Path = Path()) -> None:
        self._folder = run.folder / place / "predictions"
        self.last = self.last_line = window.num_iterations(len(stream)) - 1
        self._run, self._stream, self._window = run, stream, window
        self._predictions: AppendedFrames | None = None  # from the first iteration of this process on
        self._newest: tuple[Record, Record] | None = None
        self._progress: Progress | None = None
        self._so_far: Callable[[], str] | None = None

    def write(
        self,
        step: Step,
        scores: Scores,
        metrics: dict[str, float],
        clock: Stopwatch,
        *,
        num_learned: int,
        place: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """Write an iteration; the lines are published with the next checkpoint.

        Args:
            place: of its line among those of other streams, in the place of what the step says.
        """
        self._save_predictions(step, scores)
        timing = measure(step, num_learned, clock)
        line = describe(step, self._stream, metrics) | dict(place)
        line["metrics"][metric_name("stream", "position")] = line["position"]
        timing["iteration"] = line["iteration"]
        self._newest = line, timing
        self._run.record(*self._newest)

    def flush(self) -> None:
        """Bring the predictions to the disk, behind the loop; a checkpoint may follow."""
        if self._predictions is not None:
            self._run.behind.do(self._predictions.flush)

    def show_on(self, progress: Progress, so_far: Callable[[], str]) -> None:
        """Have `report` show the position, and the scores so far, on a bar."""
        self._progress, self._so_far = progress, so_far

    def report(self) -> None:
        """Log the newest iteration in one line; in a terminal a bar shows the position, and the scores so far."""
        assert self._newest is not None
        record, timing = self._newest
        metrics, times = record["metrics"], timing["metrics"]
        found = {name: metrics.get(metric_name("test", "miou", name)) for name in REFERENCES}
        references = [f"{miou:.3f} {name}" for name, miou in found.items() if miou is not None]
        loss = metrics.get(metric_name("learn", "loss_total"))
        logger.info(
            "iteration %d/%d  position %d  %s  %s  mIoU %s  %.1f s",
            *(record["iteration"], self.last_line, record["position"], record["domain"]),
            *("nothing learned" if loss is None else f"loss {loss:.3f}", ", ".join(references)),
            times["time/learn_seconds"] + times["time/evaluate_seconds"],
            extra=IN_BAR,
        )
        is_last = record["iteration"] == self.last_line
        if self._progress is not None:
            done = len(self._stream) if is_last else record["position"] + self._window.step
            self._progress(done, shown=self._so_far)

    def _save_predictions(self, step: Step, scores: Scores) -> None:
        """Keep the last prediction of each position before it is learned from, in a Zarr array.

        It is written behind the loop, before the next checkpoint.

        The last iteration keeps its complete test window, because no later one evaluates the rest.
        """
        if self._predictions is None:
            self._predictions = self._open_predictions(step.position, scores.predictions_NHW.shape[1:])
        is_last = step.iteration == self.last
        kept = step.test if is_last else step.test[: self._window.step]
        found = {position: scores.predictions_NHW[position - step.position] for position in kept}
        self._run.behind.do(partial(self._predictions.append, found))
        if is_last:
            self._run.behind.do(self._predictions.finish)

    def _open_predictions(self, start: int, shape: tuple[int, ...]) -> AppendedFrames:
        """Return the writer of predictions/, whose shards hold many iterations each; those of an old run hold one."""
        folder = self._folder
        self._run.behind.wait()
        if not (folder / "zarr.json").is_file():
            frames = ITERATIONS_PER_FILE * self._window.step
            array = FrameArray(folder, num_frames=len(self._stream), shape=shape, shard_frames=frames, separator=".")
            array.create({"what": "class ids predicted by the newest student that had not learned from the frame"})
        return AppendedFrames(FrameArray.open(folder), start)


def describe(step: Step, stream: Stream, metrics: dict[str, float]) -> dict[str, Any]:
    """Return the metrics line of an iteration; nothing in it depends on the clock."""
    video, segment = int(stream.video_of[step.position]), int(stream.segment_of[step.position])
    where = {
        metric_name("stream", "position"): step.position,
        metric_name("stream", "frame"): stream.frames_before[video] + int(stream.frame_of[step.position]),
        metric_name("stream", "seconds"): float(stream.seconds[step.position]),
    }
    return {
        "iteration": step.iteration,
        "position": step.position,
        "domain": stream.domain_of(step.position),  # of the test window's first frame
        "domain_began": stream.domain_began(step.position),
        "segment": segment
        if segment == int(stream.segment_of[step.test[-1]])
        else None,  # None: the window lies in two
        "segments_learned": sum(part.stop <= step.position for part in stream.segments),
        "metrics": where | metrics,
    }


def measure(step: Step, num_learned: int, clock: Stopwatch) -> dict[str, Any]:
    """Return the timing line of an iteration; learning includes the choice of the replay memory."""
    seconds = clock.seconds
    metrics = {metric_name("time", f"{part}_seconds"): seconds[part] for part in ("learn", "evaluate", "watch")}
    metrics[metric_name("time", "learn_frames_per_second")] = num_learned / seconds["learn"]
    metrics[metric_name("time", "evaluate_frames_per_second")] = len(step.test) / seconds["evaluate"]
    return {"iteration": step.iteration, "time": time.time(), "metrics": metrics}
