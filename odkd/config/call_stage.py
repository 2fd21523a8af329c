"""Call the stage of a run with the parts that it asks for."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from odkd.common.notes import NOTES
from odkd.common.temporary import remove_left_behind
from odkd.config.parts import Parts
from odkd.config.parts_cells import CellParts
from odkd.data.video.frame_rows import folder_of
from odkd.runs.run import OpenRun
from odkd.runs.uses import note_uses


def call_stage(parts: Parts, run: OpenRun) -> dict[str, float]:
    """Label the stream, if the stage has a teacher, and run the stage; return its summary.

    Raises:
        ValueError: the stage returns no summary.
    """
    folders = _cached_folders(parts)
    note_uses(parts.cache, run.folder, folders)
    for folder in (*folders, *(parts.cache / name for name in NOTES)):
        remove_left_behind(folder, recursive=False)  # in the folders that this run writes to, what is cheap to find
    if parts.has_teacher and not parts.traits.is_live:
        parts.label_stream()
    with contextlib.closing(CellParts(parts)) as equip:
        given: dict[str, Any] = {"run": run, "equip": equip}
        summary = parts.stage.run(
            **{name: given[name] if name in given else getattr(parts, name) for name in parts.asked}
        )
    if not isinstance(summary, Mapping):
        raise ValueError(
            f"stage {parts.cfg.stage.name} returns {summary!r}; expected final scores by name, {{}} if none"
        )
    return summary


def _cached_folders(parts: Parts) -> list[Path]:
    """Return the folders of the cache that a run reads: its videos, where they are rendered, frames, and labels."""
    if parts.traits.is_live:
        return [parts.stream_parts.root] if parts.cfg.dataset.prepare else []
    height, width = (int(value) for value in parts.cfg.dataset.size)
    sampled = parts.sampled
    folders = [
        folder_of(video, frames, (height, width), parts.cache)
        for number, video in enumerate(sampled.videos)
        if len(frames := sampled.frames_of_video(number))
    ]
    if parts.has_teacher:
        folders += parts.teacher_parts.stores(sampled, parts.stream_parts.planned).folders
    return [*folders, parts.stream_parts.root]
