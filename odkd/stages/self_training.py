"""Self-training: each student relabels all images and a new one learns from these labels (Noisy Student; ST++).

The teacher of the papers (Xie et al. CVPR 2020, alg. 1; Yang et al. CVPR 2022, sec. 3.1) is student 1 here; what they
call labelled images are those that the run's teacher has labelled for student 1: all, or `taught_share` of them. Noise
of the students is what the run has as augmentation and dropout; labels are made without.

Deviation: later students learn from the relabelled images alone; in the papers the labelled ones keep their labels.
Validation and test images are relabelled too, to score against; nothing is ever learned from them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from annotated_types import Ge, Gt, Lt

from odkd.data.labels import LabelSource
from odkd.data.split_plan import SplitPlan
from odkd.data.splits import labelled_and_rest
from odkd.data.video.stream import Stream
from odkd.evaluation.evaluate import Evaluator
from odkd.runs.run import OpenRun
from odkd.stages import Traits
from odkd.training.epochs import ScheduleFactory
from odkd.training.learn import Learner
from odkd.training.over_epochs import OverEpochs
from odkd.training.pairs import Shelf
from odkd.training.rounds import Rounds

TAUGHT = "train_taught"  # the list of images whose labels student 1 learns from


@dataclass(frozen=True, kw_only=True)
class SelfTraining(OverEpochs):
    """Trains students one after the other, each on the labels of the one before."""

    num_rounds: Annotated[int, Ge(2)]
    taught_share: Annotated[float, Gt(0), Lt(1)] | None
    traits: ClassVar[Traits] = Traits(has_epochs=True, compared="final/val_best")

    def check(self, *, stream: Stream, official_splits: Sequence[str] | None, seed: int) -> None:
        """Check that there are images to learn from."""
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
        run: OpenRun,
        seed: int,
    ) -> dict[str, float]:
        """Train and relabel, from where an earlier process stopped, and return the summary."""
        splits = self._splits(stream, official_splits, seed)
        splits.write(run.folder / "splits", stream)
        trainings = self.trainings(learner, evaluator, run, seed=seed, schedule=schedule)
        scores = self.scores(evaluator, references, splits, shelf.classes)
        rounds = Rounds(stream, splits, trainings, scores, shelf, "teacher")
        for number in range(1, self.num_rounds):
            students = rounds.train_round(number, learned=splits.others.get(TAUGHT) if number == 1 else None)
            rounds.use_labels_of(students)
        rounds.train_one("final")
        trainings.restore("final")
        return rounds.summary()

    def _splits(self, stream: Stream, official_splits: Sequence[str] | None, seed: int) -> SplitPlan:
        splits = self.splits(stream, official_splits, seed)
        if self.taught_share is None:
            return splits
        taught, _ = labelled_and_rest(splits.splits["train"], share=self.taught_share, seed=seed)
        return replace(splits, others={**splits.others, TAUGHT: taught})
