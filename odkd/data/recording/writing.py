"""What a session's recording writes, one item after the other: segments of video, and label maps of their frames."""

from __future__ import annotations

import io
import json
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from odkd.common.files import as_written, write_atomic
from odkd.common.ignore import IGNORE
from odkd.data.labels.exchange import with_palette
from odkd.data.recording.replay import write_replay
from odkd.data.video.lossless import LosslessWriter

SEGMENT_SECONDS = 60.0  # of one file
LONGEST_CUT = 1.5  # usual intervals between two frames: where there is more between them, they stay in one file
NOTE_SECONDS = 5.0  # between two notes of the session's durations, for its replay
MOST_REMEMBERED = 100_000  # frames that a label can still come for, an hour at 25 a second


class SessionWriter:
    """Writes one session into a recording that may have earlier ones.

    Args:
        folder: of the recording.
        palette: [R, G, B] per class, for the label maps.
        classes: names, by id.
    """

    def __init__(self, folder: Path, *, classes: Sequence[str], palette: Sequence[Sequence[int]]) -> None:
        self._folder, self._classes, self._palette = folder, list(classes), [list(colour) for colour in palette]
        self.durations: dict[str, float] = {}  # of timing=simulated
        self._begin = self._last = self._noted = 0.0  # seconds: of the segment's first and last frame; of the settings
        self._video: LosslessWriter | None = None
        self._size, self._num_segments, self._stem = (0, 0), 0, ""
        self._places: OrderedDict[int, tuple[str, int, float]] = OrderedDict()  # frame -> file, frame in it, seconds
        (folder / "videos").mkdir(parents=True, exist_ok=True)
        (folder / "sessions").mkdir(exist_ok=True)
        self._number = 1 + max((int(path.stem) for path in (folder / "sessions").glob("[0-9]*.jsonl")), default=0)
        self._journal = (folder / "sessions" / f"{self._number:04d}.jsonl").open("x")

    def frame(self, seconds: float, number: int, image_HWC: np.ndarray) -> None:
        """Append a sampled frame, uint8 RGB."""
        if self._video is None or image_HWC.shape[:2] != self._size or self._is_full(seconds):
            self._begin_segment(seconds, image_HWC.shape[0], image_HWC.shape[1])
        assert self._video is not None
        frame = self._video.num_written
        self._places[number] = (self._stem, frame, seconds)
        self._write_map(self._stem, frame, self._blank_HW)
        self._video.write(image_HWC, seconds)
        self._last = seconds
        if len(self._places) > MOST_REMEMBERED:
            self._places.popitem(last=False)

    def label(self, number: int, labels_HW: np.ndarray, seconds: float) -> bool:
        """Write the label of a frame, of the frame's size; return False if the frame is not there."""
        if number not in self._places:
            return False
        stem, frame, arrived = self._places[number]
        self._write_map(stem, frame, labels_HW)
        line = {"video": stem, "frame": frame, "source_frame": number, "arrived": arrived, "labelled": seconds}
        self._journal.write(json.dumps(line) + "\n")
        self._journal.flush()
        if seconds - self._noted >= NOTE_SECONDS:
            self._note(seconds)
        return True

    def close(self) -> None:
        """Complete the file of the segment and the settings that replay it."""
        try:
            if self._video is not None:
                self._video.close()
                self._note(self._last)
        finally:
            self._video = None
            self._journal.close()

    def _write_map(self, stem: str, frame: int, labels_HW: np.ndarray) -> None:
        file = io.BytesIO()
        with_palette(labels_HW, self._palette).save(file, "png", compress_level=1)
        write_atomic(self._folder / "labels" / stem / f"{frame:06d}.png", file.getvalue(), durable=False)

    def _is_full(self, seconds: float) -> bool:
        """Return True if a segment has its length, and no gap follows: only within a file are gaps kept."""
        assert self._video is not None
        if seconds - self._begin < SEGMENT_SECONDS or self._video.num_written < 2:
            return False
        usual = (self._last - self._begin) / (self._video.num_written - 1)
        return seconds - self._last <= LONGEST_CUT * usual

    def _begin_segment(self, seconds: float, height: int, width: int) -> None:
        if self._video is not None:
            self._video.close()
        self._num_segments += 1
        self._stem = f"session_{self._number:04d}_{self._num_segments:04d}"
        self._size, self._begin = (height, width), seconds
        self._blank_HW = np.full(self._size, IGNORE, np.uint8)
        self._video = LosslessWriter(self._folder / "videos" / f"{self._stem}.mkv", height=height, width=width)
        self._note(seconds)

    def _note(self, seconds: float) -> None:
        """Write the settings of the replay, with what is known of durations now."""
        self._noted = seconds
        write_replay(
            as_written(self._folder),
            size=self._size,
            classes=self._classes,
            palette=self._palette,
            durations=dict(self.durations),
        )
