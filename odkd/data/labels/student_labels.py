"""Labels made by students, kept in label stores like those of a teacher: one store per video and student."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from odkd.common.files import json_digest
from odkd.data.labels.own_classes import OwnClasses
from odkd.data.labels.session import Session
from odkd.data.labels.store import Labelled, SoftSpec
from odkd.data.labels.teacher_labels import TeacherLabels, TeacherName
from odkd.data.video.stream import Stream


@dataclass(frozen=True)
class StudentName:
    """The identity of a student: its run, its round, its number in the round, and the sha256 of its weights file."""

    run_key: str
    round: int
    number: int
    weights: str

    @property
    def folder(self) -> str:
        """The name of its folder below that of all label stores."""
        return f"mckd-{self.run_key[:8]}-stage{self.round}-student{self.number}"

    def identity(self) -> dict[str, Any]:
        """Return what determines its labels besides the frames."""
        return {"run": self.run_key, "stage": self.round, "student": self.number, "weights_sha256": self.weights}


class StudentLabels:
    """The labels of one student at a set of positions; its stores hold exactly these frames.

    Args:
        stream: the stream that positions refer to.
        positions: those that the student labels.
        folder: of all label stores.
        size: (height, width) of its label maps.
        facts: further entries of the stores' manifests.
        soft: the soft labels to store too; None = class ids only.
    """

    def __init__(
        self,
        stream: Stream,
        positions: Sequence[int],
        student: StudentName,
        folder: Path,
        *,
        size: tuple[int, int],
        classes: Sequence[str],
        facts: Mapping[str, Any],
        soft: SoftSpec | None = None,
    ) -> None:
        self.positions = sorted(
            positions, key=lambda position: (int(stream.video_of[position]), int(stream.frame_of[position]))
        )
        self.student, self._classes = student, list(classes)
        self._row_of = {position: row for row, position in enumerate(self.positions)}
        only = _restricted(stream, self.positions)
        name = TeacherName(student.folder, student.identity(), size, {"made_by": "a student", **facts})
        self.soft = soft
        self._stores = TeacherLabels(only, only, name, folder, soft)

    @property
    def folders(self) -> list[Path]:
        """The folders of its stores."""
        return [video.folder for video in self._stores.videos if len(video.frame_numbers)]

    def read(self, position: int) -> np.ndarray:
        """Return uint8 [H, W]. Raises KeyError for a position that this student has not labelled."""
        return self._stores.read(self._row_of[position])

    def read_soft(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Return classes uint8 [k, h, w] and probabilities float32 [k, h, w]. Raises as `read`."""
        return self._stores.read_soft(self._row_of[position])

    def missing(self) -> list[int]:
        """Return the positions that are not stored yet."""
        return [self.positions[row] for row in self._stores.missing()]

    def fill(self, label: Callable[[Sequence[int]], Sequence[Labelled]], device: str) -> None:
        """Label the missing positions and store them shard by shard: a kill loses at most the current shard.

        `label` returns the labels of each position, including soft labels if `soft` asks for them.
        """
        session = Session(device)
        offset = 0  # index into `positions` at which the video begins
        for video in self._stores.videos:
            missing = self._stores.missing_rows(video)
            size = int(video.manifest["shard_frames"])
            for shard in sorted({row // size for row in missing}):
                rows = [row for row in missing if row // size == shard]
                labelled = label([self.positions[offset + row] for row in rows])
                store = self._stores.create(video, OwnClasses(self._classes, len(self._classes)))
                store.write(shard, dict(zip(rows, labelled, strict=True)), self.soft)
                session.add(video, store, rows, [])
            offset += len(video.frame_numbers)


class MergedLabels:
    """Label maps by position, each read from the student that labelled it."""

    def __init__(self, parts: Sequence[StudentLabels]) -> None:
        self._source_of: dict[int, StudentLabels] = {position: part for part in parts for position in part.positions}
        assert len(self._source_of) == sum(len(part.positions) for part in parts), "two students labelled one position"
        self.has_soft = all(part.soft is not None for part in parts)

    def read(self, position: int) -> np.ndarray:
        """Return uint8 [H, W]."""
        return self._source_of[position].read(position)

    def read_soft(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        """Return classes uint8 [k, h, w] and probabilities float32 [k, h, w]."""
        return self._source_of[position].read_soft(position)


def _restricted(stream: Stream, positions: Sequence[int]) -> Stream:
    """Return the stream restricted to these positions, in this order."""
    index = np.asarray(positions, np.int64)
    return replace(
        stream,
        video_of=stream.video_of[index],
        frame_of=stream.frame_of[index],
        seconds=stream.seconds[index],
        segment_of=np.zeros(len(index), np.int64),
        digest=json_digest([stream.digest, list(positions)]),
    )
