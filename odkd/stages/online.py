"""Online distillation: learn from the past, evaluate on the near future, step (Cioppa et al. 2019; Houyon et al. 2023).

At each position the student learns one pass over the frames that the replay memory selects among those that
have gone by, and is then scored on the frames that come next, which it has never learned from.
"""

import logging
import time
from typing import Literal

import torch

from odkd.common.seeds import named_seed
from odkd.data.video.stream import Stream
from odkd.data.window import Window
from odkd.evaluation.watch import Watch
from odkd.runs.run import OpenRun
from odkd.training.batches import Order, batches_of_pass
from odkd.training.iteration import check_selected, describe, measure, report, save_predictions, warn_of_nothing
from odkd.training.learn import Learner, check_finite
from odkd.training.replay import Replay
from odkd.training.scorer import StudentScorer

logger = logging.getLogger(__name__)


def online(
    *,
    stream: Stream,
    window: Window,
    learner: Learner,
    watch: Watch,
    replay: Replay,
    run: OpenRun,
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
