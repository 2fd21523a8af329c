"""What the pair rounds of MCKD hand on: their students' label stores, and a record by which a later run finds them."""

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from odkd.common.files import json_digest
from odkd.data.bank import Bank
from odkd.data.labels.store import LabelStore, SoftSpec, find_stores
from odkd.data.labels.student_labels import MergedLabels, StudentLabels, StudentName
from odkd.data.video.stream import Stream
from odkd.training.epochs import student_file

PREVIOUS = "previous_round"  # name of the label source
RECORD = "pseudo_labels.json"  # in the run's folder, once all pair rounds are done


@dataclass(frozen=True)
class Shelf:
    """Where a run keeps what its students label.

    Args:
        folder: of all label stores.
        run_key: of this run.
        size: (height, width) of label maps, which is the students' own.
        classes: of the dataset.
        device: on which students predict, for the record.
        soft: the soft labels that students hand on, where the loss learns from such; None = class ids alone.
    """

    folder: Path
    run_key: str
    size: tuple[int, int]
    classes: Sequence[str]
    device: str
    soft: SoftSpec | None = None

    def labels(self, stream: Stream, positions: Sequence[int], student: StudentName) -> StudentLabels:
        """What a student has labelled, or is to."""
        facts = {"run": student.run_key, "stage": student.round, "student": student.number}
        return StudentLabels(
            stream, positions, student, self.folder, size=self.size, classes=self.classes, facts=facts, soft=self.soft
        )

    def find(self, stream: Stream, run_folder: Path, round_number: int, number: int) -> StudentLabels:
        """What a student of this run, finished before, has labelled.

        Raises:
            ValueError: there is no such student, or its labels are gone.
        """
        path = student_file(run_folder, f"round_{round_number}/student_{number}")
        if not path.is_file():
            raise ValueError(f"there is no {path}: expected a student of one of the run's pair rounds, counted from 1")
        student = StudentName(self.run_key, round_number, number, hashlib.sha256(path.read_bytes()).hexdigest())
        manifests = [LabelStore(folder).manifest for folder in find_stores(self.folder / student.folder)]
        own = [manifest for manifest in manifests if manifest["identity"]["teacher"] == student.identity()]
        labelled = {(manifest["video"], frame) for manifest in own for frame in manifest["sampled_frames"]}
        names = [stream.videos[video].path.name for video in stream.video_of.tolist()]
        pairs = zip(names, stream.frame_of.tolist(), strict=True)
        stored = self.labels(stream, [position for position, pair in enumerate(pairs) if pair in labelled], student)
        if not stored.positions or stored.missing():
            raise ValueError(
                f"the label maps of {path} are gone from {self.folder}; "
                "make them again with the run's command and run.restart=true"
            )
        return stored


def use_previous(bank: Bank, labels: MergedLabels) -> None:
    """Learn from these labels, of the previous round's students, next; soft ones take the place of the teacher's."""
    bank.use(PREVIOUS, labels, soft=(PREVIOUS,) if labels.has_soft else ())


@dataclass(frozen=True)
class FirstRounds:
    """The students of a run's last pair round, one a part, in order."""

    run_key: str
    students: Sequence[StudentName]
    folder: Path  # of the run

    def describe(self, splits: Mapping[str, Sequence[int]], stored: Sequence[StudentLabels]) -> dict[str, Any]:
        """The record: which students, which label stores."""
        return {
            "run_key": self.run_key,
            "splits_digest": json_digest({name: list(positions) for name, positions in splits.items()}),
            "students": [asdict(student) for student in self.students],
            "stores": [[str(folder) for folder in labels.folders] for labels in stored],
        }

    @classmethod
    def read(cls, folder: Path) -> "FirstRounds":
        """From a run's folder.

        Raises:
            ValueError: there is no record: no such run, or one that is not that far.
        """
        path = folder / RECORD
        if not path.is_file():
            raise ValueError(f"{folder} has no {RECORD}: it is no run whose pair rounds are done")
        record = json.loads(path.read_text())
        students = [{"round" if key == "stage" else key: value for key, value in s.items()} for s in record["students"]]
        return cls(record["run_key"], [StudentName(**student) for student in students], folder)

    def check(self, splits: Mapping[str, Sequence[int]], stored: Sequence[StudentLabels]) -> None:
        """That the labels are those of our parts, and all there.

        Raises:
            ValueError: they are not.
        """
        record = json.loads((self.folder / RECORD).read_text())
        if record["splits_digest"] != json_digest({name: list(positions) for name, positions in splits.items()}):
            raise ValueError(
                f"{self.folder} has split its pictures otherwise; "
                "use its dataset, seed and stage.shares, or leave stage.first_run out"
            )
        if missing := sum(len(labels.missing()) for labels in stored):
            raise ValueError(
                f"{missing} of the label maps of {self.folder} are not in the label store at this dataset.size "
                "and with these soft labels; use its settings, or make them again with its command and run.restart=true"
            )


def find_first_rounds(cfg: DictConfig, key_of: Callable[[DictConfig], str], command: str) -> FirstRounds | None:
    """The pair rounds whose labels a run of `cfg` learns from: those of stage.first_run, or those of the
    stage=mckd_first run of the same settings, found by its key; None for a stage that makes its own.

    Raises:
        ValueError: there is no such run, or it is not that far; `command` makes it.
    """
    if cfg.stage.get("run_rounds") != "final":
        return None
    if cfg.stage.first_run is not None:
        return FirstRounds.read(Path(cfg.stage.first_run))
    first = cfg.copy()
    first.stage = dict(cfg.stage) | {"name": "mckd_first", "run_rounds": "first", "plain_epochs": None}
    key, runs = key_of(first), Path(cfg.paths.outputs) / "runs"
    found = sorted(runs.glob(f"*-{key[:8]}/{RECORD}"))
    if not found:
        raise ValueError(
            f"stage=mckd_final needs the pseudo-labels of stage=mckd_first with the same settings, and {runs} has no "
            f"finished run *-{key[:8]}; first give the command  {command}"
        )
    return FirstRounds.read(found[0].parent)
