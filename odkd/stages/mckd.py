"""Multistage collaborative distillation: pairs of students relabel each other's half (arXiv 2311.08640, sec. 3).

The training images are split once, at random, into disjoint parts. In each round but the last, student p, new, learns
from the current labels of part p and then relabels part p + 1 (the last student: part 0), from which it has not
learned. In the last round, one new student learns from the merged latest labels of all parts. One round alone is plain
distillation or, on ground truth, supervised learning.

Deviation: validation and test images are split and relabelled in the same way, so that labels of the previous round
exist to validate with and to score against; nothing is ever learned from them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from odkd.common.names import counted
from odkd.common.settings import PositiveInt
from odkd.data.labels import LabelSource
from odkd.data.split_plan import SplitPlan
from odkd.data.video.stream import Stream
from odkd.evaluation.evaluate import Evaluator
from odkd.runs.run import OpenRun
from odkd.stages import Traits
from odkd.training.epochs import ScheduleFactory
from odkd.training.learn import Learner
from odkd.training.over_epochs import OverEpochs
from odkd.training.pairs import FirstRounds, Shelf
from odkd.training.rounds import Rounds
from odkd.training.side_by_side import SideBySide


@dataclass(frozen=True, kw_only=True)
class Mckd(OverEpochs):
    """Trains students over epochs, in rounds. conf/stage/parts/epochs.yaml explains its own settings.

    `plain_epochs` adds a student by plain distillation, from the teacher's labels of all training images.

    Raises:
        ValueError: settings that contradict each other.
    """

    uses_teacher: bool
    learn_from: Literal["teacher", "groundtruth"]
    run_rounds: Literal["all", "first", "final"]
    num_rounds: PositiveInt
    num_parts: PositiveInt
    devices: list[str] | None
    first_run: str | None
    plain_epochs: PositiveInt | None

    def __post_init__(self) -> None:
        self._check_rounds()
        super().__post_init__()
        self._check_devices()

    @property
    def traits(self) -> Traits:
        """The first rounds end with several students, so no single one is saved."""
        return Traits(has_epochs=True, leaves_student=self.run_rounds != "first", compared="final/val_best")

    def check(self, *, stream: Stream, official_splits: Sequence[str] | None, seed: int) -> None:
        """Check that there are images for every part."""
        self._splits(stream, official_splits, seed)

    def run(
        self,
        *,
        stream: Stream,
        learner: Learner,
        evaluator: Evaluator,
        references: Mapping[str, LabelSource],
        schedule: ScheduleFactory | None,
        official_splits: Sequence[str] | None,
        shelf: Shelf,
        first_rounds: FirstRounds | None,
        side_by_side: SideBySide | None,
        run: OpenRun,
        seed: int,
    ) -> dict[str, float]:
        """Run the rounds, from where an earlier process stopped, and return the summary."""
        splits = self._splits(stream, official_splits, seed)
        splits.write(run.folder / "splits", stream)
        trainings = self.trainings(learner, evaluator, run, seed=seed, schedule=schedule)
        scores = self.scores(evaluator, references, splits, shelf.classes)
        rounds = Rounds(stream, splits, trainings, scores, shelf, self.learn_from)

        if self.plain_epochs is not None and self.run_rounds != "first":
            rounds.train_one("plain", epochs=self.plain_epochs)
        if first_rounds is not None:
            rounds.continue_from(first_rounds)
        elif self.num_rounds > 1:
            for number in range(1, self.num_rounds):
                students = rounds.train_round(number, side_by_side)
                rounds.use_labels_of(students)
            rounds.record(students)
        if self.run_rounds != "first":
            rounds.train_one("final")
            trainings.restore("final")
        return rounds.summary()

    def _splits(self, stream: Stream, official_splits: Sequence[str] | None, seed: int) -> SplitPlan:
        learns_from_labelled = self.learn_from == "groundtruth"
        return self.splits(
            stream, official_splits, seed, num_parts=self.num_parts, learns_from_labelled=learns_from_labelled
        )

    def _check_rounds(self) -> None:
        if self.num_rounds > 1 and self.num_parts < 2:
            raise ValueError(
                "stage.num_parts=1: each student would relabel the pictures that it has learned from; set 2 or more, "
                "or stage.num_rounds=1 for plain distillation"
            )
        if self.num_rounds < 2 and self.run_rounds != "all":
            raise ValueError(
                f"stage.num_rounds={self.num_rounds} has no pair rounds for stage={self.name}; set 2 or more"
            )
        if self.plain_epochs is not None and (self.num_rounds < 2 or self.run_rounds == "first"):
            raise ValueError(
                f"stage.plain_epochs={self.plain_epochs} is what stage=mckd or mckd_final is compared with; "
                f"stage={self.name} has no final student to compare: set null"
            )
        if self.first_run is not None and self.run_rounds != "final":
            raise ValueError(
                f"stage.first_run is for stage=mckd_final; stage={self.name} trains its own pairs: set null"
            )

    def _check_devices(self) -> None:
        devices = self.devices
        if devices is None:
            return
        if not devices:
            raise ValueError(f"stage.devices={devices}; expected a list such as [cuda:0,cuda:1], or null for in turn")
        if self.run_rounds == "final" or self.num_rounds < 2:
            raise ValueError(f"stage.devices is for pairs of students, and stage={self.name} trains one; leave it out")
        if len(devices) > self.num_parts:
            raise ValueError(
                f"stage.devices names {counted(len(devices), 'device')} for the "
                f"stage.num_parts={self.num_parts} students of a "
                "pair round; leave some out"
            )
