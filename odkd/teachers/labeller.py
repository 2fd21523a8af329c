"""The labeller: it decodes frames, asks the teacher and stores labels at the same time; processes share the work.

A process claims a shard (64 frames), labels what is missing in it, and continues with the next shard as long as that
is free, so that a video is decoded in one pass. Where other processes are at work, it starts in the middle of the
longest stretch of free shards (`label_shards.py`). It waits for shards that others have claimed.
"""

import logging
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import closing, suppress
from pathlib import Path

import numpy as np

from odkd.common.files import check_no_links
from odkd.common.ignore import IGNORE
from odkd.data.labels import LabelSource
from odkd.data.labels.claims import Claims, owner_of, remove_dead_claims
from odkd.data.labels.own_classes import OwnClasses
from odkd.data.labels.session import Session
from odkd.data.labels.store import SoftSpec
from odkd.data.labels.teacher_labels import TeacherLabels, VideoLabels
from odkd.data.video.decode import decode_frames
from odkd.teachers import SoftTeacher, Teacher, class_names, clip_frames_of
from odkd.teachers.clips import clip_batches, seen_batches
from odkd.teachers.label_batch import BatchLabeller, LabelBatch
from odkd.teachers.label_shards import Shard, Span, first_shard, missing_shards
from odkd.teachers.pipeline import overlap

__all__ = ["FLUSH_FRAMES", "Labeller", "Span", "check_soft"]
logger = logging.getLogger(__name__)
FLUSH_FRAMES, FLUSH_SECONDS = 32, 30.0  # a crash loses at most this much labelling, and the batches in progress
WAIT_SECONDS = 0.5  # between two looks at the claims of other processes


def check_soft(teacher: Teacher, name: str, soft: SoftSpec | None) -> None:
    """Check that a teacher, called `name`, can make the soft labels that are asked for, if any.

    Raises:
        ValueError: the teacher gives no probabilities, or has fewer classes than are to be kept.
    """
    if soft is not None and not isinstance(teacher, SoftTeacher):
        raise ValueError(
            f"teacher {name} gives no probabilities; choose another, "
            "or set teacher.soft.top_k=0 (and a loss that needs none)"
        )
    if soft is not None and soft.top_k > (teacher.num_classes or IGNORE):
        raise ValueError(
            f"teacher.soft.top_k={soft.top_k} is too many: teacher {name} has {teacher.num_classes} classes"
        )


