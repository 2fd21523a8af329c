"""Labelling: decoder, teacher and store work at once, and processes that need the same labels share the work.

A process takes a shard (64 frames) by a claim, labels what is missing in it, and goes on with the next one as
long as that is free, so that a video is decoded in one go. Where others are at work it begins in the middle of
the longest stretch that nobody has; what others have it waits for.
"""

import logging
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from odkd.common.ignore import IGNORE
from odkd.data.labels import LabelSource, highest_class, resize_nearest
from odkd.data.labels.claims import Claims, owner_of
from odkd.data.labels.session import Session
from odkd.data.labels.store import Labelled, LabelStore
from odkd.data.labels.teacher_labels import TeacherLabels, VideoLabels
from odkd.data.video.decode import decode_frames
from odkd.data.video.image_index import ImageIndex
from odkd.teachers import SampledFrames, SoftTeacher, Teacher, class_names
from odkd.teachers.pipeline import overlap

logger = logging.getLogger(__name__)
FLUSH_FRAMES, FLUSH_SECONDS = 32, 30.0  # a crash loses at most so much labelling, and the batches in work
WAIT_SECONDS = 0.5  # between two looks at claims of others


@dataclass(frozen=True)
class Span:
    """Which of several processes this is: it begins with its own part of the stream, then helps with the rest."""

    worker: int
    num_workers: int


@dataclass(frozen=True)
class Shard:
    """What is missing of one shard of one video's store."""

    video: VideoLabels
    number: int
    rows: list[int]

    @property
    def claim(self) -> Path:
        """The file that says who labels it."""
        return self.video.folder / "claims" / f"shard-{self.number:06d}.json"


@dataclass(frozen=True)
class LabelBatch:
    """Rows of a shard; their frames, uint8 RGB [H, W, 3], where the teacher wants any; then what it says of them."""

    shard: Shard
    rows: list[int]
    images: list[np.ndarray] | None
    ends_shard: bool
    labelled: dict[int, Labelled] = field(default_factory=dict)
    dropped: list[float] = field(default_factory=list)


def check_soft(labels: TeacherLabels, teacher: Teacher) -> None:
    """Whether a teacher can make the soft labels that are asked for, if any are.

    Raises:
        ValueError: it gives no probabilities, or knows fewer classes.
    """
    if labels.soft is not None and not isinstance(teacher, SoftTeacher):
        raise ValueError(
            f"teacher {labels.teacher.name} gives no probabilities; choose another, "
            "or set teacher.soft.top_k=0 (and a loss that needs none)"
        )
    if labels.soft is not None and labels.soft.top_k > (teacher.num_classes or IGNORE):
        raise ValueError(
            f"teacher.soft.top_k={labels.soft.top_k} is too many: "
            f"teacher {labels.teacher.name} has {teacher.num_classes} classes"
        )


