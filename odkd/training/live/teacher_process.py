"""The child process of the teacher: it labels one frame after the other, from and into shared memory."""

from __future__ import annotations

import logging
import time
from typing import Any

import numpy as np

from odkd.common.ignore import IGNORE
from odkd.data.labels import highest_class, resize_nearest
from odkd.data.video.image_index import ImageIndex
from odkd.teachers import SampledFrames, clip_frames_of
from odkd.training.live.child import Equipment, Job, begin
from odkd.training.live.slots import Slots

NAME = "live"  # of the video that a camera shows, for a teacher


def label(job: Job, pipe: Any) -> None:
    """Run the process: label what is in a slot, as often as it is told to."""
    with begin(job, pipe) as line:
        labeller, slots = FrameLabeller(job.equip(job.cfg), sees_dataset=job.sees_dataset), Slots.attach(job.slots)
        logging.getLogger().setLevel(logging.INFO)  # not before: the answering process has built these parts, too
        line.send("ready")
        while (message := line.receive())[0] == "label":
            slot, number, position = message[1:]
            began = time.monotonic()
            label_HW = labeller.label(slots.frames_NHWC[slot], number, position)
            slots.labels_NHW[slot] = resize_nearest(label_HW, job.slots.size)
            line.send("labelled", slot, number, began, time.monotonic())


class FrameLabeller:
    """A teacher that is given single frames as they come.

    Args:
        parts: builds the teacher, and what it needs of the dataset.
        sees_dataset: frames are those of the dataset's stream, so there may be ground truth.
    """

    def __init__(self, parts: Equipment, *, sees_dataset: bool) -> None:
        self._teacher, self._ids = parts.teacher_parts.live()
        self._stream = parts.stream if sees_dataset else None
        needs_truth = getattr(self._teacher, "needs_groundtruth", not self._teacher.needs_images)
        self._truth = parts.groundtruth if sees_dataset and needs_truth else None
        self._clip_frames, self._num_seen = clip_frames_of(self._teacher), 0

    def label(self, image_HWC: np.ndarray, number: int, position: int | None) -> np.ndarray:
        """Return the label map of a frame with the dataset's ids, uint8, as large as the teacher makes it.

        Args:
            number: of the frame among the sampled ones.
            position: in the dataset's stream.

        Raises:
            ValueError: the teacher returns something else than a label map.
        """
        begins_clip = self._num_seen % (self._clip_frames or 1) == 0
        self._num_seen += 1
        images_BHWC = image_HWC[None].copy() if self._teacher.needs_images else None
        found_BHW = self._teacher.label(self._frames(images_BHWC, number, position, begins_clip=begins_clip))
        limit = IGNORE if self._teacher.num_classes is None else self._teacher.num_classes
        is_map = found_BHW.dtype == np.uint8 and found_BHW.ndim == 3 and len(found_BHW) == 1
        if not is_map or highest_class(found_BHW) >= limit:
            raise ValueError(
                f"the teacher returned {found_BHW.dtype} {found_BHW.shape}; expected a uint8 label map of 1 frame with "
                f"ids below {limit}, or {IGNORE}"
            )
        label_HW: np.ndarray = found_BHW[0] if self._ids is None else self._ids[found_BHW[0]]
        return self._without_bars(label_HW, position)

    def _frames(
        self, images_BHWC: np.ndarray | None, number: int, position: int | None, *, begins_clip: bool
    ) -> SampledFrames:
        if self._stream is None or position is None:
            return SampledFrames(NAME, [number], images_BHWC, None, NAME, [number], begins_clip)
        stream, truth = self._stream, self._truth
        index, frame = stream.videos[int(stream.video_of[position])], int(stream.frame_of[position])
        row = int(np.searchsorted(stream.frames_of_video(int(stream.video_of[position])), frame))
        read = None if truth is None else (lambda _: truth.read(position))
        return SampledFrames(index.digest, [frame], images_BHWC, read, index.stem, [row], begins_clip)

    def _without_bars(self, label_HW: np.ndarray, position: int | None) -> np.ndarray:
        """Ignore the bars around a padded image, which are not part of it."""
        if self._stream is None or position is None:
            return label_HW
        index = self._stream.videos[int(self._stream.video_of[position])]
        if not isinstance(index, ImageIndex):
            return label_HW
        return index.without_bars(int(self._stream.frame_of[position]), label_HW)
