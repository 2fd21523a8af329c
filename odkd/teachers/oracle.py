"""Teacher of adjustable quality: the dataset's ground truth with reproducible artificial errors."""

import hashlib
from collections.abc import Sequence

import numpy as np

from odkd.common.ignore import IGNORE
from odkd.common.settings import Fraction, NonNegativeFloat, PositiveInt
from odkd.teachers import SampledFrames

JITTER_CELL = 16  # pixels between the anchors of the displacement field


class Oracle:
    """Ground truth with errors. The random generator of a frame depends on seed, video and frame number only.

    Args:
        classes: names of the dataset's classes.
        label_noise: share of pixels that get a random class.
        region_noise: share of regions that get one random class each, 0..1; it may be the true one.
        region_pixels: width of a region on average, in pixels; regions have straight edges at random places.
        boundary_jitter_pixels: largest distance by which a smooth random field displaces outlines.
        confusion: {class: {other: probability}}; with that probability a frame shows the class as the other.
        seed: of the errors.

    Raises:
        ValueError: a class is unknown, or probabilities of one class sum to more than 1.
    """

    needs_images = False
    needs_groundtruth = True
    num_classes = None

    def __init__(
        self,
        classes: Sequence[str],
        *,
        label_noise: Fraction = 0.0,
        region_noise: Fraction = 0.0,
        region_pixels: PositiveInt = 16,
        boundary_jitter_pixels: NonNegativeFloat = 0.0,
        confusion: dict[str, dict[str, Fraction]] | None = None,
        seed: int = 0,
    ) -> None:
        self.classes = list(classes)
        self._noise, self._jitter, self._seed = label_noise, boundary_jitter_pixels, seed
        self._region_noise, self._region_pixels = region_noise, region_pixels
        self._confusion = {name: dict(others) for name, others in (confusion or {}).items()}
        names = {name for pair in self._confusion.items() for name in (pair[0], *pair[1])}
        if unknown := sorted(names - set(self.classes)):
            raise ValueError(f"teacher.confusion names {unknown}; the dataset's classes are {self.classes}")
        for name, others in self._confusion.items():
            if not 0 <= sum(others.values()) <= 1:
                raise ValueError(f"teacher.confusion.{name}={others}; expected probabilities with a sum in 0..1")

    def label(self, frames: SampledFrames) -> np.ndarray:
        if frames.groundtruth is None:
            raise ValueError(
                "teacher=oracle needs a dataset with ground truth; choose another teacher for this dataset"
            )
        maps = [frames.groundtruth(number) for number in range(len(frames.frame_numbers))]
        sizes = dict.fromkeys(f"{label_HW.shape[1]}x{label_HW.shape[0]}" for label_HW in maps)
        if len(sizes) > 1:
            raise ValueError(
                f"the ground truth of {frames.video} has maps of {' and of '.join(sizes)} pixels; teacher=oracle needs "
                "maps of one size in a video"
            )
        return np.stack(
            [self._worsen(one, frames.video_digest, n) for one, n in zip(maps, frames.frame_numbers, strict=True)]
        )

    def _worsen(self, label_HW: np.ndarray, video_digest: str, frame_number: int) -> np.ndarray:
        name = f"oracle/{self._seed}/{video_digest}/{frame_number}".encode()
        generator = np.random.default_rng(list(hashlib.sha256(name).digest()))
        worse_HW = label_HW.copy()
        for seen, others in self._confusion.items():
            draw = generator.random()
            for other, probability in others.items():
                if 0 <= draw < probability:
                    worse_HW[label_HW == self.classes.index(seen)] = self.classes.index(other)
                draw -= probability
        if self._jitter > 0:
            worse_HW = _displace(worse_HW, self._jitter, generator)
        if self._region_noise > 0:
            region_HW = _regions(label_HW.shape, self._region_pixels, generator)
            count = int(region_HW.max()) + 1
            is_hit = (generator.random(count) < self._region_noise)[region_HW] & (worse_HW != IGNORE)
            worse_HW[is_hit] = generator.integers(len(self.classes), size=count, dtype=np.uint8)[region_HW][is_hit]
        if self._noise > 0:
            is_hit = (generator.random(label_HW.shape) < self._noise) & (worse_HW != IGNORE)
            worse_HW[is_hit] = generator.integers(len(self.classes), size=int(is_hit.sum()), dtype=np.uint8)
        return worse_HW


def _displace(label_HW: np.ndarray, pixels: float, generator: np.random.Generator) -> np.ndarray:
    """Return labels read from up to `pixels` away; neighbouring pixels have nearly the same offset."""
    height, width = label_HW.shape
    grid = (2, height // JITTER_CELL + 2, width // JITTER_CELL + 2)
    anchors = generator.uniform(-pixels, pixels, grid)
    rows, columns = np.arange(height) / JITTER_CELL, np.arange(width) / JITTER_CELL
    top, left = rows.astype(np.int64), columns.astype(np.int64)
    down, right = (rows - top)[:, None], (columns - left)[None, :]
    field = (
        anchors[:, top][:, :, left] * (1 - down) * (1 - right)
        + anchors[:, top + 1][:, :, left] * down * (1 - right)
        + anchors[:, top][:, :, left + 1] * (1 - down) * right
        + anchors[:, top + 1][:, :, left + 1] * down * right
    )
    from_rows = np.clip(np.rint(np.arange(height)[:, None] + field[0]), 0, height - 1).astype(np.int64)
    from_columns = np.clip(np.rint(np.arange(width)[None, :] + field[1]), 0, width - 1).astype(np.int64)
    displaced_HW: np.ndarray = label_HW[from_rows, from_columns]
    return displaced_HW


def _regions(shape: tuple[int, ...], pixels: int, generator: np.random.Generator) -> np.ndarray:
    """Return the number of a region for each pixel.

    Each square of `pixels` has a random point. A pixel belongs to the nearest of the points in its square and the eight
    squares around.
    """
    height, width = shape
    down, across = height // pixels + 3, width // pixels + 3
    points = (generator.random((down, across, 2)) + np.indices((down, across)).transpose(1, 2, 0) - 1) * pixels
    rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
    nearest_HW = np.full((height, width), np.inf)
    region_HW = np.zeros((height, width), dtype=np.int64)
    for step_down, step_across in np.ndindex(3, 3):
        at_row, at_column = rows // pixels + step_down, columns // pixels + step_across
        point = points[at_row, at_column]
        distance_HW = (point[..., 0] - rows) ** 2 + (point[..., 1] - columns) ** 2
        is_nearer = distance_HW < nearest_HW
        nearest_HW[is_nearer] = distance_HW[is_nearer]
        region_HW[is_nearer] = (at_row * across + at_column)[is_nearer]
    return region_HW