class Labeller:
    """Fills what is missing of a teacher's labels.

    Args:
        batch_size: frames that the teacher is shown at once.
        groundtruth: the dataset's label maps by position, for teachers that need them.
        progress: is told (frames labelled here, frames that were missing).
        span: of this process, where several were started together.
        device: where the teacher runs, for the record.
        only: folder of the one store to fill.
        decoder_threads: of this process.

    Raises:
        ValueError: soft labels are wanted and the teacher has none.
    """

    def __init__(
        self,
        labels: TeacherLabels,
        teacher: Teacher,
        *,
        batch_size: int,
        groundtruth: LabelSource | None,
        progress: Callable[[int, int], None],
        classes: list[str] | None = None,
        span: Span | None = None,
        device: str = "",
        only: Path | None = None,
        decoder_threads: int = 2,
    ) -> None:
        check_soft(labels, teacher)
        self._labels, self._teacher, self._batch_size = labels, teacher, batch_size
        self._groundtruth, self._progress, self._span = groundtruth, progress, span
        self._decoder_threads = decoder_threads
        self._classes = classes if classes is not None else class_names(teacher)
        self._videos = [video for video in labels.videos if only in (None, video.folder)]
        self._claims = Claims()
        self._is_resize_told = False
        self._session = Session(device)
        self._pending: list[LabelBatch] = []
        self._flushed = time.monotonic()
        self._num_done = self._num_missing = 0

    def run(self) -> int:
        """Label until nothing is missing; returns the number of frames labelled here.

        Raises:
            ValueError: the teacher returns what is no label map.
            OSError: the disk is full, say. What was labelled before is stored all the same.
        """
        is_told = False
        todo = self._todo()
        self._num_missing = sum(len(shard.rows) for shard in todo)
        with self._claims:
            while todo:
                free = [shard for shard in todo if owner_of(shard.claim) is None]
                if free:
                    self._label_from(self._begin_at(todo, free), todo)
                    is_told = False
                else:
                    if not is_told:
                        owners = sorted({str(owner_of(shard.claim)) for shard in todo})
                        logger.info("the rest is being labelled by %s; waiting", "; ".join(owners))
                        is_told = True
                    time.sleep(WAIT_SECONDS)
                todo = self._todo()
        return self._num_done

    def _todo(self) -> list[Shard]:
        todo: dict[tuple[int, int], Shard] = {}
        for video in self._videos:
            for row in self._labels.missing_rows(video):
                number = row // int(video.manifest["shard_frames"])
                todo.setdefault((video.number, number), Shard(video, number, [])).rows.append(row)
        return list(todo.values())

    def _begin_at(self, todo: Sequence[Shard], free: Sequence[Shard]) -> Shard:
        """Where this process gets least into the way of others."""
        if self._span is not None:
            everything = [(video.number, row) for video in self._videos for row in video.position_of]
            first = everything[len(everything) * self._span.worker // self._span.num_workers]
            own = [shard for shard in free if (shard.video.number, shard.rows[-1]) >= first]
            if own and (len(free) == len(todo) or self._num_done == 0):
                return own[0]
        if len(free) == len(todo):
            return free[0]
        stretches: list[list[Shard]] = []
        is_free = {id(shard) for shard in free}
        for before, shard in zip([None, *todo], todo, strict=False):
            if id(shard) in is_free:
                goes_on = stretches and before is stretches[-1][-1] and before.video is shard.video
                stretches[-1].append(shard) if goes_on else stretches.append([shard])
        longest = max(stretches, key=len)
        return longest[len(longest) // 2]

    def _label_from(self, start: Shard, todo: Sequence[Shard]) -> None:
        """One pass over a video's shards from `start` on, to its end or to a shard that somebody else has."""
        shards = [shard for shard in todo if shard.video is start.video and shard.number >= start.number]
        try:
            overlap(self._decode(shards), self._label, self._store)
        except BaseException:
            with suppress(OSError):  # keep what is labelled; the error that ended it is the one to report
                self._flush()
            raise

    # --- the three steps

    def _decode(self, shards: Sequence[Shard]) -> Generator[LabelBatch]:
        """Batches of the shards that can be had, in order."""
        video = shards[0].video
        store = self._labels.create(video, self._classes, self._teacher.num_classes)
        if not self._teacher.needs_images:
            for shard in shards:
                if (rows := self._take(shard, store)) is None:
                    return
                for start in range(0, len(rows), self._batch_size):
                    part = rows[start : start + self._batch_size]
                    yield LabelBatch(shard, part, None, ends_shard=part[-1] == rows[-1])
            return
        index = self._labels.stream.videos[video.number]
        wanted = [(shard, row) for shard in shards for row in shard.rows]
        numbers = [int(video.frame_numbers[row]) for _, row in wanted]
        taken, rows, batch = None, [], []
        frames = decode_frames(index, numbers, size=self._labels.teacher.size, num_threads=self._decoder_threads)
        with closing(frames) as decoded:
            for (shard, row), (number, image_HWC) in zip(wanted, decoded, strict=True):
                if shard is not taken:
                    taken = shard
                    if (fresh := self._take(shard, store)) is None:
                        return
                    rows = fresh
                if image_HWC is None:
                    raise RuntimeError(f"{index.path}: frame {number} decoded before, not now; is the disk failing?")
                if row in rows:
                    batch.append((row, image_HWC))
                    if len(batch) == self._batch_size or row == rows[-1]:
                        images = [image for _, image in batch]
                        yield LabelBatch(shard, [row for row, _ in batch], images, ends_shard=row == rows[-1])
                        batch = []

    def _take(self, shard: Shard, store: LabelStore) -> list[int] | None:
        """Rows that are missing now that the shard is ours; None if it is somebody else's."""
        if not self._claims.take(shard.claim):
            return None
        stored = store.stored(shard.number, self._labels.soft)
        rows = [row for row in shard.rows if row not in stored]
        if not rows:
            self._claims.release(shard.claim)
        return rows

    def _label(self, batch: LabelBatch) -> LabelBatch:
        video, soft = batch.shard.video, self._labels.soft
        truth = self._groundtruth
        frames = SampledFrames(
            self._labels.stream.videos[video.number].digest,
            [int(video.frame_numbers[row]) for row in batch.rows],
            None if batch.images is None else np.stack(batch.images),
            None if truth is None else lambda i: truth.read(video.position_of[batch.rows[i]]),
            video=self._labels.stream.videos[video.number].stem,
            sample_numbers=batch.rows,
        )
        pairs: Sequence[tuple[np.ndarray, np.ndarray] | None] = [None] * len(batch.rows)
        if soft is None:
            labels_BHW = self._teacher.label(frames)
        else:
            from odkd.data.labels.soft import top_k

            assert isinstance(self._teacher, SoftTeacher)
            labels_BHW, probabilities_BKHW = self._teacher.label_softly(frames, soft.size)
            ids_BKHW, values_BKHW, dropped = top_k(probabilities_BKHW, soft.top_k)
            pairs = list(zip(ids_BKHW, values_BKHW, strict=True))
            batch.dropped.extend(dropped)
        self._check(labels_BHW, len(batch.rows))
        height, width = video.manifest["identity"]["size"]
        if labels_BHW.shape[1:] != (height, width) and not self._is_resize_told:
            given = "x".join(map(str, labels_BHW.shape[1:]))
            logger.info("label maps of %s are %s and are kept at %sx%s (nearest)", frames.video, given, height, width)
            self._is_resize_told = True
        for row, label_HW, pair in zip(batch.rows, labels_BHW, pairs, strict=True):
            kept_HW = resize_nearest(label_HW, (height, width))
            batch.labelled[row] = self._without_bars(video, row, Labelled(kept_HW, pair))
        return batch

    def _without_bars(self, video: VideoLabels, row: int, labelled: Labelled) -> Labelled:
        """Bars around a padded image are no part of it: no label, and no class that is likely."""
        source, frame = self._labels.stream.videos[video.number], int(video.frame_numbers[row])
        if not isinstance(source, ImageIndex):
            return labelled
        soft = labelled.soft
        if soft is not None:
            soft = np.stack([source.without_bars(frame, ids_HW) for ids_HW in soft[0]]), soft[1]
        return Labelled(source.without_bars(frame, labelled.label_HW), soft)

    def _store(self, batch: LabelBatch) -> None:
        self._pending.append(batch)
        num_pending = sum(len(batch.rows) for batch in self._pending)
        is_long_ago = time.monotonic() - self._flushed > FLUSH_SECONDS
        if batch.ends_shard or num_pending >= FLUSH_FRAMES or is_long_ago:
            self._flush()
        if batch.ends_shard:
            self._claims.release(batch.shard.claim)

    def _flush(self) -> None:
        """Write what is labelled; the pending batches are of one shard."""
        if not self._pending:
            return
        shard, soft = self._pending[0].shard, self._labels.soft
        store = self._labels.create(shard.video, self._classes, self._teacher.num_classes)
        rows = {row: labelled for batch in self._pending for row, labelled in batch.labelled.items()}
        store.write(shard.number, rows, soft)
        dropped = [value for batch in self._pending for value in batch.dropped]
        self._session.add(shard.video, store, sorted(rows), dropped)
        self._pending, self._flushed = [], time.monotonic()
        self._num_done += len(rows)
        self._progress(self._num_done, self._num_missing)

    def _check(self, labels_BHW: np.ndarray, num_frames: int) -> None:
        limit = self._teacher.num_classes if self._teacher.num_classes is not None else IGNORE
        is_uint8 = labels_BHW.dtype == np.uint8
        highest = highest_class(labels_BHW) if is_uint8 else 0
        if not is_uint8 or labels_BHW.ndim != 3 or len(labels_BHW) != num_frames or highest >= limit:
            raise ValueError(
                f"teacher {self._labels.teacher.name} returned {labels_BHW.dtype} {labels_BHW.shape} with ids up to "
                f"{highest}; expected uint8 label maps of {num_frames} frames with ids below {limit}, or {IGNORE}"
            )
