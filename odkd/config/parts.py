"""The parts of a run, each built once, when it is first asked for: by the stage (`call_stage.py`), in parts_*.py."""

from collections.abc import Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from odkd.common.device import choose_device
from odkd.common.seeds import named_seed
from odkd.config.check_dataset import check_truth
from odkd.config.check_relations import check_window
from odkd.config.construct import construct
from odkd.config.identity import run_name, teacher_identity
from odkd.config.key import key_of
from odkd.config.numerics import settle
from odkd.config.parts_evaluation import EvaluationParts
from odkd.config.parts_features import FeatureParts
from odkd.config.parts_live import live_plan
from odkd.config.parts_rounds import RoundsParts
from odkd.config.parts_stream import StreamParts
from odkd.config.parts_student import StudentParts
from odkd.config.parts_teacher import TeacherParts
from odkd.config.parts_timing import TimingParts, paced
from odkd.data.labels import LabelSource
from odkd.data.labels.teacher_labels import TeacherLabels
from odkd.data.tensor_bank import Bank
from odkd.data.video.frames import FrameReader
from odkd.data.video.stream import Stream
from odkd.data.window import Window
from odkd.evaluation.evaluate import Evaluator
from odkd.evaluation.watch import Watch
from odkd.stages import Stage, Traits, learns_from, parts_asked_for, traits_of, uses_teacher
from odkd.training.clock.plan import ClockPlan
from odkd.training.epochs import ScheduleFactory
from odkd.training.learn import Learner
from odkd.training.live.plan import LivePlan
from odkd.training.pace import Pace
from odkd.training.pairs import FirstRounds, Shelf
from odkd.training.replay import Replay
from odkd.training.side_by_side import SideBySide
from odkd.training.snapshots import Snapshots


