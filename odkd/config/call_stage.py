"""Call the stage of a run with the parts that it asks for, once all that may be a mistake has been looked at."""

from collections.abc import Mapping

from odkd.common.names import nearest
from odkd.config.parts import Parts
from odkd.runs.run import OpenRun

EARLY = ("first_rounds", "side_by_side", "learner", "replay")  # parts that a bad config can break


def call_stage(parts: Parts, run: OpenRun) -> dict[str, float]:
    """Label the stream, if the stage has a teacher, and run the stage; return its summary.

    Raises:
        ValueError: a mistake in the config or its files, before a frame is decoded.
    """
    check_parts(parts)
    if parts.has_teacher:
        parts.label_stream()
    summary = parts.stage.run(**{name: run if name == "run" else getattr(parts, name) for name in parts.asked})
    if not isinstance(summary, Mapping):
        raise ValueError(
            f"stage {parts.cfg.stage.name} returns {summary!r}; expected final scores by name, {{}} if none"
        )
    return summary


def check_parts(parts: Parts) -> None:
    """Build what a bad config can break, and look at the files that the run reads.

    Raises:
        ValueError: the first mistake.
    """
    known = {name for name in dir(Parts) if not name.startswith("_")} | {"classes", "seed", "window", "run"}
    if unknown := [name for name in parts.asked if name not in known]:
        raise ValueError(
            f"stage {parts.cfg.stage.name} asks for a part {unknown[0]}, and a run has none{nearest(unknown[0], known)}"
        )
    if parts.traits.learns:
        parts.student_parts.check_schedule()
    for name in EARLY:
        if name in parts.asked:
            getattr(parts, name)
    planned = parts.stream_parts.planned
    if parts.uses_groundtruth and (truth := parts.stream_parts.truth_of(planned)) is not None:
        truth.check()
    if parts.needs_soft_labels and not parts.has_teacher:
        raise ValueError(
            f"the loss {parts.student_parts.loss.name} learns from a teacher's probabilities, and "
            f"stage={parts.cfg.stage.name} has no teacher; choose another loss, or set its weight of KL to 0"
        )
    if parts.has_teacher:
        parts.teacher_parts.check(parts.teacher_parts.stores(parts.sampled, planned))
