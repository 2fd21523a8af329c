"""A teacher's labels of a stream by position, read from the label stores; positions may still lack labels."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from odkd.common.files import json_digest
from odkd.common.notes import remembered
from odkd.common.progressions import list_digest, packed
from odkd.data.labels.features import FeatureKind
from odkd.data.labels.own_classes import OwnClasses
from odkd.data.labels.store import SHARD_FRAMES, LabelStore, SoftSpec, store_key
from odkd.data.video.decode import decoder_of
from odkd.data.video.stream import Stream


@dataclass(frozen=True)
class TeacherName:
    """The identity of a teacher: what determines its labels besides the frames, and further facts about it.

    `identity` holds settings and digests of weights. `facts` are recorded but determine nothing (licence, source,
    class names, the recipe to label again). `size` is (height, width) of the teacher's frames; None = the video's size.
    """

    name: str
    identity: Mapping[str, object]
    size: tuple[int, int] | None
    facts: Mapping[str, object] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class VideoLabels:
    """The part of a stream's labels that is stored for one video."""

    number: int  # of the video in the stream
    folder: Path
    frame_numbers: np.ndarray  # frame number of each row of the store's arrays
    rows: np.ndarray  # int64 [m], ascending: those of frames that are not damaged
    positions: np.ndarray  # int64 [m]: their positions in the stream
    manifest: dict[str, Any]

    def position_of(self, row: int) -> int:
        """Return the position of a row whose frame is not damaged."""
        return int(self.positions[np.searchsorted(self.rows, row)])


class TeacherLabels:
    """The label stores of one teacher on one stream.

    Args:
        stream: as sampled, before damaged frames were left out: its frames are the rows of the arrays.
        kept: the stream that positions refer to.
        folder: of all label stores.
        soft: the soft labels that are needed too.
        features: those that are needed too.
    """

    def __init__(
        self,
        stream: Stream,
        kept: Stream,
        teacher: TeacherName,
        folder: Path,
        soft: SoftSpec | None = None,
        features: Sequence[FeatureKind] = (),
    ) -> None:
        self.stream, self.teacher, self.soft, self.features, self.folder = kept, teacher, soft, features, folder
        self.videos: list[VideoLabels] = []
        self._stores: dict[int, LabelStore] = {}
        for number, video in enumerate(stream.videos):
            frames = stream.frame_of[stream.video_of == number]
            identity = {
                "video_sha256": video.digest,
                "sampled_frames_digest": list_digest(frames),
                "teacher": dict(teacher.identity),
                "size": list(teacher.size or (video.height, video.width)),
                "decoder": decoder_of(video),
            }
            positions = np.flatnonzero(kept.video_of == number)
            rows = np.searchsorted(frames, kept.frame_of[positions])
            order = np.argsort(rows)
            self.videos.append(
                VideoLabels(
                    number,
                    folder / teacher.name / f"{video.stem}-{store_key(identity)}",
                    frames,
                    rows[order],
                    positions[order],
                    {
                        "teacher": teacher.name,
                        "video": video.path.name,
                        "shard_frames": SHARD_FRAMES,
                        "identity": identity,
                        **teacher.facts,
                        **packed("sampled_frames", frames),
                    },
                )
            )

    @property
    def folders(self) -> list[Path]:
        """The folders of the stores, one per video with a sampled frame."""
        return [video.folder for video in self.videos if len(video.frame_numbers)]

    @property
    def own_classes(self) -> OwnClasses | None:
        """What the weights say of their classes, as recorded in a store; None if no store has it."""
        known = (OwnClasses.stored(store.manifest) for store in map(self.find, self.videos) if store is not None)
        return next((own for own in known if own is not None), None)

    @property
    def names_of_commands(self) -> list[str] | None:
        """The names of a command that a store of an earlier version of odkd holds instead; None if none does."""
        stores = [store for store in map(self.find, self.videos) if store is not None]
        old = [store.manifest.get("classes") for store in stores if OwnClasses.stored(store.manifest) is None]
        return next(([str(name) for name in names] for names in old if names), None)

    def read(self, position: int) -> np.ndarray:
        """Return uint8 [H, W] at the teacher's output size, with ids of the teacher's classes.

        Raises:
            KeyError: the position is not labelled yet.
            DamagedLabelsError: the stored map fails its checksum.
        """
        store, row = self._place(position)
        return store.read(row)

    def read_soft(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Return classes uint8 [k, h, w] and probabilities float32 [k, h, w], likeliest first. Raises as `read`."""
        assert self.soft is not None, "these labels were opened without `soft`"
        store, row = self._place(position)
        return store.read_soft(row, self.soft)

    def read_features(self, position: int, kind: FeatureKind) -> np.ndarray:
        """Return float16 [C, h, w]. Raises as `read`."""
        store, row = self._place(position)
        return store.features.read(row, kind)

    def missing(self) -> list[int]:
        """Return the positions that lack labels, or soft labels or features if these are needed."""
        rows = ((video, row) for video in self.videos for row in self.missing_rows(video))
        return sorted(video.position_of(row) for video, row in rows)

    def missing_rows(self, video: VideoLabels) -> list[int]:
        """Return the rows of a video's store that are missing and can be labelled (their frames are not damaged)."""
        store = self.find(video)
        rows = video.rows if store is None else video.rows[~store.stored_mask(self.soft, self.features)[video.rows]]
        missing: list[int] = rows.tolist()
        return missing

    def find(self, video: VideoLabels) -> LabelStore | None:
        """Return the store of a video, or None if there is none."""
        if video.number not in self._stores and (video.folder / "manifest.json").is_file():
            self._stores[video.number] = LabelStore(video.folder).completed()
        return self._stores.get(video.number)

    def create(self, video: VideoLabels, own: OwnClasses) -> LabelStore:
        """Return the store of a video; create it if there is none."""
        if self.find(video) is None:
            self._stores[video.number] = LabelStore.create(video.folder, {**video.manifest, **own.facts()})
        return self._stores[video.number]

    def histogram(self, cache: Path) -> np.ndarray:
        """Return int64 [256], the pixels of each class id over all positions.

        They are counted once per version of the label files and kept under `cache`.
        """
        files = sorted(
            path for folder in self.folders for path in (folder / "labels" / "c").rglob("0") if path.is_file()
        )
        versions = [[str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns] for path in files]
        note = cache / "digests" / json_digest(["histogram", self.stream.digest, versions])
        return np.array(remembered(note, self._count), np.int64)

    def _count(self) -> list[int]:
        counts = np.zeros(256, np.int64)
        for position in range(len(self.stream)):
            counts += np.bincount(self.read(position).reshape(-1), minlength=256)
        found: list[int] = counts.tolist()
        return found

    def _place(self, position: int) -> tuple[LabelStore, int]:
        video = self.videos[int(self.stream.video_of[position])]
        store = self.find(video)
        if store is None:
            raise KeyError(f"position {position} is not labelled: {video.folder} does not exist")
        return store, int(np.searchsorted(video.frame_numbers, self.stream.frame_of[position]))
