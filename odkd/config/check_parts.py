"""Mistakes that show when the parts of a run are built: found before its folder exists and before a frame is decoded.

What is built here is kept by `Parts`, so that nothing is built twice.
"""

import inspect
from collections.abc import Callable
from typing import Any

from odkd.common.compiler import check_compiler
from odkd.common.names import nearest
from odkd.common.settings import spell
from odkd.config.build_teacher import needs_groundtruth
from odkd.config.features import wanted_kinds
from odkd.config.parts import Parts
from odkd.config.plain import is_plain
from odkd.training.pairs import check_first_rounds

EARLY = ("side_by_side", "learner", "replay", "pace", "live")  # a wrong config can break them; they need no frame


def check_components(parts: Parts) -> None:
    """Build what needs no stream: the student and what trains it, and the teacher, unless it has labelled before.

    Raises:
        ValueError: the first mistake.
    """
    cfg, stage = parts.cfg, parts.cfg.stage.name
    known = {name for name in dir(Parts) if not name.startswith("_")} | {"classes", "seed", "window", "run", "equip"}
    if unknown := [name for name in parts.asked if name not in known]:
        raise ValueError(f"stage {stage} asks for a part {unknown[0]}, and a run has none{nearest(unknown[0], known)}")
    if parts.traits.has_epochs and cfg.evaluation.predictor != "student":
        raise ValueError(
            f"evaluation.predictor={cfg.evaluation.predictor} is for stage=online; stage={stage} always scores the "
            "teacher too: leave it out"
        )
    if cfg.run.get("snapshots") is not None and "snapshots" not in parts.asked:
        raise ValueError(
            f"run.snapshots={cfg.run.snapshots} counts iterations of a stream, and stage={stage} has none; leave it out"
        )
    if parts.traits.learns and not parts.traits.sends_updates and not is_plain("updates", cfg.updates):
        raise ValueError(
            f"updates._target_={cfg.updates._target_} and updates.sent={spell(cfg.updates.get('sent'))} are for a "
            f"student that learns in iterations and is sent to a camera after each; stage={stage} has none: set "
            "updates=all updates.sent=null"
        )
    if wanted_kinds(cfg) and not parts.has_teacher:
        raise ValueError(
            f"features.pairs learns from a teacher's layers, and stage={stage} has no teacher: leave it out"
        )
    if (
        parts.traits.has_epochs
        and parts.learns_from == "groundtruth"
        and cfg.student.get("statistics") == "batch"
        and cfg.student._target_ == "odkd.students.smp.SmpStudent"
    ):
        raise ValueError(
            f"student.statistics=batch: stage={stage} leaves teacher.pth, and teacher=checkpoint answers by running "
            "statistics: set own or frozen"
        )
    if wanted_kinds(cfg) and parts.traits.learns and cfg.augmentation.get("class_mix"):
        raise ValueError(
            f"augmentation.class_mix={cfg.augmentation.class_mix} pastes classes of another frame, and features.pairs "
            "learns from the teacher's layers of one frame: set augmentation.class_mix=0 or leave out features.pairs"
        )
    if parts.traits.learns:
        if cfg.compile:
            check_compiler(parts.device)
        parts.student_parts.check_schedule()
    for name in EARLY:
        if name in parts.asked or ("equip" in parts.asked and name != "side_by_side"):
            getattr(parts, name)
    if parts.needs_soft_labels and not parts.has_teacher:
        raise ValueError(
            f"the loss {parts.student_parts.loss.name} learns from a teacher's probabilities, and "
            f"stage={stage} has no teacher; choose another loss, or set its weight of KL to 0"
        )
    if "first_rounds" in parts.asked:
        check_first_rounds(cfg, parts.rounds_parts.first_rounds_command)
    if parts.has_teacher and parts.teacher_parts.is_new:
        parts.teacher_parts.check_teacher()


def check_parts(parts: Parts) -> None:
    """Check the components, and what only the stream shows: its ground truth, its labels, its length.

    Raises:
        ValueError: the first mistake.
    """
    check_components(parts)
    if "first_rounds" in parts.asked:
        _ = parts.first_rounds
    planned = parts.stream_parts.planned
    if parts.uses_groundtruth or (parts.has_teacher and needs_groundtruth(parts.cfg.teacher, parts.allowed)):
        truth = parts.stream_parts.check_truth(planned)
        if parts.uses_groundtruth and truth is not None:
            parts.stream_parts.warn_of_truth(truth, planned)
    check_stage(parts)
    if parts.has_teacher and not parts.traits.is_live:
        parts.teacher_parts.check(parts.teacher_parts.stores(parts.sampled, planned))


def check_stage(parts: Parts) -> None:
    """Have the stage check its settings against the planned stream, if it has a method `check`.

    Raises:
        ValueError: as raised by the stage, or it asks for something else.
    """
    check = getattr(parts.stage, "check", None)
    if check is None:
        return
    stream = parts.stream_parts
    offers: dict[str, Callable[[], Any]] = {
        "stream": lambda: stream.planned,
        "official_splits": lambda: stream.official_splits_of(stream.planned),
        "window": lambda: parts.window,
        "seed": lambda: parts.seed,
        "learner": lambda: parts.learner,
    }
    wanted = list(inspect.signature(check).parameters)
    if unknown := [name for name in wanted if name not in offers]:
        raise ValueError(
            f"stage {parts.cfg.stage.name}: its check asks for {unknown[0]}; it can have {', '.join(offers)}"
        )
    check(**{name: offers[name]() for name in wanted})
