"""Config -> objects.

A stage is a function; it names the parts that it needs as arguments, and `Parts` makes each of them once, when
it is first asked for. So checks and cheap parts come before the first frame is decoded.
"""

import inspect
from collections.abc import Callable
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from odkd.common.seeds import named_seed
from odkd.config.check import check_config
from odkd.config.check_dataset import check_truth
from odkd.config.compose import command_with, complete
from odkd.config.construct import check_targets, construct, resolve, targets
from odkd.config.identity import run_key, teacher_identity
from odkd.config.parts_stream import StreamParts
from odkd.config.parts_teacher import TeacherParts
from odkd.data.labels.palette import dataset_palette
from odkd.data.window import Window

if TYPE_CHECKING:  # torch and the model libraries take seconds to import: only when a run needs them
    import torch

    from odkd.config.parts_student import StudentParts
    from odkd.data.bank import Bank
    from odkd.data.labels import LabelSource
    from odkd.data.labels.teacher_labels import TeacherLabels
    from odkd.data.video.frames import FrameReader
    from odkd.data.video.stream import Stream
    from odkd.evaluation.evaluate import Evaluator
    from odkd.evaluation.watch import Watch
    from odkd.runs.run import OpenRun
    from odkd.training.epochs import ScheduleFactory
    from odkd.training.learn import Learner
    from odkd.training.pairs import FirstRounds, Shelf
    from odkd.training.replay import Replay
    from odkd.training.side_by_side import SideBySide

# Keys of a stage that are no arguments of it.
NOT_OF_THE_STAGE = ("_target_", "name", "always", "is_shared", "learn_from", "uses_teacher", "first_run", "devices")
# Not named in a run's folder.
PLAIN_METHODS = ("odkd.training.replay.fifo.Fifo", "odkd.training.regularizers.none.NoRegularizer")


