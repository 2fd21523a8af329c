"""What a live session needs of a run: how its children build their parts, and plain facts of dataset and teacher."""

from __future__ import annotations

from typing import Any

from odkd.config.build_teacher import needs_groundtruth
from odkd.data.labels.palette import dataset_palette
from odkd.training.live.plan import LivePlan


def live_plan(parts: Any) -> LivePlan:
    """Return the plan of a live session.

    Args:
        parts: the run's `config.parts.Parts`, which imports this module.

    Raises:
        ValueError: the run needs what a live session does not have.
    """
    cfg = parts.cfg
    _check(parts)
    size, seen = cfg.dataset.size, cfg.teacher.size
    return LivePlan(
        equip=type(parts),
        cfg=cfg,
        evaluator_of=parts.evaluation_parts.evaluator_of,
        device=str(parts.device),
        threads=cfg.threads,
        size=(int(size[0]), int(size[1])),
        teacher_size=(int(seen[0]), int(seen[1])) if seen else None,
        stride=int(cfg.dataset.stride),
        classes=parts.classes,
        palette=[[int(value) for value in colour] for colour in dataset_palette(cfg.dataset)],
        border_pixels=int(cfg.evaluation.border_pixels),
        title=str(cfg.dataset.name),
    )


def _check(parts: Any) -> None:
    """Check that what a run asks for can be had live.

    Raises:
        ValueError: it cannot.
    """
    cfg: Any = parts.cfg
    if parts.needs_soft_labels:
        raise ValueError(
            f"the loss {parts.student_parts.loss.name} learns from the teacher's probabilities, and stage=live passes "
            "on label maps alone; choose a loss that needs none, such as loss=cross_entropy"
        )
    if cfg.features.pairs:
        raise ValueError("features.pairs needs stored layers of the teacher, and stage=live stores none; leave it out")
    if cfg.evaluation.predictor != "student":
        raise ValueError(f"evaluation.predictor={cfg.evaluation.predictor} is for stage=online; leave it out")
    if cfg.stage.get("source") is not None and needs_groundtruth(cfg.teacher, parts.allowed):
        raise ValueError(
            f"teacher={cfg.teacher.name} reads the labels of a dataset, and stage.source={cfg.stage.source} has none; "
            "choose a teacher that looks at images, such as teacher=segformer_hf_b0_cityscapes"
        )
    _ = parts.replay, parts.pace  # mistakes come before a process is started
