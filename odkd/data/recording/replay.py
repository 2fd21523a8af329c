"""The settings that replay a recording, in its folder: `odkd --config-dir FOLDER/replay experiment=replay`.

Dataset, teacher and clock are a choice of their group each, so that another one can be chosen in place of any.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from odkd.common.files import write_atomic

FOLDER = "replay"
EXPERIMENT = """# @package _global_
# odkd --config-dir {folder} experiment=replay
# This recording under a simulated clock, with the mean durations of its last session; the teacher's labels are those
# that it made then. Choose student, replay memory, window and the rest as they were.
defaults:
  - override /dataset: recorded
  - override /teacher: recorded
  - override /timing: recorded
"""


def write_replay(
    root: Path,
    *,
    size: tuple[int, int],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    durations: Mapping[str, float],
) -> None:
    """Write the settings that replay a recording; a reader sees those from before, or all of the new ones.

    Args:
        root: folder of the recording, an absolute path.
        size: (height, width) of its frames, pixels.
        classes: names of its labels, by id.
        palette: [R, G, B] per class.
        durations: of timing=simulated, seconds, as far as they are known.
    """
    place = str(root).replace("${", r"\${")  # else it would name another setting
    colours = [list(colour) for colour in palette] or None
    dataset = {"root": place, "size": list(size), "classes": list(classes), "palette": colours}
    # What the teacher had no time for was dropped then, and has no label: nothing is dropped again.
    timing = {"most_waiting": None, **{name: round(value, 6) for name, value in sorted(durations.items())}}
    _write(root, "dataset", "recording", "The frames of this recording.", dataset)
    _write(
        root, "teacher", "folder", "The labels that the teacher of this recording made.", {"folder": f"{place}/labels"}
    )
    _write(
        root, "timing", "simulated", "A clock with the mean durations of the last session of this recording.", timing
    )
    _save(root / FOLDER / "experiment" / "replay.yaml", EXPERIMENT.format(folder=root / FOLDER))


def _write(root: Path, group: str, base: str, what: str, settings: dict[str, Any]) -> None:
    """Write a choice of a group that differs from another one in some settings."""
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True)
    _save(root / FOLDER / group / "recorded.yaml", f"# {what}\ndefaults:\n  - {base}\n  - _self_\n{text}")


def _save(path: Path, text: str) -> None:
    if not path.is_file() or path.read_text() != text:
        write_atomic(path, text.encode(), durable=False)
