"""A teacher's labels of a stream, by position: read from the label store, where they may still be missing."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from odkd.common.files import json_digest, write_json
from odkd.data.labels.store import SHARD_FRAMES, LabelStore, SoftSpec, store_key
from odkd.data.video.decode import decoder_of
from odkd.data.video.stream import Stream


@dataclass(frozen=True)
class TeacherName:
    """What determines a teacher's labels besides the frames, and what else to write down of it.

    `identity` holds settings and weights digests, `facts` what is worth knowing (licence, source, class names,
    how to make them anew), `size` is (height, width) of the frames that it sees; None = the video's own.
    """

    name: str
    identity: Mapping[str, object]
    size: tuple[int, int] | None
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class VideoLabels:
    """The part of a stream's labels that lies in one video's store."""

    number: int  # of the video in the stream
    folder: Path
    frame_numbers: np.ndarray  # of the rows of the store's arrays
    position_of: dict[int, int]  # row -> position; rows that the video has lost have none
    manifest: dict[str, Any]


class TeacherLabels:
    """The label stores of one teacher on one stream.

    Args:
        stream: as sampled, before damaged frames were left out: the arrays' rows are its frames.
        kept: the stream that positions count in.
        folder: of all label stores.
        soft: which soft labels are wanted too.
    """

    def __init__(
        self, stream: Stream, kept: Stream, teacher: TeacherName, folder: Path, soft: SoftSpec | None = None
    ) -> None:
        self.stream, self.teacher, self.soft = kept, teacher, soft
        self.videos: list[VideoLabels] = []
        self._stores: dict[int, LabelStore] = {}
        for number, video in enumerate(stream.videos):
            frames = stream.frame_of[stream.video_of == number]
            numbers = [int(frame) for frame in frames]
            identity = {
                "video_sha256": video.digest,
                "sampled_frames_digest": json_digest(numbers),
                "teacher": dict(teacher.identity),
                "size": list(teacher.size or (video.height, video.width)),
                "decoder": decoder_of(video),
            }
            positions = np.flatnonzero(kept.video_of == number)
            rows = np.searchsorted(frames, kept.frame_of[positions])
            self.videos.append(
                VideoLabels(
                    number,
                    folder / teacher.name / f"{video.stem}-{store_key(identity)}",
                    frames,
                    dict(zip(rows.tolist(), positions.tolist(), strict=True)),
                    {
                        "teacher": teacher.name,
                        "video": video.path.name,
                        "shard_frames": SHARD_FRAMES,
                        "identity": identity,
                        **teacher.facts,
                        "sampled_frames": numbers,
                    },
                )
            )

    @property
    def folders(self) -> list[Path]:
        """One store a video."""
        return [video.folder for video in self.videos]

    @property
    def classes(self) -> list[str] | None:
        """The teacher's own classes as a store tells them; None before there is one, or where nobody knew."""
        for video in self.videos:
            store = self.find(video)
            if store is not None and store.manifest.get("classes"):
                return [str(name) for name in store.manifest["classes"]]
        return None

    @property
    def num_classes(self) -> int | None:
        """How many classes the teacher of the stored labels has; None before there is a store, or if nobody knew."""
        stores = filter(None, map(self.find, self.videos))
        return next((store.manifest["num_classes"] for store in stores if store.manifest.get("num_classes")), None)

    def read(self, position: int) -> np.ndarray:
        """uint8 [H, W] at the teacher's output size, ids of its own classes.

        Raises:
            KeyError: not labelled yet.
            DamagedLabelsError: the stored map fails its checksum.
        """
        store, row = self._place(position)
        return store.read(row)

    def read_soft(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Classes uint8 [k, h, w] and probabilities float32 [k, h, w], likeliest first. Raises as `read`."""
        assert self.soft is not None, "no soft labels were asked for"
        store, row = self._place(position)
        return store.read_soft(row, self.soft)

    def missing(self) -> list[int]:
        """Positions that lack labels, or soft labels where they are wanted."""
        rows = ((video, row) for video in self.videos for row in self.missing_rows(video))
        return sorted(video.position_of[row] for video, row in rows)

    def missing_rows(self, video: VideoLabels) -> list[int]:
        """Rows of a video's store that are not there yet and can be had."""
        store = self.find(video)
        stored = store.all_stored(self.soft) if store else set()
        return sorted(video.position_of.keys() - stored)

    def find(self, video: VideoLabels) -> LabelStore | None:
        """The store of a video, if there is one."""
        if video.number not in self._stores and (video.folder / "manifest.json").is_file():
            self._stores[video.number] = LabelStore(video.folder)
        return self._stores.get(video.number)

    def create(self, video: VideoLabels, classes: list[str] | None, num_classes: int | None = None) -> LabelStore:
        """The store of a video, made where there is none."""
        if self.find(video) is None:
            facts = {**video.manifest, "classes": classes, "num_classes": num_classes}
            self._stores[video.number] = LabelStore.create(video.folder, facts)
        return self._stores[video.number]

    def histogram(self, cache: Path) -> np.ndarray:
        """int64 [256]: pixels of each class id over all positions; counted once a version, kept under `cache`."""
        files = sorted(
            path for folder in self.folders for path in (folder / "labels" / "c").rglob("0") if path.is_file()
        )
        versions = [[str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
        note = cache / "digests" / json_digest(["histogram", self.stream.digest, versions])
        if note.is_file():
            return np.array(json.loads(note.read_text()), np.int64)
        counts = np.zeros(256, np.int64)
        for position in range(len(self.stream)):
            counts += np.bincount(self.read(position).reshape(-1), minlength=256)
        write_json(note, counts.tolist())
        return counts

    def _place(self, position: int) -> tuple[LabelStore, int]:
        video = self.videos[int(self.stream.video_of[position])]
        store = self.find(video)
        if store is None:
            raise KeyError(f"position {position} is not labelled: there is no {video.folder}")
        return store, int(np.searchsorted(video.frame_numbers, self.stream.frame_of[position]))
