"""The settings that replay a recording, in its folder: `odkd --config-dir FOLDER/replay experiment=replay`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from odkd.common.files import write_atomic

REPLAY = Path("replay") / "experiment" / "replay.yaml"
HEADER = """# @package _global_
# odkd --config-dir {folder} experiment=replay
# This recording under a simulated clock, with the mean durations of its last session; the teacher's labels are those
# that it made then. Choose student, replay memory, window and the rest as they were.
defaults:
  - override /dataset: recording
  - override /teacher: folder
  - override /timing: simulated

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
    settings: dict[str, Any] = {
        "dataset": {
            "root": place,
            "size": list(size),
            "classes": list(classes),
            "palette": [list(colour) for colour in palette] or None,
        },
        "teacher": {"folder": f"{place}/labels"},
        # What the teacher had no time for was dropped then, and has no label: nothing is dropped again.
        "timing": {"most_waiting": None, **{name: round(value, 6) for name, value in sorted(durations.items())}},
    }
    text = yaml.safe_dump(settings, sort_keys=False, allow_unicode=True, default_flow_style=None, width=110)
    header = HEADER.format(folder=(root / REPLAY).parents[1])
    write_atomic(root / REPLAY, (header + text).encode(), durable=False)