class Parts:
    """The parts of a run, by the names under which a stage asks for them.

    Raises:
        ValueError: from the constructor for anything wrong that can be seen in the config and its files.
    """

    def __init__(self, cfg: DictConfig) -> None:
        cfg = complete(cfg)
        check_config(cfg)
        self.allowed: list[str] = list(cfg.allow_targets)
        check_targets(cfg, self.allowed)
        for target in targets(cfg):
            resolve(target, self.allowed)
        self.cfg = cfg
        self.cache = Path(cfg.paths.cache)
        self.classes: list[str] = list(cfg.dataset.classes)
        self.window: Window = Window(**cfg.window)
        self.seed = named_seed(cfg.seed, "repeat", cfg.run.repeat) if cfg.run.repeat else int(cfg.seed)

    # --- the stream

    @cached_property
    def stream_parts(self) -> StreamParts:
        return StreamParts(self.cfg.dataset, self.cache, self.allowed, self._check_window)

    @cached_property
    def sampled(self) -> "Stream":
        return self.stream_parts.sampled

    @cached_property
    def stream(self) -> "Stream":
        return self.stream_parts.stream

    @cached_property
    def frames(self) -> "FrameReader":
        return self.stream_parts.frames

    @cached_property
    def sequence_positions(self) -> int | None:
        return self.stream_parts.sequence_positions

    def _check_window(self, num_positions: int) -> None:
        if "window" not in inspect.signature(self._stage).parameters:
            return
        largest = max(self.window.learn, self.window.test)
        if largest > num_positions:
            raise ValueError(
                f"window.learn={self.window.learn} and window.test={self.window.test} do not fit the stream "
                f"({num_positions} sampled frames); choose a smaller window or a smaller dataset.stride"
            )

    @cached_property
    def palette(self) -> list[list[int]]:
        """RGB a class."""
        return dataset_palette(self.cfg.dataset)

    # --- labels

    @cached_property
    def groundtruth(self) -> "LabelSource | None":
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
        """train, val or test of each position of `stream`, or None."""
        return self.stream_parts.official_splits_of(self.stream)

    @cached_property
    def teacher_parts(self) -> TeacherParts:
        return TeacherParts(self.cfg, self.classes, self.teacher_identity, self.device, self.allowed)

    @cached_property
    def teacher_labels(self) -> "TeacherLabels":
        """The label stores of the stream, filled; ids are the teacher's own."""
        labels = self.teacher_parts.stores(self.sampled, self.stream)
        self.teacher_parts.introduce()
        self.teacher_parts.fill(labels, self.groundtruth)
        return labels

    @cached_property
    def labels(self) -> "LabelSource":
        """The teacher's label maps with the dataset's ids."""
        return self.teacher_parts.mapped(self.teacher_labels)

    @cached_property
    def references(self) -> "dict[str, LabelSource]":
        """By name, what is scored against and may be learned from."""
        sources: dict[str, LabelSource] = {"teacher": self.labels} if self._uses_teacher else {}
        if self._uses_groundtruth and self.groundtruth is not None:
            sources["groundtruth"] = self.groundtruth
        return sources

    # --- the student

    @cached_property
    def device(self) -> "torch.device":
        from odkd.common.device import choose_device

        return choose_device(self.cfg.device, precision=self.cfg.precision)

    @cached_property
    def student_parts(self) -> "StudentParts":
        from odkd.config.parts_student import StudentParts

        return StudentParts(self.cfg, self.seed, self.device, self._make)

    @cached_property
    def learner(self) -> "Learner":
        return self.student_parts.learner()

    @cached_property
    def schedule(self) -> "ScheduleFactory":
        return self.student_parts.schedule

    @cached_property
    def replay(self) -> "Replay":
        replay: Replay = self._make(self.cfg.replay)
        return replay

    @cached_property
    def evaluator(self) -> "Evaluator":
        from odkd.evaluation.evaluate import Evaluator

        evaluation = self.cfg.evaluation
        return Evaluator(
            self.bank,
            batch_size=evaluation.batch_size,
            precision=self.cfg.precision,
            device=self.device,
            border_pixels=evaluation.border_pixels,
            predictor=evaluation.predictor,
        )

    @cached_property
    def watch(self) -> "Watch":
        from odkd.evaluation.watch import Watch, WatchPlan

        evaluation = self.cfg.evaluation
        shift = self.sequence_positions if evaluation.shift == "auto" else evaluation.shift
        plan = WatchPlan(shift, evaluation.final, evaluation.segment_frames)
        return Watch(self.stream, self.window, self.evaluator, self.classes, plan)

    @cached_property
    def bank(self) -> "Bank":
        from odkd.data.bank import Bank, Normalization

        cfg = self.cfg
        return Bank(
            self.frames,
            self.references,
            num_classes=len(self.classes),
            device=self.device,
            memory_bytes=int(cfg.bank.memory_gib * 2**30),
            normalization=Normalization(cfg.student.mean, cfg.student.std),
            channels_last=cfg.channels_last,
            soft=("teacher",) if self._learns and self.student_parts.needs_soft_labels else (),
        )

    # --- training over epochs

    @cached_property
    def shelf(self) -> "Shelf":
        from odkd.training.pairs import Shelf

        height, width = (int(v) for v in self.cfg.dataset.size)
        soft = self.teacher_parts.soft((height, width)) if self.student_parts.needs_soft_labels else None
        return Shelf(Path(self.cfg.paths.labels), self.key, (height, width), self.classes, str(self.device), soft)

    @cached_property
    def first_rounds(self) -> "FirstRounds | None":
        """The pair stages of another run: that of stage.first_run, or the mckd_first run of the same settings."""
        from odkd.training.pairs import find_first_rounds

        return find_first_rounds(self.cfg, lambda cfg: Parts(cfg).key, command_with("stage", "mckd_first"))

    @cached_property
    def side_by_side(self) -> "SideBySide | None":
        """Trains the students of a pair at the same time; None = in turn."""
        from odkd.training.side_by_side import SideBySide

        return SideBySide(Parts, self.cfg, self.device) if self.cfg.stage.get("devices") else None

    # --- the run

    @cached_property
    def key(self) -> str:
        """Digest of everything that determines the run's numbers."""
        used_truth = self.groundtruth_digest if self._uses_groundtruth else None
        identity = self.teacher_identity if self._uses_teacher else None
        parts: list[Any] = [self.device.type, identity, self.stream_parts.planned.digest, used_truth]
        if "official_splits" in inspect.signature(self._stage).parameters:
            parts.append(self.stream_parts.official_splits_of(self.stream_parts.planned))
        if self._learns and self.student_parts.needs_soft_labels:
            parts.append("logarithms")  # how probabilities are stored: float16 of these since 2026-11-22
        if self.cfg.stage.get("first_run") is not None and self.first_rounds is not None:
            parts.append([asdict(student) for student in self.first_rounds.students])
        return run_key(self.cfg, parts, self.allowed, self.cache)

    @property
    def folder(self) -> Path:
        """Of the run: NAME-KEY below outputs/runs; a replay or regularizer of its own is part of the name."""
        cfg = self.cfg
        students = [cfg.student.name] if self._learns else []
        nodes = [cfg.replay, cfg.regularizer] if self._learns else []
        teachers = [cfg.teacher.name] if self._uses_teacher else []
        methods = [node._target_.rpartition(".")[2].lower() for node in nodes if node._target_ not in PLAIN_METHODS]
        name = cfg.run.name or "-".join([cfg.stage.name, cfg.dataset.name, *students, *teachers, *methods])
        return Path(cfg.paths.outputs) / "runs" / f"{name}-{self.key[:8]}"

    @property
    def _learns(self) -> bool:
        return bool(self.cfg.stage.name != "label")

    @property
    def _uses_groundtruth(self) -> bool:
        """Whether true labels are scored against (or learned from: then they are scored against too)."""
        return self.cfg.evaluation.groundtruth is not False

    @property
    def _uses_teacher(self) -> bool:
        """Whether there is a teacher at all, to learn from or to be compared with."""
        return bool(self.cfg.stage.get("uses_teacher", True))

    @cached_property
    def _stage(self) -> Callable[..., dict[str, float]]:
        stage: Callable[..., dict[str, float]] = resolve(self.cfg.stage._target_, self.allowed)
        return stage

    def call_stage(self, run: "OpenRun") -> dict[str, float]:
        """Hand the stage what its arguments name; what may be a mistake is made before the first frame is decoded."""
        own = {key: self.cfg.stage[key] for key in self.cfg.stage if key not in NOT_OF_THE_STAGE}
        asked = [name for name in inspect.signature(self._stage).parameters if name not in own and name != "run"]
        if self._learns:
            self.student_parts.check_schedule(has_epochs="schedule" in asked)
        for name in ("first_rounds", "side_by_side", "learner", "replay"):
            if name in asked:
                getattr(self, name)
        if self._uses_groundtruth and (truth := self.stream_parts.truth_of(self.stream_parts.planned)) is not None:
            truth.check()
        if self._learns and self.student_parts.needs_soft_labels and not self._uses_teacher:
            raise ValueError(
                f"the loss {self.student_parts.loss.name} learns from a teacher's probabilities, and "
                f"stage={self.cfg.stage.name} has no teacher; choose another loss, or set its weight of KL to 0"
            )
        if self._uses_teacher:
            self.teacher_parts.check(self.teacher_parts.stores(self.sampled, self.stream_parts.planned))
        return self._stage(run=run, **own, **{name: getattr(self, name) for name in asked})

    def close(self) -> None:
        """Stop what runs in the background."""
        if "bank" in self.__dict__:
            self.bank.__exit__()

    def _make(self, node: DictConfig, leave_out: tuple[str, ...] = (), **extra: Any) -> Any:
        """The object that a config names; its constructor may ask by name for any of what is offered here."""
        offered = {"num_classes": len(self.classes), "classes": self.classes, "device": self.device, "seed": self.seed}
        return construct(node, leave_out, offered | extra, self.allowed)