class Parts:
    """The parts of a run, by the names under which a stage asks for them; a mistake in its config is a ValueError."""

    def __init__(self, cfg: DictConfig) -> None:
        cfg, self.chosen_numerics = settle(cfg)
        self.cfg, self.allowed = cfg, list[str](cfg.allow_targets)
        self.cache, self.classes = Path(cfg.paths.cache), list[str](cfg.dataset.classes)
        self.window: Window = Window(**cfg.window)
        self.seed = named_seed(cfg.seed, "repeat", cfg.run.repeat) if cfg.run.repeat else int(cfg.seed)
        self.stage: Stage = construct(cfg.stage, (), {}, self.allowed, "stage")

    @property
    def traits(self) -> Traits:
        """What the stage is, whatever its settings."""
        return traits_of(self.stage)

    @cached_property
    def stream_parts(self) -> StreamParts:
        asked = () if self.traits.is_live else self.asked  # a live stream may have any length
        return StreamParts(self.cfg.dataset, self.cache, self.allowed, partial(check_window, self.window, asked))

    @property
    def sampled(self) -> Stream:
        return self.stream_parts.sampled

    @property
    def stream(self) -> Stream:
        return self.stream_parts.planned if self.traits.is_live else self.stream_parts.stream

    @property
    def frames(self) -> FrameReader:
        return self.stream_parts.frames

    @cached_property
    def groundtruth(self) -> LabelSource | None:
        """True labels of `stream`, or None."""
        return self.stream_parts.truth_of(self.stream)

    @cached_property
    def teacher_identity(self) -> dict[str, Any]:
        return teacher_identity(self.cfg, self.allowed, self.cache, self.groundtruth_digest)

    @cached_property
    def groundtruth_digest(self) -> str | None:
        digest = self.stream_parts.truth_digest
        check_truth(self.cfg, has_truth=digest is not None)
        return digest

    @cached_property
    def official_splits(self) -> list[str] | None:
        """The split (train, val, test) of each position of `stream`, or None."""
        return self.stream_parts.official_splits_of(self.stream)

    @cached_property
    def teacher_parts(self) -> TeacherParts:
        return TeacherParts(self.cfg, self.classes, lambda: self.teacher_identity, self.device, self.allowed)

    @cached_property
    def teacher_labels(self) -> TeacherLabels:
        """The label stores of the stream, with the teacher's own ids; `label_stream` fills them."""
        return self.teacher_parts.stores(self.sampled, self.stream)

    def label_stream(self) -> None:
        """Have the teacher label what is not labelled yet; processes that do the same share the work."""
        self.teacher_parts.introduce()
        self.teacher_parts.fill(self.teacher_labels, self.groundtruth)

    @cached_property
    def labels(self) -> LabelSource:
        """The teacher's label maps with the dataset's ids."""
        return self.teacher_parts.mapped(self.teacher_labels)

    @cached_property
    def references(self) -> dict[str, LabelSource]:
        """The label sources to score against and to learn from, by name."""
        sources: dict[str, LabelSource] = {"teacher": self.labels} if self.has_teacher else {}
        if self.uses_groundtruth and self.groundtruth is not None:
            sources["groundtruth"] = self.groundtruth
        return sources

    @cached_property
    def device(self) -> torch.device:
        return choose_device(self.cfg.device, precision=self.cfg.precision)

    @cached_property
    def student_parts(self) -> StudentParts:
        shared = (self.cfg, self.seed, self.device)
        features = FeatureParts(*shared, self.make, lambda: self.teacher_parts, lambda: self.teacher_labels)
        return StudentParts(*shared, self.learns_from, self.traits.has_epochs, self.make, features)

    @cached_property
    def learner(self) -> Learner:
        return self.student_parts.learner()

    @property
    def schedule(self) -> ScheduleFactory:
        return self.student_parts.schedule

    @property
    def snapshots(self) -> Snapshots:
        return Snapshots(self.cfg.run.get("snapshots"))

    @cached_property
    def replay(self) -> Replay:
        return self.make(self.cfg.replay)  # type: ignore[no-any-return]

    @cached_property
    def pace(self) -> Pace:
        return paced(self.make(self.cfg.pace), self.cfg.dataset)

    @cached_property
    def clock(self) -> ClockPlan:
        timing = TimingParts(self.cfg, self.make(self.cfg.timing), lambda: self.teacher_parts.teacher)
        return timing.clock(self.sampled.videos[0], self.folder)

    @cached_property
    def evaluation_parts(self) -> EvaluationParts:
        return EvaluationParts(self.cfg, self.classes, self.device)

    @cached_property
    def bank(self) -> Bank:
        return self.evaluation_parts.bank(self.frames, self.references, with_soft_labels=self.needs_soft_labels)

    @cached_property
    def evaluator(self) -> Evaluator:
        return self.evaluation_parts.evaluator(self.bank)

    @cached_property
    def watch(self) -> Watch:
        length = self.stream_parts.sequence_positions
        return self.evaluation_parts.watch(self.stream, self.window, self.evaluator, length)

    @cached_property
    def live(self) -> LivePlan:
        return live_plan(self)

    @property
    def rounds_parts(self) -> RoundsParts:
        return RoundsParts(self.cfg, self.classes, Parts)

    @cached_property
    def shelf(self) -> Shelf:
        soft = self.teacher_parts.soft if self.needs_soft_labels else None
        return self.rounds_parts.shelf(self.key, self.device, soft)

    @cached_property
    def first_rounds(self) -> FirstRounds | None:
        return self.rounds_parts.first_rounds()

    @cached_property
    def side_by_side(self) -> SideBySide | None:
        return self.rounds_parts.side_by_side(self.device)

    @cached_property
    def key(self) -> str:
        """Digest of everything that determines the run's numbers."""
        return key_of(self)

    @property
    def folder(self) -> Path:
        """The run's folder: NAME-KEY below outputs/runs."""
        return Path(self.cfg.paths.outputs) / "runs" / f"{self.name}-{self.key[:8]}"

    @property
    def name(self) -> str:
        """The first part of the folder's name."""
        return run_name(self.cfg, learns=self.traits.learns, has_teacher=self.has_teacher)

    @property
    def learns_from(self) -> str:
        """The label source of the training."""
        return learns_from(self.stage)

    @property
    def has_teacher(self) -> bool:
        """True if there is a teacher at all, to learn from or to compare with."""
        return uses_teacher(self.stage)

    @property
    def uses_groundtruth(self) -> bool:
        """True if true labels are scored against (what is learned from is scored against, too)."""
        return self.cfg.evaluation.groundtruth is not False

    @property
    def needs_soft_labels(self) -> bool:
        """True if the loss learns from the teacher's probabilities."""
        return self.traits.learns and self.student_parts.needs_soft_labels

    @property
    def asked(self) -> Sequence[str]:
        """The names of the parts that the stage takes."""
        return parts_asked_for(self.stage)

    def close(self) -> None:
        """Stop background work."""
        if "bank" in self.__dict__:
            self.bank.__exit__()

    def make(self, node: DictConfig, leave_out: tuple[str, ...] = (), **extra: Any) -> Any:
        """Build the object that a config node names; its constructor may ask by name for what is offered here."""
        offered: dict[str, Any] = {"num_classes": len(self.classes), "classes": self.classes, "window": self.window}
        offered |= {"device": self.device, "seed": self.seed, **extra}
        return construct(node, leave_out, offered, self.allowed, str(node._get_full_key(None)))
