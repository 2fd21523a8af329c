"""Stills of a run: frame, labels, prediction and disagreement, stored in the run folder as WebP."""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from odkd.common.files import check_own, write_atomic
from odkd.common.pictures import UNREADABLE, open_picture
from odkd.common.reading import read_bytes, shown
from odkd.report.html import Picture, data_uri
from odkd.report.overlay import OverlayPainter, Pixels
from odkd.runs.records import read_stills_note, still_file, write_record_of

NUM_EVENLY = 6  # stills evenly spaced along the stream, besides those of the best and the worst iteration
MAX_WIDTH = 1000  # pixels of a still
SHOWN_WIDTH = 640  # CSS pixels: two fit in a row; prints and enlargements show all pixels
QUALITY = 72  # of WebP, 0 to 100
MAX_BYTES = 2_000_000  # of all stills of a page; the last ones are omitted if there are more


def choose(scores: Sequence[float]) -> dict[int, str]:
    """Return the iterations to show with the reason: evenly spaced ones (""), the best and the worst.

    The first iteration is never the worst, because its student has learned nothing yet.

    >>> choose([0.0, 0.5, 0.2, 0.9])
    {0: '', 1: '', 2: 'lowest mIoU after the first', 3: 'highest mIoU'}
    """
    chosen = dict.fromkeys(evenly(len(scores)), "")
    known = [index for index in range(1, len(scores)) if not np.isnan(scores[index])]
    if len(known) > 2:
        chosen[min(known, key=lambda index: scores[index])] = "lowest mIoU after the first"
        chosen[max(known, key=lambda index: scores[index])] = "highest mIoU"
    return {index: chosen[index] for index in sorted(chosen)}


def evenly(num_items: int) -> list[int]:
    """Return the indices of up to NUM_EVENLY items, including the first and the last."""
    return sorted({round(index) for index in np.linspace(0, num_items - 1, NUM_EVENLY)}) if num_items else []


def write_stills(
    run_folder: Path,
    frames: Iterable[tuple[int, str, Pixels, Pixels, Pixels]],
    *,
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    titles: tuple[str, str] = ("teacher", "student"),
) -> None:
    """Write stills/00.webp, ..., and stills.json with their captions.

    Args:
        run_folder: of the run.
        frames: (step, caption, image_HWC uint8 RGB, reference_HW uint8, predicted_HW uint8), all of one size;
            255 = ignore. The step is the iteration or the number of the image, and orders the stills.
        classes, palette: names and RGB colours in the order of the class ids.
        titles: of the panels of the reference and of the prediction.
    """
    check_own(run_folder, run_folder / "stills" / "stills.json")
    painter: OverlayPainter | None = None
    captions: list[dict[str, str | int]] = []
    for step, caption, image_HWC, reference_HW, predicted_HW in frames:
        if painter is None:
            painter = OverlayPainter(*reference_HW.shape, classes=classes, palette=palette, titles=titles)
        still = Image.fromarray(painter.paint(image_HWC, reference_HW, predicted_HW, caption))
        if still.width > MAX_WIDTH:
            size = (MAX_WIDTH, round(still.height * MAX_WIDTH / still.width))
            still = still.resize(size, Image.Resampling.LANCZOS)
        buffer = io.BytesIO()
        still.save(buffer, "WEBP", quality=QUALITY, method=4)
        name = f"{len(captions):02d}.webp"
        write_atomic(run_folder / "stills" / name, buffer.getvalue(), durable=False)
        captions.append({"file": name, "caption": caption, "step": step})
    if captions:
        write_record_of(run_folder / "stills" / "stills.json", {"titles": list(titles), "stills": captions})


def read_stills(run_folder: Path) -> list[Picture]:
    """Return the stills that `write_stills` wrote, up to MAX_BYTES."""
    known = read_stills_note(run_folder)
    if len(known.get("titles", ())) != 2:
        return []
    reference, prediction = known["titles"]
    pictures, num_bytes = [], 0
    for still in known["stills"]:
        path = still_file(run_folder, still)
        check_own(run_folder, path)
        content = read_bytes(path, MAX_BYTES)
        num_bytes += len(content)
        if num_bytes > MAX_BYTES:
            break
        alt = f"Four panels: the frame, labels of the {reference}, of the {prediction}, and where they differ, in red. "
        try:
            with open_picture(content) as picture:
                width = picture.width
        except UNREADABLE as error:
            raise ValueError(f"{shown(path)} is damaged ({error}); delete the folder stills") from error
        pictures.append(
            Picture(data_uri(content, "webp"), alt + still["caption"], still["caption"], width=min(width, SHOWN_WIDTH))
        )
    return pictures
