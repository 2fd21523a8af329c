"""The moving camera of the street scene, the light that it sees by, and named generators."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from odkd.data.video.street.world import World

NUM_LOTS = 1021  # different lots and objects of a row before they repeat, kilometres later; prime
NEAR, FAR = 2.5, 400.0  # metres within which things are drawn


def named_generator(seed: int, *names: str) -> np.random.Generator:
    """The generator of one purpose: the same for the same seed and names, independent of all others."""
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


def smooth_noise(generator: np.random.Generator, shape: tuple[int, ...], radius: float) -> np.ndarray:
    """Noise with blobs of `radius` pixels, zero mean, unit deviation; repeats without a seam."""
    squares = [(np.fft.fftfreq(size) * radius) ** 2 for size in shape]
    blur = np.exp(-sum(np.meshgrid(*squares, indexing="ij")))
    noise = np.fft.ifftn(np.fft.fftn(generator.standard_normal(shape)) * blur).real
    return np.asarray((noise - noise.mean()) / noise.std(), np.float32)


@dataclass(frozen=True)
class View:
    """Where the camera is and looks at one moment."""

    seconds: float
    travelled: float  # metres along the road
    horizon: float  # row
    bend: float  # curvature of the road, 1 / metres; positive to the right


class Camera:
    """A pinhole camera on a car: a point at distance z, x right of it, is seen in column W/2 + focal x/z."""

    def __init__(self, world: World, *, height: int, width: int) -> None:
        self.world, self.height, self.width = world, height, width
        self.focal = 0.7 * width  # pixels: a horizontal view of 71 degrees
        self.row_H = np.arange(height, dtype=np.float32) + np.float32(0.5)
        self.slope_W = (np.arange(width, dtype=np.float32) + np.float32(0.5 - width / 2)) / np.float32(self.focal)

    def view(self, seconds: float) -> View:
        """The car brakes and speeds up, nods a little and follows the road's bends."""
        world = self.world
        travelled = world.speed * (seconds + 2.0 * np.sin(seconds / 5))
        nod = 0.004 * np.sin(2.3 * seconds) + 0.003 * np.sin(5.1 * seconds)
        bend = world.bend * np.sin(travelled / 130) * np.sin(travelled / 310 + 1)
        return View(seconds, float(travelled), float((world.horizon + nod) * self.height), float(bend))

    def light_and_haze(self, distance_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A surface of colour c is seen as light * c + haze; light [N], haze [3, N]."""
        world = self.world
        haze = 1 - np.exp(-distance_N / world.haze_metres)
        light = (world.ambient + world.headlights * np.exp(-distance_N / 18)) * (1 - haze)
        return light.astype(np.float32), np.outer(world.haze, haze).astype(np.float32)
