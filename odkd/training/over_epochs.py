"""Settings and preparations that stages over epochs share: the splits of the images, and how one student is trained."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Gt, Lt

from odkd.common.settings import PositiveInt
from odkd.data.labels import LabelSource
from odkd.data.split_plan import SplitPlan, plan_splits
from odkd.data.video.stream import Stream
from odkd.evaluation.evaluate import Evaluator
from odkd.runs.run import OpenRun
from odkd.training.epochs import EpochPlan, ScheduleFactory
from odkd.training.learn import Learner
from odkd.training.rounds import SplitScores
from odkd.training.trainer import Trainer
from odkd.training.trainings import Trainings


@dataclass(frozen=True, kw_only=True)
class OverEpochs:
    """The settings of conf/stage/parts/training.yaml, which explains them.

    Stages inherit it, so that all of them have the same images in the same splits, and as long trainings.

    Raises:
        ValueError: settings that contradict each other.
    """

    name: str
    shares: list[float]
    labelled_share: Annotated[float, Gt(0), Lt(1)] | None
    epochs: PositiveInt
    batch_size: PositiveInt
    drop_last: bool
    patience: PositiveInt | None
    best_by: Literal["miou", "miou_per_frame", "accuracy", "f1_weighted", "f1_macro"]
    best_against: Literal["teacher", "groundtruth", "previous_round"] | None
    reference_metric: bool

    def __post_init__(self) -> None:
        shares = self.shares
        if len(shares) != 3 or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6 or shares[0] == 0:
            raise ValueError(f"stage.shares={shares}; expected three shares (train, val, test) whose sum is 1")

    def splits(
        self,
        stream: Stream,
        official_splits: Sequence[str] | None,
        seed: int,
        *,
        num_parts: int = 1,
        learns_from_labelled: bool = False,
    ) -> SplitPlan:
        """Return the splits of a stream, and the parts of each; raises as `plan_splits`."""
        return plan_splits(
            len(stream),
            official_splits,
            shares=self.shares,
            labelled_share=self.labelled_share,
            learns_from_labelled=learns_from_labelled,
            num_parts=num_parts,
            seed=seed,
        )

    def trainings(
        self,
        learner: Learner,
        evaluator: Evaluator,
        run: OpenRun,
        *,
        seed: int,
        schedule: ScheduleFactory | None,
        others: Sequence[Learner] = (),
    ) -> Trainings:
        """Return the trainings of a run, from where an earlier process stopped."""
        plan = EpochPlan(self.epochs, self.batch_size, self.drop_last, self.patience, self.best_by, self.best_against)
        overhead = run.checkpoint_overhead
        trainer = Trainer(
            learner, evaluator, plan, seed=seed, schedule=schedule, checkpoint_overhead=overhead, others=others
        )
        return Trainings(run, trainer)

    def scores(
        self,
        evaluator: Evaluator,
        references: Mapping[str, LabelSource],
        splits: SplitPlan,
        classes: Sequence[str],
    ) -> SplitScores:
        """Return what scores the students of a run."""
        return SplitScores(evaluator, references, splits, classes, self.batch_size if self.reference_metric else None)
