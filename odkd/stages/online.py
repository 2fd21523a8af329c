"""Online distillation: learn from the past, evaluate on the near future, step (Cioppa et al. 2019; Houyon et al. 2023).

At each position the student learns one pass over the frames that the replay memory selects among those that
have gone by, and is then scored on the frames that come next, which it has never learned from.
"""

import logging
import time
from collections.abc import Sequence
from typing import Any, Literal

import torch

from odkd.batches import Order, batches_of_pass
from odkd.evaluate import Scores
from odkd.labels.shards import FrameArray
from odkd.learn import Learner, check_finite
from odkd.replay import Replay
from odkd.runs import Run
from odkd.scorer import StudentScorer
from odkd.seeds import named_seed
from odkd.video.stream import Stream
from odkd.watch import SUFFIX, Watch
from odkd.window import Step, Window

logger = logging.getLogger(__name__)


def online(
    *,
    stream: Stream,
    window: Window,
    learner: Learner,
    watch: Watch,
    replay: Replay,
    run: Run,
    seed: int,
    epochs: int,
    batch_size: int,
    order: Order,
    pretrain_positions: int | Literal["all"],
    pretrain_epochs: int,
) -> dict[str, float]:
    """Run the loop to the end of the stream, from where an earlier process left it. Returns the summary."""
    bank, last = watch.evaluator.bank, window.num_iterations(len(stream)) - 1
    iteration, pretrained = -1, 0  # done before this process
    if state := run.resume():
        iteration, pretrained = state["iteration"], state["pretrained"]
        learner.load_state_dict(state["learner"])
        replay.load_state_dict(state["replay"])
        watch.load_state_dict(state["watch"])
        logger.info("resumed after iteration %d", iteration)

    def commit() -> None:
        states = {"learner": learner.state_dict(), "replay": replay.state_dict(), "watch": watch.state_dict()}
        run.commit({"iteration": iteration, "pretrained": pretrained, **states})

    scorer = StudentScorer(learner, watch.evaluator, batch_size=batch_size)
    if rest := len(stream) - (last * window.step + window.test):
        logger.info("the last %d of %d sampled frames fill no test window and are not evaluated", rest, len(stream))
    chosen, first = range(len(stream)), 0
    if pretrain_positions != "all":
        chosen, first = range(pretrain_positions), -(-pretrain_positions // window.step)
        if pretrain_positions and first > last:
            raise ValueError(
                f"stage.pretrain_positions={pretrain_positions} leaves nothing of the stream ({len(stream)} sampled "
                f"frames) to be tested on; lower it to {last * window.step} or less"
            )
    warn_of_nothing(learner, (last - first) * epochs + (pretrain_epochs if chosen else 0))
    while chosen and pretrained < pretrain_epochs:
        torch.manual_seed(named_seed(seed, "pretraining", pretrained))
        batches = batches_of_pass(
            chosen, "shuffled", batch_size, stream_positions=chosen, seed=seed, iteration=-1, epoch=pretrained
        )
        losses = learner.learn(bank, batches, stream_positions=chosen)
        check_finite(losses, "pretraining")
        pretrained += 1
        logger.info("before the stream: epoch %d/%d  loss %.3f", pretrained, pretrain_epochs, losses["total"])
        commit()
    for step in window.steps(len(stream), max(first, iteration + 1)):
        torch.manual_seed(named_seed(seed, "iteration", step.iteration))  # dropout; a resumed run draws the same
        started = time.perf_counter()
        selected = replay.select(window.learn, scorer)
        check_selected(selected, window.learn, step, replay)
        bank.prefetch(watch.needs(step))
        losses = {}
        for epoch in range(epochs):
            batches = batches_of_pass(
                selected,
                order,
                batch_size,
                stream_positions=step.gone_by,
                seed=seed,
                iteration=step.iteration,
                epoch=epoch,
            )
            losses = learner.learn(bank, batches, stream_positions=step.gone_by, kept=replay.kept())
            check_finite(losses, f"iteration {step.iteration}")
        learned = time.perf_counter()
        scores, metrics = watch.test(learner.student, step)
        evaluated = time.perf_counter()
        metrics |= watch.elsewhere(learner.student, step)
        watched = time.perf_counter()

        replay.observe(step.fresh, scorer)
        bank.retain({*replay.kept(), *watch.windows(step)})
        save_predictions(run, window, len(stream), step, scores, is_first=step.iteration == first)
        losses = {f"learn/loss_{name}": loss for name, loss in losses.items()}
        record = describe(step, stream, losses | metrics)
        timing = measure(step, len(selected) * epochs, [started, learned, evaluated, watched])
        run.record(record, timing)
        iteration = step.iteration
        if run.is_checkpoint_due() or iteration == last:
            commit()
        report(record, timing, last)
    summary = watch.finish(learner.student, run.records()) | {"num_iterations": len(run.records())}
    run.save_confusions({source: total_DKK.sum(0) for source, total_DKK in watch.totals_DKK.items()})
    return summary


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
    run: Run, window: Window, num_positions: int, step: Step, scores: Scores, *, is_first: bool
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
    references = [f"{metrics[f'test/miou{s}']:.3f} {name}" for name, s in SUFFIX.items() if f"test/miou{s}" in metrics]
    loss = f"loss {metrics['learn/loss_total']:.3f}" if "learn/loss_total" in metrics else "nothing learned"
    logger.info(
        "iteration %d/%d  position %d  %s  %s  mIoU %s  %.1f s",
        *(record["iteration"], last, record["position"], record["domain"], loss, ", ".join(references), seconds),
    )
