"""What is profiled: a student and all that changes it, built as a run builds it, on frames of noise."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from omegaconf import DictConfig

from odkd.common.argmax import largest_class
from odkd.common.compiler import check_compiler
from odkd.common.device import choose_device, set_up
from odkd.config.construct import construct
from odkd.config.parts_evaluation import EvaluationParts
from odkd.config.parts_student import StudentParts
from odkd.data.noise import NoiseFrames, NoiseLabels
from odkd.data.tensor_bank import Bank
from odkd.data.window import Window
from odkd.evaluation.evaluate import Evaluator
from odkd.stages import Stage, learns_from, traits_of
from odkd.teachers.exported_network import Run
from odkd.training.learn import Learner

NUM_FRAMES = 8  # that one image after the other is taken from


class Subject:
    """A student with its optimizer, loss, regularizer and augmentation, and what evaluates it.

    Args:
        cfg: complete, with its numerics chosen.

    Raises:
        ValueError: a mistake in it, or its stage has no student.
    """

    def __init__(self, cfg: DictConfig) -> None:
        self.cfg = cfg
        self.classes: list[str] = list(cfg.dataset.classes)
        self.size = (int(cfg.dataset.size[0]), int(cfg.dataset.size[1]))
        self.device = choose_device(cfg.device, precision=cfg.precision)
        set_up(self.device, threads=cfg.threads, deterministic=cfg.deterministic, precision=cfg.precision)
        self.stage: Stage = construct(cfg.stage, (), {}, self._allowed, "stage")
        if not traits_of(self.stage).learns:
            raise ValueError(f"stage={cfg.stage.name} has no student; profile one with stage=online")
        self.window = Window(**cfg.window)
        if cfg.compile:
            check_compiler(self.device)

    @property
    def _allowed(self) -> list[str]:
        return list(self.cfg.allow_targets)

    def _make(self, node: DictConfig, leave_out: tuple[str, ...] = (), **extra: Any) -> Any:
        offered: dict[str, Any] = {"num_classes": len(self.classes), "classes": self.classes, "window": self.window}
        offered |= {"device": self.device, "seed": int(self.cfg.seed), **extra}
        return construct(node, leave_out, offered, self._allowed, str(node._get_full_key(None)))

    @cached_property
    def _student_parts(self) -> StudentParts:
        has_epochs = traits_of(self.stage).has_epochs
        return StudentParts(self.cfg, int(self.cfg.seed), self.device, learns_from(self.stage), has_epochs, self._make)

    @cached_property
    def learner(self) -> Learner:
        """The student and what changes it."""
        return self._student_parts.learner()

    @cached_property
    def bank(self) -> Bank:
        """Frames and labels of noise, on the device once they were asked for."""
        soft = self.cfg.teacher.soft
        needs_soft = self._student_parts.needs_soft_labels
        num_kept = min(int(soft.top_k or 0), len(self.classes)) if needs_soft else 0
        soft_size = (int(soft.size[0]), int(soft.size[1])) if soft.size else None
        labels = NoiseLabels(self.size, len(self.classes), num_kept, soft_size)
        sources = dict.fromkeys((learns_from(self.stage), "teacher"), labels)
        return self._evaluation.bank(NoiseFrames(self.size), sources, with_soft_labels=needs_soft)

    @property
    def _evaluation(self) -> EvaluationParts:
        return EvaluationParts(self.cfg, self.classes, self.device)

    @cached_property
    def _evaluator(self) -> Evaluator:
        return replace(self._evaluation.evaluator(self.bank), batch_size=1, predictor="student")

    @cached_property
    def update(self) -> Update:
        """The update that is measured: as many frames, and of the kinds, as in the stage."""
        size, order = int(self.cfg.stage.get("batch_size", 1)), str(self.cfg.stage.get("order", ""))
        is_paired = order.startswith("paired")
        return Update(range(2 * size if is_paired else size), range(size), order == "paired_apart")

    def evaluate(self, number: int) -> None:
        """Give each pixel of a frame its class, and wait for it."""
        self._evaluator.predictions(self.learner.student, [number % NUM_FRAMES]).cpu()

    def evaluate_exported(self, run: Run, number: int) -> None:
        """Do the same by an exported network."""
        images_BCHW = self.bank.get([number % NUM_FRAMES]).images_BCHW
        largest_class(run(images_BCHW.contiguous()))

    def learn(self, _: int) -> None:
        """Make one update, in a pass of its own, and wait for it."""
        asked = self.update
        self.learner.learn(
            self.bank,
            [list(asked.positions)],
            stream_positions=asked.stream,
            kept=asked.positions,
            is_apart=asked.is_apart,
        )

    def close(self) -> None:
        """Stop background work."""
        if "bank" in self.__dict__:
            self.bank.__exit__()


@dataclass(frozen=True)
class Update:
    """The frames of an update.

    Args:
        positions: of all frames.
        stream: those that are not replayed.
        is_apart: both kinds are forwarded one after the other.
    """

    positions: Sequence[int]
    stream: range
    is_apart: bool
