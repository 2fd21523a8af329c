"""The student of a run and what trains it: optimizer, schedule, loss, regularizer, augmentation."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig, OmegaConf
from torch.optim.lr_scheduler import LRScheduler

from odkd.common.dotted import NOT_OF_THE_STUDENT, NOT_OF_THE_UPDATES
from odkd.common.seeds import named_seed
from odkd.common.settings import NaturalInt, check_setting
from odkd.config.parts_features import FeatureParts
from odkd.students.batch_norm import use_statistics
from odkd.students.equal_forms import use_fast_forms
from odkd.students.fitting import load_weights
from odkd.students.freezing import freeze
from odkd.students.rates import with_rates
from odkd.students.trial import check_sizes, try_student
from odkd.training.augment import Augmentation
from odkd.training.average import Average
from odkd.training.learn import Learner
from odkd.training.losses import Loss, SoftLoss, wants_soft
from odkd.training.updates.all import All
from odkd.training.updates.delivery import Delivery
from odkd.training.warmup import PerUpdate

PROBED_EPOCHS = 200  # epochs in which a schedule that changes the learning rate must do so
GROUPED = (torch.optim.Adam, torch.optim.AdamW, torch.optim.SGD)  # those whose bits a test compares
INITIAL_WEIGHTS = ("encoder_weights", "encoder_package")  # keys for the initial weights of a part


def student_arguments(student: DictConfig) -> dict[str, Any]:
    """Return the arguments that rebuild a student's network without its initial weights, for weights to be loaded.

    Arguments that depend on the dataset, such as the number of classes, are not among them.

    >>> student_arguments(OmegaConf.create({"_target_": "x.Net", "name": "net", "width": 64, "encoder_weights": "web"}))
    {'width': 64, 'encoder_weights': None}
    """
    settings: Any = OmegaConf.to_container(student, resolve=True)
    kept = {key: value for key, value in settings.items() if key not in ("_target_", *NOT_OF_THE_STUDENT)}
    return kept | {key: None for key in INITIAL_WEIGHTS if key in kept}


def grouped(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Have an optimizer update all parameters by one call an operation: on a CPU too, where torch's default is a loop.

    This halves its time and changes no bit; `optimizer.fused=true` takes two thirds of that and changes last bits.
    """
    for group in optimizer.param_groups if type(optimizer) in GROUPED else ():
        if group["foreach"] is None and not group.get("fused"):
            group["foreach"] = True
    return optimizer


