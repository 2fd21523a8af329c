"""Call the stage of a run with the parts that it asks for."""

from collections.abc import Mapping

from odkd.config.parts import Parts
from odkd.runs.run import OpenRun


def call_stage(parts: Parts, run: OpenRun) -> dict[str, float]:
    """Label the stream, if the stage has a teacher, and run the stage; return its summary.

    Raises:
        ValueError: the stage returns no summary.
    """
    if parts.has_teacher:
        parts.label_stream()
    summary = parts.stage.run(**{name: run if name == "run" else getattr(parts, name) for name in parts.asked})
    if not isinstance(summary, Mapping):
        raise ValueError(
            f"stage {parts.cfg.stage.name} returns {summary!r}; expected final scores by name, {{}} if none"
        )
    return summary
