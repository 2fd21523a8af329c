"""What the page of a session shows, made when it is time to; and the lines of its log."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Mapping

from odkd.common.metric_names import metric_name
from odkd.runs.lines import Record
from odkd.runs.page.view import Page, View
from odkd.training.live.plan import LivePlan
from odkd.training.live.session import Session

logger = logging.getLogger(__name__)
SHOW_SECONDS = 0.1  # between two views
SHOWN = (  # of a line, on the page
    *("clock/weights_age_seconds", "clock/label_age_seconds", "clock/teacher_utilisation", "clock/trainer_utilisation"),
    *("clock/frames_dropped", "live/latency_seconds", "live/memory_bytes", "learn/loss_total", "test/miou"),
)


class Showing:
    """Gives views to a page, a few times a second at most.

    Args:
        page: that shows them.
        state: returns what each part does, by name.
    """

    def __init__(self, page: Page, plan: LivePlan, session: Session) -> None:
        self._page, self._plan, self._session = page, plan, session
        self._next = 0.0

    def show(self, state: Mapping[str, str]) -> None:
        """Show the session as it is now, unless the last view is new enough."""
        now = time.monotonic()
        if now < self._next or self._page.address is None:
            return
        self._next = now + SHOW_SECONDS
        session, plan = self._session, self._plan
        with session.lock:
            newest, taught = session.newest, session.taught
            of_line = {name: session.line[name] for name in SHOWN if name in session.line}
            seconds, scores = session.seconds(), tuple(session.scoring.so_far)
        self._page.show(
            View(
                seconds=seconds,
                frame_number=0 if newest is None else newest[0].number,
                image_HWC=None if newest is None else newest[0].image_HWC,
                labels_HW=None if newest is None else newest[1],
                teacher_image_HWC=None if taught is None or taught[0] is None else taught[0].image_HWC,
                teacher_labels_HW=None if taught is None else taught[1],
                teacher_made_seconds=None if taught is None else taught[2],
                scores=scores,
                numbers=of_line | session.counts(),
                state=dict(state),
                palette=plan.palette,
                classes=list(plan.classes),
                title=plan.title,
            )
        )


def tell(record: Record) -> None:
    """Log a metrics line."""
    metrics = record["metrics"]
    loss = metrics.get("learn/loss_total")
    counts = [metrics[metric_name("live", name)] for name in ("frames", "frames_skipped")]
    miou, age = metrics["test/miou"], metrics["clock/weights_age_seconds"]
    logger.info(
        "step %d  %.0f s  %s  %s  %d labelled  %s, %s  %d frames, %d skipped",
        *(record["iteration"], metrics["stream/seconds"], record["domain"] or "-"),
        *("no label" if math.isnan(miou) else f"mIoU {miou:.3f}", metrics["cost/teacher_frames"]),
        *("nothing learned" if loss is None else f"loss {loss:.3f}",),
        *("first weights" if math.isnan(age) else f"weights {age:.1f} s old", *counts),
    )
