"""Rendered videos and decoded frames of the other parts, made while parts without clocks run."""

from gpu.cases import all_cases
from gpu.loop import settings
from gpu.place import Place
from gpu.result import Result
from odkd.config.compose import compose_config
from odkd.config.parts import Parts


def measure(place: Place, result: Result) -> None:
    """Render and decode each size."""
    for case in all_cases(is_dry=place.is_dry):
        parts = Parts(compose_config(settings(place, case)))
        parts.label_stream()
        _ = parts.frames
        parts.close()
        result.row("videos", size=case.name, frames=len(parts.stream))
