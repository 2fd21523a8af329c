"""What is made of predictions: overlay, files of class ids or colours, and scores against ground truth."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from odkd.common.files import write_atomic
from odkd.common.ignore import IGNORE
from odkd.data.labels.exchange import with_palette
from odkd.data.labels.map_files import open_sound
from odkd.evaluation.metrics import class_iou, confusion_matrices, mean_iou, pixel_accuracy

NOTES = ".pictures.predict"  # folder of what is known of pictures that are done
OPACITY = 0.5  # of the classes' colours over the picture


@dataclass(frozen=True)
class Wanted:
    """What the command asks for.

    Args:
        folder: for everything.
        kinds: of overlay, ids, palette.
        truth: folder of label maps to score against, or None.
    """

    folder: Path
    kinds: Sequence[str]
    truth: Path | None = None


class Painter:
    """A painter of classes over pictures."""

    def __init__(self, palette: Sequence[Sequence[int]]) -> None:
        self._shares = np.full((256, 3), 0, np.uint8)  # of each class id
        self._shares[: len(palette)] = np.round(np.asarray(palette) * OPACITY).astype(np.uint8)
        self._dimmed = np.round(np.arange(256) * (1 - OPACITY)).astype(np.uint8)

    def paint(self, image_HWC: np.ndarray, labels_HW: np.ndarray) -> np.ndarray:
        """Return the picture under the colours of its classes, uint8 [H, W, 3]."""
        painted_HWC: np.ndarray = np.take(self._dimmed, image_HWC)
        painted_HWC += np.take(self._shares, labels_HW, axis=0)
        return painted_HWC


def write_maps(wanted: Wanted, name: str, labels_HW: np.ndarray, palette: Sequence[Sequence[int]]) -> None:
    """Write the label map of one frame or picture: FOLDER/ids/NAME.png, FOLDER/palette/NAME.png."""
    if "ids" in wanted.kinds:
        write_picture(wanted.folder / "ids" / f"{name}.png", Image.fromarray(labels_HW))
    if "palette" in wanted.kinds:
        write_picture(wanted.folder / "palette" / f"{name}.png", with_palette(labels_HW, palette))


def write_picture(path: Path, picture: Image.Image) -> None:
    """Write a PNG that has its name when it is complete."""
    content = io.BytesIO()
    picture.save(content, "png")
    write_atomic(path, content.getbuffer(), durable=False)


def confusion_with(wanted: Wanted, name: str, labels_HW: np.ndarray, num_classes: int) -> np.ndarray | None:
    """Return int64 [K, K], pixels by true and predicted class; None where there is no ground truth of this name.

    Raises:
        ValueError: the map has another size, or ids of no class.
    """
    if wanted.truth is None or not (path := wanted.truth / f"{name}.png").is_file():
        return None
    with open_sound(path) as picture:
        truth_HW = np.asarray(picture)
    if truth_HW.shape != labels_HW.shape:
        raise ValueError(f"{path} has the shape {list(truth_HW.shape)}; expected class ids {list(labels_HW.shape)}")
    wrong = truth_HW[(truth_HW >= num_classes) & (truth_HW != IGNORE)]
    if len(wrong):
        raise ValueError(f"{path} has the id {int(wrong[0])}; expected 0 to {num_classes - 1}, or {IGNORE}")
    predicted_BHW, truth_BHW = (torch.from_numpy(array[None].astype(np.uint8)) for array in (labels_HW, truth_HW))
    counted_KK: np.ndarray = confusion_matrices(predicted_BHW, truth_BHW, num_classes)[0].numpy()
    return counted_KK


def scores_of(confusion_KK: np.ndarray, num_frames: int, classes: Sequence[str]) -> Mapping[str, Any]:
    """Return the scores of counted pixels, as odkd's runs have them."""
    counted = torch.from_numpy(confusion_KK)
    ious = class_iou(counted).tolist()
    return {
        "frames": num_frames,
        "miou": mean_iou(counted).item(),
        "accuracy": pixel_accuracy(counted).item(),
        "iou": {name: None if value != value else value for name, value in zip(classes, ious, strict=True)},
    }
