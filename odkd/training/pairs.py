"""Results of the pair rounds of MCKD: the label stores of their students, and a record for later runs."""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from odkd.common.files import json_digest
from odkd.common.reading import read_json
from odkd.data.labels.store import LabelStore, SoftSpec
from odkd.data.labels.store_files import find_stores
from odkd.data.labels.student_labels import MergedLabels, StudentLabels, StudentName
from odkd.data.tensor_bank import Bank
from odkd.data.video.stream import Stream
from odkd.runs.run_file import verify
from odkd.training.trainer import student_file

PREVIOUS = "previous_round"  # name of the label source
RECORD = "pseudo_labels.json"  # written to the run's folder after the last pair round
FORM = {"run_key": str, "splits_digest": str, "students": list[dict[str, str | int]]}
ADVICE = "create it again with the run's command and run.restart=true"


@dataclass(frozen=True)
class Shelf:
    """Access to the label stores of a run's students.

    Args:
        folder: of all label stores.
        run_key: of this run.
        size: (height, width) of the label maps, which is that of the students.
        classes: of the dataset.
        device: on which students predict, for the record.
        soft: format of the students' soft labels, if the loss learns from them; None = class ids only.
    """

    folder: Path
    run_key: str
    size: tuple[int, int]
    classes: Sequence[str]
    device: str
    soft: SoftSpec | None = None

    def labels(self, stream: Stream, positions: Sequence[int], student: StudentName) -> StudentLabels:
        """Return the labels of a student for these positions, whether stored already or not."""
        facts = {"run": student.run_key, "stage": student.round, "student": student.number}
        return StudentLabels(
            stream, positions, student, self.folder, size=self.size, classes=self.classes, facts=facts, soft=self.soft
        )

    def find(self, stream: Stream, run_folder: Path, round_number: int, number: int) -> StudentLabels:
        """Return the stored labels of a finished student of this run.

        Raises:
            ValueError: there is no such student, or its labels are missing.
        """
        path = student_file(run_folder, f"round_{round_number}/student_{number}")
        if not path.is_file():
            raise ValueError(f"there is no {path}: expected a student of one of the run's pair rounds, counted from 1")
        verify(run_folder, [path.relative_to(run_folder).as_posix()])
        student = StudentName(self.run_key, round_number, number, hashlib.sha256(path.read_bytes()).hexdigest())
        stores = [LabelStore(folder) for folder in find_stores(self.folder / student.folder)]
        own = [store for store in stores if store.manifest["identity"]["teacher"] == student.identity()]
        labelled = {(store.manifest["video"], frame) for store in own for frame in store.frame_numbers.tolist()}
        names = [stream.videos[video].path.name for video in stream.video_of.tolist()]
        pairs = zip(names, stream.frame_of.tolist(), strict=True)
        stored = self.labels(stream, [position for position, pair in enumerate(pairs) if pair in labelled], student)
        if not stored.positions or stored.missing():
            raise ValueError(
                f"the label maps of {path} are missing from {self.folder}; "
                "create them again with the run's command and run.restart=true"
            )
        return stored


def use_previous(bank: Bank, labels: MergedLabels) -> None:
    """Add the labels of the previous round's students to the bank; their soft labels replace those of the teacher."""
    bank.use(PREVIOUS, labels, soft=(PREVIOUS,) if labels.has_soft else ())


@dataclass(frozen=True)
class FirstRounds:
    """The students of a run's last pair round, in the order of their parts."""

    run_key: str
    students: Sequence[StudentName]
    folder: Path  # of the run

    def describe(self, splits: Mapping[str, Sequence[int]], stored: Sequence[StudentLabels]) -> dict[str, Any]:
        """Return the record: the students, their label stores and a digest of the splits."""
        return {
            "run_key": self.run_key,
            "splits_digest": json_digest({name: list(positions) for name, positions in splits.items()}),
            "students": [asdict(student) for student in self.students],
            "stores": [[str(folder) for folder in labels.folders] for labels in stored],
        }

    @classmethod
    def read(cls, folder: Path) -> "FirstRounds":
        """Read the record in a run's folder.

        Raises:
            ValueError: there is none: no such run, or its pair rounds are not finished.
        """
        path = folder / RECORD
        if not path.is_file():
            raise ValueError(f"{folder} has no {RECORD}: it is no run with finished pair rounds")
        verify(folder, [RECORD])
        record = read_json(path, FORM, advice=ADVICE)
        students = [{"round" if key == "stage" else key: value for key, value in s.items()} for s in record["students"]]
        try:
            names = [StudentName(**student) for student in students]
        except TypeError as error:
            raise ValueError(f"{path} is damaged ({error}); {ADVICE}") from error
        return cls(record["run_key"], names, folder)

    def check(self, splits: Mapping[str, Sequence[int]], stored: Sequence[StudentLabels]) -> None:
        """Check that these splits are those of the record and that all labels are stored.

        Raises:
            ValueError: the splits differ, or labels are missing.
        """
        record = read_json(self.folder / RECORD, FORM, advice=ADVICE)
        if record["splits_digest"] != json_digest({name: list(positions) for name, positions in splits.items()}):
            raise ValueError(
                f"{self.folder} has other splits of its images; "
                "use its dataset, seed and stage.shares, or leave stage.first_run out"
            )
        if missing := sum(len(labels.missing()) for labels in stored):
            raise ValueError(
                f"{missing} of the label maps of {self.folder} are not in the label store at this dataset.size "
                "and with these soft labels; use its settings, or create them again with its command and "
                "run.restart=true"
            )


def check_first_rounds(cfg: DictConfig, command: str) -> None:
    """Check that there can be pair rounds for a run of `cfg`, as far as that shows without its stream.

    Args:
        command: that runs these pair rounds, for the message.

    Raises:
        ValueError: stage.first_run has none, or no run at all has any.
    """
    if cfg.stage.get("run_rounds") != "final":
        return
    runs = Path(cfg.paths.outputs) / "runs"
    if cfg.stage.first_run is not None:
        FirstRounds.read(Path(cfg.stage.first_run))
    elif not any(runs.glob(f"*/{RECORD}")):
        raise ValueError(
            f"stage={cfg.stage.name} needs the pseudo-labels of stage=mckd_first with the same settings, and {runs} "
            f"has no finished run of it; first run the command  {command}"
        )


def find_first_rounds(cfg: DictConfig, key_of: Callable[[DictConfig], str], command: str) -> FirstRounds | None:
    """Return the pair rounds whose labels a run of `cfg` learns from; None for a stage that has its own pair rounds.

    They are those of stage.first_run or, if it is not set, of the stage=mckd_first run with the same settings.

    Args:
        key_of: returns the run key of a config.
        command: that runs these pair rounds, for the message.

    Raises:
        ValueError: there is no such run, or its pair rounds are not finished.
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
            f"stage={cfg.stage.name} needs the pseudo-labels of stage=mckd_first with the same settings, and {runs} "
            f"has no finished run *-{key[:8]}; first run the command  {command}"
        )
    return FirstRounds.read(found[0].parent)
