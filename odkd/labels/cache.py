"""A teacher's labels of a stream: read from the label store, made where they are missing, each once."""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from filelock import FileLock

from odkd.files import json_digest
from odkd.labels import LabelSource, resize_nearest
from odkd.labels.store import LabelStore
from odkd.metrics import IGNORE
from odkd.teachers import SampledFrames, Teacher
from odkd.video.decode import DECODER, decode_frames
from odkd.video.stream import Stream

SHARD_FRAMES = 64  # a crash loses at most these, or
FLUSH_SECONDS = 30.0  # the labelling of this long


@dataclass(frozen=True)
class TeacherName:
    """What determines a teacher's labels besides the frames: its config, weights digest and input size."""

    name: str
    identity: Mapping[str, object]
    size: (
        tuple[int, int] | None
    )  # (height, width) that frames are resized to before the teacher; None = the video's own


class TeacherLabels:
    """The label store of one teacher on one stream, by position.

    Args:
        stream: as sampled, before damaged frames were left out: the array's rows are its frames.
        kept: the stream that positions count in.
    """

    def __init__(self, stream: Stream, kept: Stream, teacher: TeacherName, folder: Path) -> None:
        self._kept, self._teacher = kept, teacher
        self._rows = [stream.frame_of[stream.video_of == v] for v in range(len(stream.videos))]
        self._stores: list[LabelStore] = []
        for video, frames in zip(stream.videos, self._rows, strict=True):
            height, width = teacher.size or (video.height, video.width)
            manifest = {
                "video_sha256": video.digest,
                "sampled_frames_digest": json_digest([int(frame) for frame in frames]),
                "teacher": dict(teacher.identity),
                "size": [height, width],
                "decoder": DECODER,
            }
            key = json_digest(manifest)[:16]
            path = folder / teacher.name / f"{video.stem}-{key}"
            store = LabelStore(path, num_frames=len(frames), height=height, width=width, shard_frames=SHARD_FRAMES)
            if not (path / "zarr.json").is_file():
                store.create({**manifest, "video": video.path.name, "sampled_frames": [int(frame) for frame in frames]})
            self._stores.append(store)

    @property
    def folders(self) -> list[Path]:
        """One Zarr array a video."""
        return [store.folder for store in self._stores]

    def read(self, position: int) -> np.ndarray:
        """uint8 [H, W] at the teacher's output size."""
        video, row = self._place(position)
        return self._stores[video].read(row)

    def missing(self) -> list[int]:
        """Positions that are not labelled yet."""
        stored = [self._stored(store) for store in self._stores]
        places = (self._place(position) for position in range(len(self._kept)))
        return [position for position, (video, row) in enumerate(places) if row not in stored[video]]

    def label(
        self,
        teacher: Teacher,
        *,
        batch_size: int,
        groundtruth: LabelSource | None,
        progress: Callable[[int, int], None],
    ) -> int:
        """Label what is missing; other processes that do the same wait shard by shard. Returns frames labelled."""
        missing = self.missing()
        num_done = 0
        for (video, shard), positions in self._by_shard(missing).items():
            store = self._stores[video]
            with FileLock(store.folder / f".shard-{shard}.lock"):
                stored = self._stored(store, shard)
                rest = {self._place(p)[1]: p for p in positions if self._place(p)[1] not in stored}
                for labels in self._label_rows(teacher, video, rest, batch_size, groundtruth):
                    store.write(shard, labels)
                    num_done += len(labels)
                    progress(num_done, len(missing))
        return num_done

    def _label_rows(
        self,
        teacher: Teacher,
        video: int,
        positions: Mapping[int, int],
        batch_size: int,
        groundtruth: LabelSource | None,
    ) -> Iterator[dict[int, np.ndarray]]:
        """Label rows of one shard, in portions worth writing."""
        pending: dict[int, np.ndarray] = {}
        since = time.monotonic()
        for rows, images_BHWC in self._decode(video, list(positions), batch_size, teacher.needs_images):
            frames = SampledFrames(
                self._kept.videos[video].digest,
                [int(self._rows[video][row]) for row in rows],
                images_BHWC,
                None if groundtruth is None else lambda i, rows=rows: groundtruth.read(positions[rows[i]]),  # type: ignore[misc]
                video=self._kept.videos[video].stem,
                sample_numbers=rows,
            )
            labels_BHW = teacher.label(frames)
            self._check(labels_BHW, len(rows), teacher.num_classes)
            size = (self._stores[video].height, self._stores[video].width)
            pending.update(
                (row, resize_nearest(label_HW, size)) for row, label_HW in zip(rows, labels_BHW, strict=True)
            )
            if time.monotonic() - since > FLUSH_SECONDS:
                yield pending
                pending, since = {}, time.monotonic()
        if pending:
            yield pending

    def _decode(
        self, video: int, rows: list[int], batch_size: int, needs_images: bool
    ) -> Iterator[tuple[list[int], np.ndarray | None]]:
        if not needs_images:
            yield from ((rows[i : i + batch_size], None) for i in range(0, len(rows), batch_size))
            return
        index = self._kept.videos[video]
        batch: list[tuple[int, np.ndarray]] = []
        decoded = decode_frames(index, [int(self._rows[video][row]) for row in rows], size=self._teacher.size)
        for row, (frame_number, image_HWC) in zip(rows, decoded, strict=True):
            if image_HWC is None:
                raise RuntimeError(
                    f"{index.path}: frame {frame_number} decoded before and does not now; is the disk failing?"
                )
            batch.append((row, image_HWC))
            if len(batch) == batch_size or row == rows[-1]:
                yield [row for row, _ in batch], np.stack([image for _, image in batch])
                batch = []

    def _check(self, labels_BHW: np.ndarray, num_frames: int, num_classes: int | None) -> None:
        limit = num_classes if num_classes is not None else IGNORE
        highest = int(labels_BHW[labels_BHW != IGNORE].max(initial=0))
        if labels_BHW.dtype != np.uint8 or len(labels_BHW) != num_frames or highest >= limit:
            raise ValueError(
                f"teacher {self._teacher.name} returned {labels_BHW.dtype} {labels_BHW.shape} with ids up to "
                f"{highest}; expected uint8 label maps of {num_frames} frames with ids below {limit}, or {IGNORE}"
            )

    def _by_shard(self, positions: list[int]) -> dict[tuple[int, int], list[int]]:
        """Positions grouped by (video, shard)."""
        grouped: dict[tuple[int, int], list[int]] = {}
        for position in positions:
            video, row = self._place(position)
            grouped.setdefault((video, row // SHARD_FRAMES), []).append(position)
        return grouped

    def _place(self, position: int) -> tuple[int, int]:
        """Which video, which row of its array."""
        video = int(self._kept.video_of[position])
        return video, int(np.searchsorted(self._rows[video], self._kept.frame_of[position]))

    def _stored(self, store: LabelStore, shard: int | None = None) -> set[int]:
        shards = range(store.num_shards) if shard is None else [shard]
        return set().union(*(store.stored(number) for number in shards))
