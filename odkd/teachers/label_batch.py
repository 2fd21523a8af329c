"""Labels of one batch of frames: the teacher's answer, checked, resized to the store, without bars of padding."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from odkd.common.ignore import IGNORE
from odkd.common.names import counted
from odkd.data.labels import LabelSource, highest_class, resize_nearest
from odkd.data.labels.map_files import is_same_shape
from odkd.data.labels.store import Labelled
from odkd.data.labels.teacher_labels import TeacherLabels, VideoLabels
from odkd.data.video.image_index import ImageIndex
from odkd.teachers import SampledFrames, SoftTeacher, Teacher
from odkd.teachers.features import FeatureTaker
from odkd.teachers.label_shards import Shard

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LabelBatch:
    """Some rows of a shard, their frames, and later their labels.

    Args:
        shard: that the rows belong to.
        rows: of the shard's store; for a teacher with state also rows of earlier shards, which it has to see.
        images: uint8 RGB [H, W, 3] of each row; None for a teacher that needs none.
        ends_shard: the last row is the shard's last.
        wanted: the rows whose labels are missing; None = all.
        begins_clip: a teacher with state begins anew.
        labelled: row -> labels.
        dropped: probability that top-k leaves out, 0..1, of each row.
    """

    shard: Shard
    rows: list[int]
    images: list[np.ndarray] | None
    ends_shard: bool
    wanted: frozenset[int] | None = None
    begins_clip: bool = True
    labelled: dict[int, Labelled] = field(default_factory=dict)
    dropped: list[float] = field(default_factory=list)


class BatchLabeller:
    """The step of the labeller that asks the teacher.

    Args:
        labels: the stores that the labels are made for.
        groundtruth: the dataset's label maps by position, for teachers that need them.
    """

    def __init__(self, labels: TeacherLabels, teacher: Teacher, groundtruth: LabelSource | None) -> None:
        self._labels, self._teacher, self._groundtruth = labels, teacher, groundtruth
        self._taker = FeatureTaker(teacher, labels.teacher.name, labels.features)
        self._has_logged_resize = False

    def label(self, batch: LabelBatch) -> LabelBatch:
        """Return the batch with `labelled` and `dropped` filled.

        Raises:
            ValueError: the teacher returns something else than label maps.
        """
        video, soft = batch.shard.video, self._labels.soft
        frames = self._sampled_frames(batch)
        chosen = [i for i, row in enumerate(batch.rows) if batch.wanted is None or row in batch.wanted]
        pairs: Sequence[tuple[np.ndarray, np.ndarray] | None] = [None] * len(chosen)
        if soft is None:
            labels_BHW, features = self._taker.during(frames, lambda: self._teacher.label(frames))
        else:
            from odkd.data.labels.soft import top_k

            teacher, size = self._teacher, soft.size
            assert isinstance(teacher, SoftTeacher)
            (labels_BHW, probabilities_BKHW), features = self._taker.during(
                frames, lambda: teacher.label_softly(frames, size)
            )
            ids_BKHW, values_BKHW, dropped = top_k(probabilities_BKHW[chosen], soft.top_k)
            pairs = list(zip(ids_BKHW, values_BKHW, strict=True))
            batch.dropped.extend(dropped)
        self._check(labels_BHW, len(batch.rows))
        height, width = video.manifest["identity"]["size"]
        self._check_shape(labels_BHW.shape[1:], batch, (height, width))
        if labels_BHW.shape[1:] != (height, width) and not self._has_logged_resize:
            given = "x".join(map(str, labels_BHW.shape[1:]))
            logger.info("label maps of %s are %s and are stored at %sx%s (nearest)", frames.video, given, height, width)
            self._has_logged_resize = True
        for i, pair in zip(chosen, pairs, strict=True):
            stored_HW = resize_nearest(labels_BHW[i], (height, width))
            found = Labelled(stored_HW, pair, features[i])
            batch.labelled[batch.rows[i]] = self._without_bars(video, batch.rows[i], found)
        return batch

    def _sampled_frames(self, batch: LabelBatch) -> SampledFrames:
        video, truth = batch.shard.video, self._groundtruth
        index = self._labels.stream.videos[video.number]
        return SampledFrames(
            index.digest,
            [int(video.frame_numbers[row]) for row in batch.rows],
            None if batch.images is None else np.stack(batch.images),
            None if truth is None else lambda i: truth.read(video.position_of(batch.rows[i])),
            video=index.stem,
            sample_numbers=batch.rows,
            begins_clip=batch.begins_clip,
        )

    def _without_bars(self, video: VideoLabels, row: int, labelled: Labelled) -> Labelled:
        """Ignore the bars around a padded image, which are not part of it."""
        source, frame = self._labels.stream.videos[video.number], int(video.frame_numbers[row])
        if not isinstance(source, ImageIndex):
            return labelled
        soft = labelled.soft
        if soft is not None:
            soft = np.stack([source.without_bars(frame, ids_HW) for ids_HW in soft[0]]), soft[1]
        return Labelled(source.without_bars(frame, labelled.label_HW), soft, labelled.features)

    def _check_shape(self, shape: tuple[int, ...], batch: LabelBatch, stored: tuple[int, int]) -> None:
        """Refuse maps that would be stretched: those of a folder in another shape, those of a network turned."""
        video = batch.shard.video
        source, row = self._labels.stream.videos[video.number], batch.rows[0]
        pictures = [(source.height, source.width)] if isinstance(source, ImageIndex) else source.shapes
        if isinstance(source, ImageIndex) and source.fit == "stretch":
            pictures = [source.sizes[int(video.frame_numbers[row])]]
        if self._teacher.needs_images:  # a network may see and answer frames in a shape of its own
            is_right = is_same_shape(shape, stored) or not is_same_shape((shape[1], shape[0]), stored)
        else:
            is_right = any(is_same_shape(shape, known) for known in (stored, *pictures))
        if not is_right:
            raise ValueError(
                f"the label map of teacher {self._labels.teacher.name} for "
                f"{source.name_of(int(video.frame_numbers[row]))} is {shape[1]}x{shape[0]} pixels, and the picture "
                f"{pictures[0][1]}x{pictures[0][0]}; expected one aspect ratio: make the maps of upright, "
                "whole frames, or set teacher.size=[height,width] of the maps"
            )

    def _check(self, labels_BHW: np.ndarray, num_frames: int) -> None:
        limit = self._teacher.num_classes if self._teacher.num_classes is not None else IGNORE
        is_uint8 = labels_BHW.dtype == np.uint8
        highest = highest_class(labels_BHW) if is_uint8 else 0
        if not is_uint8 or labels_BHW.ndim != 3 or len(labels_BHW) != num_frames or highest >= limit:
            raise ValueError(
                f"teacher {self._labels.teacher.name} returned {labels_BHW.dtype} {labels_BHW.shape} with ids up to "
                f"{highest}; expected uint8 label maps of {counted(num_frames, 'frame')} with ids below "
                f"{limit}, or {IGNORE}"
            )
