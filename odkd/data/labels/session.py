"""The record of what one process labelled: which frames, when, how long, on which device, with which libraries."""

import os
import platform
import sys
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import numpy as np

from odkd.common.optional import version_of
from odkd.common.progressions import extend, stretches_entry
from odkd.data.labels.store import LabelStore
from odkd.data.labels.teacher_labels import VideoLabels

LIBRARIES = {  # module -> distributions that may bring it, of the libraries whose version may influence labels
    "torch": ("torch",),
    "segmentation_models_pytorch": ("segmentation-models-pytorch",),
    "transformers": ("transformers",),
    "mmseg": ("onedl-mmsegmentation", "mmsegmentation"),
    "mmcv": ("onedl-mmcv", "mmcv", "mmcv-lite"),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "av": ("av",),
}


class Session:
    """The labelling record of this process, updated in a video's store with each shard; `odkd-labels info` shows it."""

    def __init__(self, device: str) -> None:
        self._device = device
        self._name = f"{datetime.now(UTC):%Y%m%dT%H%M%S}-{uuid.uuid4().hex[:8]}"
        self._records: dict[int, dict[str, Any]] = {}
        self._last, self._last_time = time.monotonic(), _now()
        self._rows: dict[int, list[list[int]]] = {}  # of each video, as progressions of step 1
        self._dropped: dict[int, list[float]] = {}

    def add(self, video: VideoLabels, store: LabelStore, rows: list[int], dropped: list[float]) -> None:
        """Record rows that were just stored; `dropped` is the probability that top-k omitted in each frame, 0..1."""
        if video.number not in self._records:  # reading the versions is slow: once per video
            self._records[video.number] = self._begin(video)
        record = self._records[video.number]
        now = time.monotonic()
        record["seconds"] += round(now - self._last, 3)
        self._last, self._last_time = now, _now()
        extend(self._rows.setdefault(video.number, []), rows)
        record["updated"] = self._last_time
        values = self._dropped.setdefault(video.number, [])
        values += dropped
        if values:
            record["dropped_probability"] = {"mean": sum(values) / len(values), "worst_frame": max(values)}
        store.write_session(self._name, record | stretches_entry("frames", self._rows[video.number]))

    def _begin(self, video: VideoLabels) -> dict[str, Any]:
        loaded = {names[0]: version_of(*names) for module, names in LIBRARIES.items() if sys.modules.get(module)}
        versions = {"odkd": version_of("odkd")} | loaded
        return {
            "started": self._last_time,
            "updated": "",
            "seconds": 0.0,
            "host": platform.node(),
            "pid": os.getpid(),
            "device": self._device,
            "versions": {name: versions[name] or "unknown" for name in sorted(versions)},
            "undecodable": np.setdiff1d(np.arange(len(video.frame_numbers)), video.rows).tolist(),
        }


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
