"""Online distillation: learn from the past, evaluate on the near future, step (Cioppa et al. 2019; Houyon et al. 2023).

At each position the student learns one pass over the frames that the replay memory selects among those that
have gone by, and is then scored on the frames that come next, which it has never learned from.
"""

import logging
import math
import time
from collections.abc import Sequence
from typing import Any

import torch

from odkd.batches import Order, batches_of_pass
from odkd.evaluate import Evaluator, Scores, mean_ignoring_nan, score_metrics
from odkd.labels.shards import FrameArray
from odkd.learn import Learner
from odkd.replay import Replay
from odkd.runs import Run
from odkd.scorer import StudentScorer
from odkd.seeds import named_seed
from odkd.video.stream import Stream
from odkd.window import Step, Window

logger = logging.getLogger(__name__)
SUFFIX = {"teacher": "", "groundtruth": "_groundtruth"}  # of a metric's name: its reference


def online(
    *,
    stream: Stream,
    window: Window,
    learner: Learner,
    evaluator: Evaluator,
    replay: Replay,
    classes: Sequence[str],
    run: Run,
    seed: int,
    epochs: int,
    batch_size: int,
    order: Order,
) -> dict[str, float]:
    """Run the loop to the end of the stream, from where an earlier process left it. Returns the summary."""
    bank = evaluator.bank
    totals = {source: torch.zeros(len(classes), len(classes), dtype=torch.int64) for source in bank.sources}
    start = 0
    if state := run.resume():
        start = state["iteration"] + 1
        totals = state["totals"]
        learner.load_state_dict(state["learner"])
        replay.load_state_dict(state["replay"])
        logger.info("resumed after iteration %d", state["iteration"])
    scorer = StudentScorer(learner, evaluator, batch_size=batch_size)
    last = window.num_iterations(len(stream)) - 1
    if rest := len(stream) - (last * window.step + window.test):
        logger.info("the last %d of %d sampled frames fill no test window and are not evaluated", rest, len(stream))
    for step in window.steps(len(stream), start):
        torch.manual_seed(named_seed(seed, "iteration", step.iteration))  # dropout; a resumed run draws the same
        started = time.perf_counter()
        selected = replay.select(window.learn, scorer)
        bank.prefetch(step.test)
        losses: dict[str, float] = {}
        for epoch in range(epochs):
            batches = batches_of_pass(
                selected,
                order=order,
                batch_size=batch_size,
                stream_positions=step.gone_by,
                seed=seed,
                iteration=step.iteration,
                epoch=epoch,
            )
            losses = learner.learn(bank, batches, stream_positions=step.gone_by, kept=replay.kept())
            check_finite(losses, step.iteration)
        learned = time.perf_counter()
        scores = evaluator.scores(learner.student, step.test)
        evaluated = time.perf_counter()

        totals = {source: total + scores.confusions[source].sum(0) for source, total in totals.items()}
        replay.observe(step.fresh, scorer)
        bank.retain({*replay.kept(), *step.test})
        save_predictions(run, window, len(stream), step, scores)
        record = describe(step, stream, classes, losses, scores)
        timing = measure(step, len(selected) * epochs, started, learned, evaluated)
        run.record(record, timing)
        if run.is_checkpoint_due() or step.iteration == last:
            run.commit(
                {
                    "iteration": step.iteration,
                    "learner": learner.state_dict(),
                    "replay": replay.state_dict(),
                    "totals": totals,
                }
            )
        report(record, timing, last)
    return summarize(run, totals, classes)


def check_finite(losses: dict[str, float], iteration: int) -> None:
    """Stop a run that has diverged: nothing that it would publish means anything.

    Raises:
        ValueError: a loss is infinite or not a number.
    """
    if bad := [name for name, loss in losses.items() if not math.isfinite(loss)]:
        raise ValueError(
            f"the loss ({', '.join(bad)}) is not finite in iteration {iteration}: the student has diverged; "
            "lower optimizer.lr, or check loss.class_weights and the teacher's labels"
        )


def describe(
    step: Step, stream: Stream, classes: Sequence[str], losses: dict[str, float], scores: Scores
) -> dict[str, Any]:
    """The metrics line of an iteration: nothing in it depends on the clock."""
    video = int(stream.video_of[step.position])
    metrics: dict[str, float] = {
        "stream/position": step.position,
        "stream/frame": sum(v.num_frames for v in stream.videos[:video]) + int(stream.frame_of[step.position]),
        "stream/seconds": float(stream.seconds[step.position]),
    }
    metrics |= {f"learn/loss_{name}": loss for name, loss in losses.items()}
    for source, confusions_NKK in scores.confusions.items():
        found = score_metrics(confusions_NKK, classes, suffix=SUFFIX[source])
        metrics |= {f"test/{name}": value for name, value in found.items()}
    # A test window that spans a change of domain is named after its first frame.
    return {"iteration": step.iteration, "position": step.position, "domain": stream.domains[video], "metrics": metrics}


def measure(step: Step, num_learned: int, started: float, learned: float, evaluated: float) -> dict[str, Any]:
    """The timing line of an iteration."""
    metrics = {
        "time/learn_seconds": learned - started,
        "time/evaluate_seconds": evaluated - learned,
        "time/learn_frames_per_second": num_learned / (learned - started),
        "time/evaluate_frames_per_second": len(step.test) / (evaluated - learned),
    }
    return {"iteration": step.iteration, "time": time.time(), "metrics": metrics}


def save_predictions(run: Run, window: Window, num_positions: int, step: Step, scores: Scores) -> None:
    """Keep each position's last prediction before it is learned from: a Zarr array, one shard an iteration.

    The last iteration keeps its whole test window: no later one evaluates the rest.
    """
    height, width = scores.predictions_NHW.shape[1:]
    folder = run.folder / "predictions"
    store = FrameArray(folder, num_frames=num_positions, shape=(height, width), shard_frames=window.step)
    if step.iteration == 0:
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
    references = [f"{metrics[f'test/miou{s}']:.3f} {name}" for name, s in SUFFIX.items() if f"test/miou{s}" in metrics]
    loss = f"loss {metrics['learn/loss_total']:.3f}" if "learn/loss_total" in metrics else "nothing to learn from yet"
    logger.info(
        "iteration %d/%d  position %d  %s  %s  mIoU %s  %.1f s",
        *(record["iteration"], last, record["position"], record["domain"], loss, ", ".join(references), seconds),
    )


def summarize(run: Run, totals: dict[str, torch.Tensor], classes: Sequence[str]) -> dict[str, float]:
    """Final numbers: `final/...` from one matrix over all test windows, `mean/...` the plain mean over iterations."""
    summary: dict[str, float] = {}
    for source, total_KK in totals.items():
        found = score_metrics(total_KK[None], classes, suffix=SUFFIX[source])
        # One matrix over the whole stream has no frames of its own: the mean over frames is under mean/.
        summary |= {f"final/{name}": value for name, value in found.items() if not name.startswith("miou_per_frame")}
    records = run.records()
    for source in totals:
        for name in ("accuracy", "miou", "miou_per_frame"):
            key = f"{name}{SUFFIX[source]}"
            summary[f"mean/{key}"] = mean_ignoring_nan(record["metrics"][f"test/{key}"] for record in records)
    summary["num_iterations"] = len(records)
    run.save_confusions(totals)
    return summary
