"""Prediction on a camera or stream until it ends, a time is over, or Ctrl-C; what it cannot keep up with is dropped."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import ExitStack
from fractions import Fraction

from odkd.commands.predict.models import Model, single
from odkd.commands.predict.outputs import Painter, Wanted, write_maps
from odkd.commands.predict.video import CRF
from odkd.data.video.live import Latest
from odkd.data.video.segments import SegmentWriter, join

logger = logging.getLogger(__name__)
TICK, RATE = Fraction(1, 1000), Fraction(25)  # seconds; for the encoder's budget


def predict_live(
    model: Model, address: str, wanted: Wanted, *, seconds: float | None, progress: Callable[[int], object]
) -> tuple[int, int]:
    """Predict the newest frame again and again; write the overlay to FOLDER/live.mp4 at the end.

    Returns:
        The number of predicted and of dropped frames.

    Raises:
        ValueError: the stream cannot be opened, or yields no picture.
    """
    wanted.folder.mkdir(parents=True, exist_ok=True)
    latest, painter, num_done = Latest(address), Painter(model.palette), 0
    segment = wanted.folder / ".live.nut"
    with ExitStack() as stack:
        stack.callback(latest.close)
        writer, began = None, None
        try:
            while (found := latest.take()) is not None:
                now, image_HWC = found
                began = now if began is None else began
                if seconds is not None and now - began > seconds:
                    break
                begins_clip = num_done % (model.clip_frames or 1) == 0
                labels_HW = model.label(single(image_HWC, "live", num_done, model.size, begins_clip=begins_clip))[0]
                write_maps(wanted, f"live/{num_done:06d}", labels_HW, model.palette)
                if "overlay" in wanted.kinds and writer is None:
                    shape = {"height": labels_HW.shape[0], "width": labels_HW.shape[1]}
                    opened = SegmentWriter(segment, **shape, frame_rate=RATE, time_base=TICK, crf=CRF)
                    writer = stack.enter_context(opened)
                if writer is not None:
                    writer.write(painter.paint(image_HWC, labels_HW), round((now - began) / TICK))
                num_done += 1
                progress(1)
        except KeyboardInterrupt:
            logger.info("interrupted: what was predicted is kept")
    if not num_done:
        raise ValueError(f"{address} yielded no picture{f' ({latest.problem})' if latest.problem else ''}")
    if segment.is_file():
        join([segment], wanted.folder / "live.mp4", audio=None)
        segment.unlink()
    return num_done, latest.num_dropped
