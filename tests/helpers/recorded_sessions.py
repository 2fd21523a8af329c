"""Recorders of invented sessions; imported by processes that are killed, so it imports little."""

from pathlib import Path

import numpy as np
from shown_views import CLASSES, PALETTE, scene

from odkd.data.recording.recorder import Recorder

HEIGHT, WIDTH = 25, 41  # odd: nothing may depend on even sizes


def picture(number: int, height: int = HEIGHT, width: int = WIDTH) -> tuple[np.ndarray, np.ndarray]:
    """Return an image and its labels."""
    return scene(number, height=height, width=width)


def recorder(folder: Path) -> Recorder:
    """Return a recorder of the invented street."""
    return Recorder(folder, classes=CLASSES, palette=PALETTE)