class Labeller:
    """Fills in the missing labels of a teacher.

    Args:
        labels: the stores to fill.
        teacher: the network that labels.
        batch_size: frames that the teacher receives at once.
        groundtruth: the dataset's label maps by position, for teachers that need them.
        progress: is called with (frames labelled by this process, frames that were missing).
        span: this process, where several were started together.
        device: where the teacher runs, for the record.
        only: folder of the one store to fill; None = all.
        decoder_threads: of this process.

    Raises:
        ValueError: soft labels are wanted and the teacher cannot make them.
    """

    def __init__(
        self,
        labels: TeacherLabels,
        teacher: Teacher,
        *,
        batch_size: int,
        groundtruth: LabelSource | None,
        progress: Callable[[int, int], None],
        span: Span | None = None,
        device: str = "",
        only: Path | None = None,
        decoder_threads: int = 2,
    ) -> None:
        check_soft(teacher, labels.teacher.name, labels.soft)
        self._labels, self._teacher, self._batch_size = labels, teacher, batch_size
        self._progress, self._span, self._decoder_threads = progress, span, decoder_threads
        self._clip_frames = clip_frames_of(teacher)
        self._own = OwnClasses(class_names(teacher), teacher.num_classes)
        self._videos = [video for video in labels.videos if only in (None, video.folder)]
        self._batch_labeller = BatchLabeller(labels, teacher, groundtruth)
        self._claims = Claims()
        self._session = Session(device)
        self._pending: list[LabelBatch] = []
        self._flushed = time.monotonic()
        self._num_done = self._num_missing = 0

    def run(self) -> int:
        """Label until nothing is missing; return the number of frames that this process has labelled.

        Raises:
            ValueError: the teacher returns something else than label maps, or a store has a link in it.
            OSError: labels cannot be written, for example because the disk is full. Earlier labels stay stored.
        """
        has_logged_wait = False
        missing = missing_shards(self._labels, self._videos)
        self._num_missing = sum(len(shard.rows) for shard in missing)
        for folder in {shard.video.folder for shard in missing}:
            check_no_links(folder)
        with self._claims:
            while missing:
                free = [shard for shard in missing if owner_of(shard.claim) is None]
                if free:
                    start = first_shard(missing, free, self._span, self._videos, is_start=self._num_done == 0)
                    self._label_from(start, missing)
                    has_logged_wait = False
                else:
                    if not has_logged_wait:
                        owners = sorted({str(owner_of(shard.claim)) for shard in missing})
                        logger.info("the rest is being labelled by %s; waiting", "; ".join(owners))
                        has_logged_wait = True
                    time.sleep(WAIT_SECONDS)
                missing = missing_shards(self._labels, self._videos)
        for video in self._videos:  # a process killed between its last write and its release leaves its claim
            remove_dead_claims(video.folder / "claims")
        return self._num_done

    def _label_from(self, start: Shard, missing: Sequence[Shard]) -> None:
        """Label a video's shards from `start` on, to its end or to a shard that another process has claimed."""
        shards = [shard for shard in missing if shard.video is start.video and shard.number >= start.number]
        try:
            overlap(self._decode(shards), self._batch_labeller.label, self._store)
        except BaseException:
            with suppress(OSError):  # keep the finished labels; the error that ended the pass is the one to report
                self._flush()
            raise

    # --- the steps before and after the teacher's

    def _decode(self, shards: Sequence[Shard]) -> Generator[LabelBatch]:
        """Yield batches of the shards in order, up to the first that cannot be claimed."""
        video = shards[0].video
        if self._clip_frames:
            yield from self._decode_clips(shards)
            return
        if not self._teacher.needs_images:
            for shard in shards:
                if (rows := self._claim(shard)) is None:
                    return
                for start in range(0, len(rows), self._batch_size):
                    part = rows[start : start + self._batch_size]
                    yield LabelBatch(shard, part, None, ends_shard=part[-1] == rows[-1])
            return
        wanted = [(shard, row) for shard in shards for row in shard.rows]
        numbers = [int(video.frame_numbers[row]) for _, row in wanted]
        claimed, rows, batch = None, [], []
        with closing(self._images(video, numbers)) as images:
            for (shard, row), image_HWC in zip(wanted, images, strict=True):
                if shard is not claimed:
                    claimed = shard
                    if (fresh := self._claim(shard)) is None:
                        return
                    rows = fresh
                if row in rows:
                    batch.append((row, image_HWC))
                    if len(batch) == self._batch_size or row == rows[-1]:
                        seen = [image for _, image in batch]
                        yield LabelBatch(shard, [row for row, _ in batch], seen, ends_shard=row == rows[-1])
                        batch = []

    def _decode_clips(self, shards: Sequence[Shard]) -> Generator[LabelBatch]:
        """Yield what a teacher with state must see for the shards, up to the first that cannot be claimed."""
        video = shards[0].video
        batches = clip_batches(
            video.rows.tolist(),
            clip_frames=self._clip_frames,
            batch_size=self._batch_size,
            shard_frames=int(video.manifest["shard_frames"]),
        )
        plan = list(seen_batches(batches, shards))
        numbers = [int(video.frame_numbers[row]) for _, group in plan for batch in group for row in batch.rows]
        with closing(self._images(video, numbers)) as images:
            for shard, group in plan:
                if (fresh := self._claim(shard)) is None:
                    return
                for batch in group:
                    seen = [next(images) for _ in batch.rows] if self._teacher.needs_images else None
                    yield LabelBatch(
                        shard,
                        batch.rows,
                        seen,
                        ends_shard=bool(fresh) and batch is group[-1],
                        wanted=frozenset(batch.rows).intersection(fresh),
                        begins_clip=batch.begins_clip,
                    )

    def _images(self, video: VideoLabels, numbers: Sequence[int]) -> Generator[np.ndarray]:
        """Yield the images of frames of a video, uint8 RGB [H, W, 3]."""
        index = self._labels.stream.videos[video.number]
        frames = decode_frames(index, numbers, size=self._labels.teacher.size, num_threads=self._decoder_threads)
        with closing(frames) as decoded:
            for number, image_HWC in decoded:
                if image_HWC is None:
                    raise RuntimeError(f"{index.path}: frame {number} decoded before, not now; is the disk failing?")
                yield image_HWC

    def _claim(self, shard: Shard) -> list[int] | None:
        """Claim a shard and return its rows that are still missing; None where another process has it."""
        if not self._claims.take(shard.claim):
            return None
        store = self._labels.find(shard.video)
        stored = store.stored(shard.number, self._labels.soft, self._labels.features) if store is not None else set()
        rows = [row for row in shard.rows if row not in stored]
        if not rows:
            self._claims.release(shard.claim)
        return rows

    def _store(self, batch: LabelBatch) -> None:
        if batch.labelled:
            self._pending.append(batch)
        num_pending = sum(len(batch.labelled) for batch in self._pending)
        is_long_ago = time.monotonic() - self._flushed > FLUSH_SECONDS
        if batch.ends_shard or num_pending >= FLUSH_FRAMES or is_long_ago:
            self._flush()
        if batch.ends_shard:
            self._claims.release(batch.shard.claim)

    def _flush(self) -> None:
        """Write the finished labels; the pending batches all belong to one shard."""
        if not self._pending:
            return
        shard, soft = self._pending[0].shard, self._labels.soft
        store = self._labels.create(shard.video, self._own)  # not before: a failed first try leaves none
        rows = {row: labelled for batch in self._pending for row, labelled in batch.labelled.items()}
        store.write(shard.number, rows, soft)
        dropped = [value for batch in self._pending for value in batch.dropped]
        self._session.add(shard.video, store, sorted(rows), dropped)
        self._pending, self._flushed = [], time.monotonic()
        self._num_done += len(rows)
        self._progress(self._num_done, self._num_missing)
