"""The feature distillation of a run, built once its student is there and its teacher's layers are known."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from omegaconf import DictConfig

from odkd.common.seeds import named_seed
from odkd.config.features import wanted_kinds, wanted_pairs
from odkd.config.interfaces import check_part
from odkd.config.parts_teacher import TeacherParts
from odkd.students.layers import check_layers
from odkd.students.trial import try_layers
from odkd.training.features import FeatureLoss
from odkd.training.features.distillation import FeatureDistillation
from odkd.training.features.objective import FeatureObjective

if TYPE_CHECKING:
    from odkd.data.labels.teacher_labels import TeacherLabels


@dataclass(frozen=True)
class FeatureParts:
    """Builds what compares the features of student and teacher.

    Args:
        cfg: the complete config.
        seed: of the run; it seeds the projections.
        device: on which the student learns.
        make: builds the object of a config node.
        teacher: returns what knows the teacher's layers.
        labels: returns where their features are stored.
    """

    cfg: DictConfig
    seed: int
    device: torch.device
    make: Callable[..., Any]
    teacher: Callable[[], TeacherParts]
    labels: Callable[[], TeacherLabels]

    def distillation(self, student: torch.nn.Module) -> FeatureDistillation | None:
        """Return the feature distillation of a new student, or None.

        Raises:
            ValueError: student or teacher has no such layer, or it is no map.
        """
        cfg, pairs = self.cfg, wanted_pairs(self.cfg)
        if not pairs:
            return None
        layers = [pair.student for pair in pairs]
        check_layers(student, layers, "the student")
        height, width = (int(length) for length in cfg.dataset.size)
        channels = try_layers(student, layers, (height, width), self.device)
        losses: dict[str, FeatureLoss] = {}
        for name in dict.fromkeys(pair.loss for pair in pairs):
            losses[name] = self.make(cfg.features.losses[name])
            check_part(losses[name], "features", cfg.features.losses[name]._target_)
        teacher_channels = self.teacher().channels(self.labels())
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(named_seed(self.seed, "projections"))
            objective = FeatureObjective(pairs, losses, channels, teacher_channels)
        return FeatureDistillation(
            objective.to(self.device),
            wanted_kinds(cfg),
            self.labels,
            device=self.device,
            memory_bytes=int(cfg.bank.memory_gib * 2**30),
        )