@dataclass
class StudentParts:
    """Builds the student of a run and everything that changes it.

    Args:
        cfg: the complete config.
        seed: of the run.
        device: on which the student learns.
        source: label source of the training.
        has_epochs: the stage trains over epochs, so a schedule counts.
        make: builds the object of a config node; keyword arguments are offered to its constructor.
        features: builds the feature distillation of a student; None = the student learns without.
    """

    cfg: DictConfig
    seed: int
    device: torch.device
    source: str
    has_epochs: bool
    make: Callable[..., Any]
    features: FeatureParts | None = None

    def learner(self, name: str = "student") -> Learner:
        """Return a new student with a new optimizer and regularizer.

        Args:
            name: seeds its initial weights.

        Raises:
            ValueError: a mistake in their settings.
        """
        cfg = self.cfg
        torch.manual_seed(named_seed(self.seed, name))
        student = self.make(cfg.student, leave_out=NOT_OF_THE_STUDENT)
        check_sizes(student)
        if cfg.student.weights:
            load_weights(student, Path(cfg.student.weights))
        use_statistics(student, cfg.student.get("statistics", "own"))
        freeze(student, list(cfg.student.get("freeze") or []))
        use_fast_forms(student, cfg.fast_forms)
        layout = torch.channels_last if cfg.channels_last else torch.contiguous_format
        student.to(device=self.device, memory_format=layout)
        self._try(student)
        if cfg.compile:
            student.compile()
        average = self._average(student)
        features = None if self.features is None else self.features.distillation(student)
        regularizer = self.make(cfg.regularizer, student=student)
        if self.needs_soft_labels and getattr(regularizer, "hides_classes", False):
            raise ValueError(
                f"regularizer {type(regularizer).__name__} hides classes from the loss, and the teacher's "
                f"probabilities, which the loss {self.loss.name} learns from, have a share of each; change one of them"
            )
        own = [] if features is None else list(features.objective.parameters())
        learned = with_rates(student, dict(cfg.student.get("rates") or {}), cfg.optimizer.lr, own)
        learner = Learner(
            student,
            grouped(self.make(cfg.optimizer, params=learned)),
            self.loss,
            regularizer,
            source=self.source,
            precision=cfg.precision,
            device=self.device,
            soft_source="teacher",  # with learn_from=groundtruth, KL adds Hinton's distillation to the truth
            augment=self.augmentation,
            average=average,
            features=features,
        )
        if not self.has_epochs and isinstance(self._probe, PerUpdate):
            learner.schedule = self.schedule(learner.optimizer, 1)
        learner.updates = self._updates(student, None if average is None else average.network)
        return learner

    def _updates(self, student: torch.nn.Module, average: torch.nn.Module | None) -> Delivery:
        """Return what selects and sends the weights of each iteration."""
        sent = self.cfg.updates.get("sent")
        selection = self.make(self.cfg.updates, leave_out=NOT_OF_THE_UPDATES)
        delivery = Delivery(student, average, None if type(selection) is All else selection, sent)
        if self.cfg.compile and delivery.camera is not None:
            delivery.camera.compile()
        return delivery

    def _average(self, student: torch.nn.Module) -> Average | None:
        """Return the moving average of a student that has its initial weights, or None."""
        decay, saved = self.cfg.student.get("ema"), self.cfg.student.get("saved")
        if decay is None:
            return None
        if self.has_epochs and saved != "ema":
            raise ValueError(
                f"student.saved={saved} is for a stream; stage={self.cfg.stage.name} saves the student of the best "
                "epoch, which is the average: leave it out"
            )
        average = Average(student, decay, is_saved=saved == "ema")
        if self.cfg.compile:
            average.network.compile()
        return average

    def _try(self, student: torch.nn.Module) -> None:
        """Check what the student answers, for the smallest batch that the stage may make."""
        cfg = self.cfg
        height, width = (int(length) for length in cfg.dataset.size)
        smallest = int(cfg.stage.batch_size) if cfg.stage.get("drop_last") else 1
        try_student(
            student,
            len(cfg.dataset.classes),
            (height, width),
            device=self.device,
            precision=cfg.precision,
            batch_size=smallest,
        )

    @property
    def needs_soft_labels(self) -> bool:
        """True if the loss learns from the teacher's probabilities."""
        return wants_soft(self.loss)

    @cached_property
    def loss(self) -> Loss | SoftLoss:
        """The loss of the student.

        Raises:
            ValueError: it needs the teacher's probabilities, and none are stored.
        """
        loss: Loss | SoftLoss = self.make(self.cfg.loss)
        if isinstance(loss, torch.nn.Module):
            loss.to(self.device)
            use_fast_forms(loss, self.cfg.fast_forms)
        if wants_soft(loss) and not self.cfg.teacher.soft.top_k:
            raise ValueError(
                f"the loss {loss.name} learns from the teacher's probabilities, and none are stored; set "
                f"teacher.soft.top_k=3 (classes to keep of each pixel) if the teacher {self.cfg.teacher.name} gives "
                "any, or choose a loss that needs none"
            )
        return loss

    @cached_property
    def augmentation(self) -> Augmentation | None:
        """The augmentation of each batch, or None."""
        augmentation: Augmentation = self.make(self.cfg.augmentation, std=self.cfg.student.std)
        return None if augmentation.is_off else augmentation

    def schedule(self, optimizer: torch.optim.Optimizer, num_epochs: int) -> LRScheduler:
        """Return the schedule of an optimizer's learning rate; the caller calls `step()` after each epoch.

        Milestones refer to a training of stage.epochs; in a longer or shorter one they are at the same fractions of it.
        """
        schedule_cfg = self.cfg.schedule.copy()
        if "milestones" in schedule_cfg:
            check_setting("schedule.milestones", OmegaConf.to_container(schedule_cfg.milestones), list[NaturalInt])
        if schedule_cfg.get("milestones"):
            factor = num_epochs / self.cfg.stage.get("epochs", num_epochs)
            schedule_cfg.milestones = [round(factor * epoch) for epoch in schedule_cfg.milestones]
        schedule: LRScheduler = self.make(schedule_cfg, leave_out=("name",), optimizer=optimizer, num_epochs=num_epochs)
        return schedule

    @cached_property
    def _probe(self) -> LRScheduler:
        """The schedule of an optimizer of its own, which shows what it does."""
        optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=0.1)
        return self.schedule(optimizer, self.cfg.stage.get("epochs", 1))

    def check_schedule(self) -> None:
        """Build the schedule once, so that its mistakes are found before a frame is decoded.

        Raises:
            ValueError: it is wrong, or it would change the learning rate in a stage that has no epochs.
        """
        schedule, optimizer = self._probe, self._probe.optimizer
        if self.has_epochs or isinstance(schedule, PerUpdate):
            return
        rates = set()
        for _ in range(PROBED_EPOCHS):
            rates.add(optimizer.param_groups[0]["lr"])
            optimizer.step()
            schedule.step()
        if len(rates) > 1:
            raise ValueError(
                f"schedule {type(schedule).__name__} counts epochs, and stage={self.cfg.stage.name} "
                "has none along a stream; set schedule=none, or schedule=warmup, which counts updates"
            )
