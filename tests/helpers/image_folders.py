"""Small folders of random images and label maps, and the parts of a run on them."""

from pathlib import Path

import numpy as np
from PIL import Image

from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.data.video.fit import Fit, fit_picture, placement

LABELLING = ["stage=label", "teacher=oracle", "device=cpu", "tracking=none"]
LABELLING += ["run.overlay_video=false", "run.report=false"]


def save(path: Path, array: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.asarray(array, np.uint8)).save(path, **options)
    return path


def colours(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Return a random image, uint8 [height, width, 3]."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def ids(height: int, width: int, seed: int = 0, below: int = 19) -> np.ndarray:
    """Return a random label map, uint8 [height, width]."""
    return np.random.default_rng(seed).integers(0, below, (height, width), dtype=np.uint8)


def parts_of(dataset: str, root: Path, tmp_path: Path, *more: str) -> Parts:
    """Return the parts of a run that labels the images of `root`."""
    where = [f"dataset.root={root}", f"paths.outputs={tmp_path / 'outputs'}"]
    return Parts(compose_config([*LABELLING, f"dataset={dataset}", *where, *more]))


def names(parts: Parts) -> list[str]:
    """Return the name of the image at each position."""
    return [parts.stream.name_of(position) for position in range(len(parts.stream))]


def truth(parts: Parts, position: int) -> np.ndarray:
    """Return the ground truth of a position as the run reads it."""
    assert parts.groundtruth is not None
    return parts.groundtruth.read(position)


def fitted(image_HWC: np.ndarray, size: tuple[int, int], how: Fit = "stretch") -> np.ndarray:
    """Return the image as odkd fits it into frames of `size`."""
    height, width, _ = image_HWC.shape
    return fit_picture(Image.fromarray(image_HWC), placement((height, width), shape=size, size=size, fit=how), size)
