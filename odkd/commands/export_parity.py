"""How far the answers of an exported file are from those of the network in float32: logits, classes, and mIoU."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from odkd.commands.export_frames import Frames
from odkd.common.progress import tracked
from odkd.evaluation.metrics import confusion_matrices, mean_iou
from odkd.teachers.export import Export
from odkd.teachers.exported_network import open_network

ITSELF = "float32"  # the reference where a frame has no labels: the network's own classes


def compare(export: Export, path: Path, frames: Frames, *, with_miou: bool = False) -> dict[str, Any]:
    """Return how far the file's answers are from those of the network in float32, one image at a time.

    Returns:
        frames; largest_difference of logits; differing_pixels, the share that gets another class; with `with_miou`,
        miou: reference -> [that of the network, that of the file].
    """
    run = open_network(path, torch.device("cpu"))
    network, num_classes = export.plain(), len(export.classes)
    largest, num_different, num_pixels = 0.0, 0, 0
    counts: dict[str, list[Tensor]] = {}
    with torch.inference_mode():
        for number, given_BCHW in enumerate(given(export, frames.images_NHWC)):
            expected_BKHW, answered_BKHW = network(given_BCHW), run(given_BCHW)
            largest = max(largest, float((expected_BKHW - answered_BKHW).abs().max()))
            classes = [expected_BKHW.argmax(1), answered_BKHW.argmax(1)]
            num_different += int((classes[0] != classes[1]).sum())
            num_pixels += classes[0].numel()
            known = {name: torch.from_numpy(np.array(maps[number]))[None] for name, maps in frames.labels.items()}
            for name, labels_BHW in (known or {ITSELF: classes[0]}).items() if with_miou else ():
                counted = [confusion_matrices(found_BHW, labels_BHW, num_classes)[0] for found_BHW in classes]
                counts[name] = (
                    [a + b for a, b in zip(counts[name], counted, strict=True)] if name in counts else counted
                )
    parity = {
        "frames": len(frames.images_NHWC),
        "largest_difference": largest,
        "differing_pixels": num_different / num_pixels,
    }
    miou = {name: [float(mean_iou(total_KK)) for total_KK in totals] for name, totals in counts.items()}
    return parity | ({"miou": miou} if with_miou else {})


def given(export: Export, images_NHWC: np.ndarray) -> Iterator[Tensor]:
    """Yield each image as the exported file takes it: float32 [1, 3, H, W]."""
    described = export.description()
    scale = 1.0 if described.get("scale") == "0..255" else 255.0
    mean, std = (torch.tensor(described[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    for image_HWC in tracked(images_NHWC, "compared", "frames"):
        image_BCHW = torch.from_numpy(np.ascontiguousarray(image_HWC)).permute(2, 0, 1)[None].float() / scale
        yield ((image_BCHW - mean) / std).contiguous()


def lost_miou(parity: Mapping[str, Any]) -> dict[str, float]:
    """Return the mIoU that a file has lost against the network, by reference; 0.01 is one point.

    >>> lost_miou({"miou": {"teacher": [0.5, 0.25]}})
    {'teacher': 0.25}
    """
    return {name: network - file for name, (network, file) in parity["miou"].items()}
