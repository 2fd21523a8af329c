"""The bookkeeping of an online iteration: its metrics line, its predictions, its line on the console."""

import logging
import time
from collections.abc import Sequence
from typing import Any

from odkd.common.metric_names import REFERENCES, metric_name
from odkd.data.labels.shards import FrameArray
from odkd.data.video.stream import Stream
from odkd.data.window import Step, Window
from odkd.evaluation.evaluate import Scores
from odkd.runs.run import OpenRun
from odkd.training.learn import Learner
from odkd.training.replay import Replay

logger = logging.getLogger(__name__)


def warn_of_nothing(learner: Learner, num_passes: int) -> None:
    """Say so if a regularizer would never set in."""
    needed = getattr(learner.regularizer, "sets_in_after_passes", 0)
    if needed >= num_passes:
        name = type(learner.regularizer).__name__
        logger.warning(
            "regularizer %s sets in after %d passes, and this run has %d: it will change nothing; "
            "lower regularizer.warmup_passes",
            *(name, needed, num_passes),
        )


def check_selected(selected: Sequence[int], num_positions: int, step: Step, replay: Replay) -> None:
    """Hold a replay memory to the rules that every score and every comparison rests on.

    Raises:
        ValueError: it selects what has not gone by yet, a position twice, or more than `num_positions`.
    """
    if len(set(selected)) < len(selected) or not all(0 <= position < step.position for position in selected):
        raise ValueError(
            f"replay {type(replay).__name__} selects position {max(selected)} at position {step.position}; expected "
            "positions that have gone by, each once"
        )
    if len(selected) > num_positions:
        raise ValueError(
            f"replay {type(replay).__name__} selects {len(selected)} positions at position {step.position}; expected "
            f"at most window.learn={num_positions}, which is what every method learns from"
        )


def describe(step: Step, stream: Stream, metrics: dict[str, float]) -> dict[str, Any]:
    """The metrics line of an iteration: nothing in it depends on the clock."""
    video, segment = int(stream.video_of[step.position]), int(stream.segment_of[step.position])
    where = {
        "stream/position": step.position,
        "stream/frame": sum(v.num_frames for v in stream.videos[:video]) + int(stream.frame_of[step.position]),
        "stream/seconds": float(stream.seconds[step.position]),
    }
    return {
        "iteration": step.iteration,
        "position": step.position,
        "domain": stream.domain_of(step.position),  # of the test window's first frame
        "domain_began": stream.domain_began(step.position),
        "segment": segment if segment == int(stream.segment_of[step.test[-1]]) else None,  # None: it lies in two
        "segments_learned": sum(part.stop <= step.position for part in stream.segments),
        "metrics": where | metrics,
    }


def measure(step: Step, num_learned: int, moments: list[float]) -> dict[str, Any]:
    """The timing line of an iteration; `moments`: begun, learned (with the replay's choice), evaluated, watched."""
    started, learned, evaluated, watched = moments
    metrics = {
        "time/learn_seconds": learned - started,
        "time/evaluate_seconds": evaluated - learned,
        "time/watch_seconds": watched - evaluated,
        "time/learn_frames_per_second": num_learned / (learned - started),
        "time/evaluate_frames_per_second": len(step.test) / (evaluated - learned),
    }
    return {"iteration": step.iteration, "time": time.time(), "metrics": metrics}


def save_predictions(
    run: OpenRun, window: Window, num_positions: int, step: Step, scores: Scores, *, is_first: bool
) -> None:
    """Keep each position's last prediction before it is learned from: a Zarr array, one shard an iteration.

    The last iteration keeps its whole test window: no later one evaluates the rest.
    """
    height, width = scores.predictions_NHW.shape[1:]
    folder = run.folder / "predictions"
    store = FrameArray(folder, num_frames=num_positions, shape=(height, width), shard_frames=window.step)
    if is_first:
        store.create({"what": "class ids predicted by the newest student that had not learned from the frame"})
    predictions = dict(zip(step.test, scores.predictions_NHW, strict=True))
    is_last = step.iteration == window.num_iterations(num_positions) - 1
    for shard in range(step.iteration, store.num_shards if is_last else step.iteration + 1):
        if found := {p: predictions[p] for p in store.shard_range(shard) if p in predictions}:
            store.write(shard, found)


def report(record: dict[str, Any], timing: dict[str, Any], last: int) -> None:
    """One line to the console."""
    metrics = record["metrics"]
    seconds = timing["metrics"]["time/learn_seconds"] + timing["metrics"]["time/evaluate_seconds"]
    found = {name: metrics.get(metric_name("test", "miou", name)) for name in REFERENCES}
    references = [f"{miou:.3f} {name}" for name, miou in found.items() if miou is not None]
    loss = f"loss {metrics['learn/loss_total']:.3f}" if "learn/loss_total" in metrics else "nothing learned"
    logger.info(
        "iteration %d/%d  position %d  %s  %s  mIoU %s  %.1f s",
        *(record["iteration"], last, record["position"], record["domain"], loss, ", ".join(references), seconds),
    )
