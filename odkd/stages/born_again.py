"""Born-again networks: students of the same size, each taught by labels and by the student before (Furlanello 2018).

Generation 1 minimises the loss of the run on the teacher's labels. Generation k minimises

    loss(teacher's labels, student k) + weight * KL(student k-1 || student k)        (ICML 2018, sec. 3, at T = 1)

with a loss that has no KL. One that has (loss=kl, loss=mckd) is taken as it is: it keeps its labels, which are the
teacher's, and its KL turns from the teacher's probabilities to those of the student before.

Deviation: the probabilities are those of the `top_k` likeliest classes, made once after a training without its
augmentation, as MCKD's are.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Annotated, ClassVar

from annotated_types import Ge

from odkd.common.settings import PositiveFloat, PositiveInt
from odkd.data.labels import LabelSource
from odkd.data.labels.store import SoftSpec
from odkd.data.video.stream import Stream
from odkd.evaluation.evaluate import Evaluator
from odkd.runs.run import OpenRun
from odkd.stages import Traits
from odkd.training.epochs import ScheduleFactory
from odkd.training.learn import Learner
from odkd.training.losses import Loss, SoftLoss, wants_soft
from odkd.training.losses.kl import KlDivergence
from odkd.training.losses.weighted_sum import WeightedSum
from odkd.training.over_epochs import OverEpochs
from odkd.training.pairs import Shelf
from odkd.training.rounds import Rounds


@dataclass(frozen=True, kw_only=True)
class BornAgain(OverEpochs):
    """Trains generations of students, each on the teacher's labels and the probabilities of the one before."""

    num_rounds: Annotated[int, Ge(2)]
    weight: PositiveFloat
    top_k: PositiveInt
    traits: ClassVar[Traits] = Traits(has_epochs=True, compared="final/val_best")

    def check(self, *, stream: Stream, official_splits: Sequence[str] | None, seed: int) -> None:
        """Check that there are images to learn from."""
        self.splits(stream, official_splits, seed)

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
        """Train the generations, from where an earlier process stopped, and return the summary."""
        splits = self.splits(stream, official_splits, seed)
        splits.write(run.folder / "splits", stream)
        trainings = self.trainings(learner, evaluator, run, seed=seed, schedule=schedule)
        scores = self.scores(evaluator, references, splits, shelf.classes)
        own = SoftSpec(min(self.top_k, len(shelf.classes)), shelf.size)
        shelf = replace(shelf, soft=shelf.soft or own)
        rounds = Rounds(stream, splits, trainings, scores, shelf, "teacher", keeps_origin=True)
        of_labels = learner.loss
        for number in range(1, self.num_rounds):
            students = rounds.train_round(number)
            rounds.use_labels_of(students)
            learner.loss = with_previous(of_labels, self.weight)
        rounds.train_one("final")
        trainings.restore("final")
        return rounds.summary()


def with_previous(loss: Loss | SoftLoss, weight: float) -> Loss | SoftLoss:
    """Return a loss on labels and on the probabilities of the student before: the same one if it has KL."""
    if wants_soft(loss):
        return loss
    parts: dict[str, Loss | SoftLoss] = {loss.name: loss, "previous_student": KlDivergence(1.0)}
    return WeightedSum({loss.name: 1.0, "previous_student": weight}, parts)
