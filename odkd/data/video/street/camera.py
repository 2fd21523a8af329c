"""The moving camera of the street scene, its light and haze, and the random generators of the scene."""

from __future__ import annotations

import zlib
from dataclasses import dataclass

import numpy as np

from odkd.data.video.street.world import World

NUM_LOTS = 1021  # different lots and objects of a row before they repeat, kilometres later; prime
NEAR, FAR = 2.5, 400.0  # metres: nearest and farthest distance that is drawn


def scene_generator(seed: int, *names: str) -> np.random.Generator:
    """Return the generator for one purpose: the same for the same seed and names, independent of all others.

    It keeps its own rule of seeding (not `odkd.common.seeds`), because another rule would draw another dataset.
    """
    return np.random.default_rng([seed, *(zlib.crc32(name.encode()) for name in names)])


def smooth_noise(generator: np.random.Generator, shape: tuple[int, ...], radius: float) -> np.ndarray:
    """Return smooth noise with blobs of `radius` pixels, mean 0 and standard deviation 1, that tiles without a seam."""
    squares = [(np.fft.fftfreq(size) * radius) ** 2 for size in shape]
    blur = np.exp(-sum(np.meshgrid(*squares, indexing="ij")))
    noise = np.fft.ifftn(np.fft.fftn(generator.standard_normal(shape)) * blur).real
    return np.asarray((noise - noise.mean()) / noise.std(), np.float32)


@dataclass(frozen=True)
class View:
    """The position and direction of the camera at one time."""

    seconds: float
    travelled: float  # metres along the road
    horizon: float  # row
    bend: float  # curvature of the road, 1 / metres; positive to the right


class Camera:
    """A pinhole camera on a car: a point at distance z and x to the right appears in column W/2 + focal x/z."""

    def __init__(self, world: World, *, height: int, width: int) -> None:
        self.world, self.height, self.width = world, height, width
        self.focal = 0.7 * width  # pixels: a horizontal view of 71 degrees
        self.row_H = np.arange(height, dtype=np.float32) + np.float32(0.5)
        self.slope_W = (np.arange(width, dtype=np.float32) + np.float32(0.5 - width / 2)) / np.float32(self.focal)

    def view(self, seconds: float) -> View:
        """Return the view at a time: the car brakes and accelerates, pitches slightly and follows the road's bends."""
        world = self.world
        travelled = world.speed * (seconds + 2.0 * np.sin(seconds / 5))
        nod = 0.004 * np.sin(2.3 * seconds) + 0.003 * np.sin(5.1 * seconds)
        bend = world.bend * np.sin(travelled / 130) * np.sin(travelled / 310 + 1)
        return View(seconds, float(travelled), float((world.horizon + nod) * self.height), float(bend))

    def light_and_haze(self, distance_N: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return light [N] and haze [3, N] at these distances: a surface of colour c appears as light * c + haze."""
        world = self.world
        haze = 1 - np.exp(-distance_N / world.haze_metres)
        light = (world.ambient + world.headlights * np.exp(-distance_N / 18)) * (1 - haze)
        return light.astype(np.float32), np.outer(world.haze, haze).astype(np.float32)
