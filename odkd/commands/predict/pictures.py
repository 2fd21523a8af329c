"""Prediction on pictures of any size, each written when it is done: a later call does the rest."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from odkd.commands.predict.models import Model, single
from odkd.commands.predict.outputs import NOTES, Painter, Wanted, confusion_with, write_maps, write_picture
from odkd.common.files import write_json
from odkd.common.notes import file_digest
from odkd.common.pictures import UNREADABLE
from odkd.data.video.image_index import read_picture


def predict_pictures(
    model: Model, pictures: Sequence[tuple[str, Path]], wanted: Wanted, progress: Callable[[int], object]
) -> tuple[np.ndarray, int, list[Path]]:
    """Predict pictures and write what is wanted, overlays as FOLDER/NAME.png.

    Returns:
        Counted pixels [K, K] of the scored pictures, their number, and the pictures that cannot be read.
    """
    num_classes = len(model.classes)
    confusion_KK, num_scored, unreadable = np.zeros((num_classes, num_classes), np.int64), 0, []
    painter, notes = Painter(model.palette), wanted.folder / NOTES
    for number, (name, path) in enumerate(pictures):
        progress(1)
        facts = [model.identity, file_digest(path, notes), sorted(wanted.kinds), str(wanted.truth)]
        note = notes / f"{name}.json"
        record = json.loads(note.read_text()) if note.is_file() else None
        if record is None or record["facts"] != facts:
            try:
                image_HWC = np.array(read_picture(path))  # a copy: torch takes no array that may not be written
            except (ValueError, *UNREADABLE):
                unreadable.append(path)
                continue
            labels_HW = model.label(single(image_HWC, path.parent.name, number, model.size))[0]
            write_maps(wanted, name, labels_HW, model.palette)
            if "overlay" in wanted.kinds:
                write_picture(wanted.folder / f"{name}.png", Image.fromarray(painter.paint(image_HWC, labels_HW)))
            counted = confusion_with(wanted, name, labels_HW, num_classes)
            record = {"facts": facts, "confusion": None if counted is None else counted.tolist()}
            write_json(note, record)
        if record["confusion"] is not None:
            confusion_KK, num_scored = confusion_KK + np.asarray(record["confusion"]), num_scored + 1
    return confusion_KK, num_scored, unreadable
