"""The same frames as several runs predicted them, for the page that compares these runs; from their stored stills."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace

from odkd.report.comparison import Configuration
from odkd.report.html import Picture
from odkd.report.stills import read_stills

logger = logging.getLogger(__name__)
MOST_RUNS = 4  # that are shown: two fit in a row
MOST_BYTES = 3_000_000  # of all their stills; the last frames are omitted if there are more


def same_frames(configurations: Sequence[Configuration]) -> list[tuple[str, list[Picture]]]:
    """Return the frames of which all runs have a still, each with its name and its stills in the order of the runs.

    Args:
        configurations: the first `MOST_RUNS` with stills count, each with the first of its runs.
    """
    found: list[tuple[Configuration, dict[str, Picture]]] = []
    for configuration in configurations:
        if len(found) < MOST_RUNS and (stills := _stills(configuration)):
            found.append((configuration, stills))
    if len(found) < 2:
        return []
    frames, num_bytes = [], 0
    for name in found[0][1]:
        if not all(name in stills for _, stills in found):
            continue
        row = [
            replace(stills[name], title=f"#{configuration.number} {configuration.name}")
            for configuration, stills in found
        ]
        num_bytes += sum(len(picture.uri) for picture in row)
        if num_bytes > MOST_BYTES:
            break
        frames.append((name, row))
    return frames


def _stills(configuration: Configuration) -> dict[str, Picture]:
    """Return the stills of a configuration's first run by the name of the frame, which its caption begins with."""
    folder = configuration.entries[0].run.folder
    try:
        stills = read_stills(folder)
    except (OSError, ValueError) as error:
        logger.warning("%s; the page does not show them", error)
        return {}
    split = [(*still.title.partition(", "), still) for still in stills]
    return {name: replace(still, note=rest) for name, _, rest, still in split}
