"""The street scene as seen from a driving car, with the exact class of every pixel: a pure function of time.

Sky and ground are looked up by row and column, walls by one ray per column, and everything else is a sprite. Colours
and class share one float32 canvas [4, H, W] (red, green, blue, class id), so that a mask cannot disagree with its
image.
"""

from __future__ import annotations

import numpy as np

from odkd.data.video.street.camera import FAR, NUM_LOTS, Camera, View, scene_generator, smooth_noise
from odkd.data.video.street.objects import ObjectPainter
from odkd.data.video.street.sprites import CLASS_ID
from odkd.data.video.street.walls import WallPainter
from odkd.data.video.street.world import World

MARKS_UNTIL = 45.0  # metres; beyond, painted lines are thinner than a pixel
GROUND_HALF, GROUND_STEPS = 60.0, 25  # the ground's cross section: +- metres, steps per metre
NOISE_SHIFTS = 64  # the sensor noise is one image, shifted at random by 0..63 pixels along each axis


class Scene:
    """A renderer of one world at one size; it holds only tables, so that times can be rendered in any order."""

    def __init__(self, world: World, *, height: int, width: int, seed: int) -> None:
        self.world, self.height, self.width, self.seed = world, height, width, seed
        self.camera = Camera(world, height=height, width=width)
        self.walls = [
            WallPainter(wall, self.camera, self._generator(f"wall {n}")) for n, wall in enumerate(world.walls)
        ]
        self.objects = ObjectPainter(world.rows, self.camera, seed=seed)
        self.grain = self._generator("grain").standard_normal((256, 256), np.float32)
        clouds = smooth_noise(self._generator("clouds"), (512, 512), 40)
        clouds += 0.3 * smooth_noise(self._generator("wisps"), (512, 512), 8)
        haze = self._generator("sky").standard_normal((512, 512), np.float32)
        self.clouds = np.clip(0.5 + 0.6 * clouds, 0, 1) + np.float32(0.05) * haze
        shape = (3, height + NOISE_SHIFTS, width + NOISE_SHIFTS)
        self.noise = world.noise * self._generator("noise").standard_normal(shape, np.float32)
        self.materials_4M, self.section_SX = _ground_tables(world)

    def _generator(self, purpose: str) -> np.random.Generator:
        return scene_generator(self.seed, self.world.name, purpose)

    def render(self, seconds: float, *, noise: bool = True) -> tuple[np.ndarray, np.ndarray]:
        """Return image and ground truth at a time: image_HWC uint8 RGB, labels_HW uint8 class ids."""
        view = self.camera.view(seconds)
        canvas_4HW = np.empty((4, self.height, self.width), np.float32)
        depth_HW = np.full((self.height, self.width), np.inf, np.float32)
        first_row = int(np.ceil(view.horizon + 0.5))
        self._paint_sky(canvas_4HW[:, :first_row], view)
        self._paint_ground(canvas_4HW[:, first_row:], view, first_row)
        for wall in self.walls:
            wall.paint(canvas_4HW, depth_HW, view)
        self.objects.paint(canvas_4HW, depth_HW, view)
        image_3HW = canvas_4HW[:3]
        if noise:
            top, left = self._generator(f"noise {seconds:.6f}").integers(NOISE_SHIFTS, size=2)
            image_3HW += self.noise[:, top : top + self.height, left : left + self.width]
        image_3HW = np.minimum(np.maximum(image_3HW, 0), 255).astype(np.uint8)
        return np.ascontiguousarray(image_3HW.transpose(1, 2, 0)), canvas_4HW[3].astype(np.uint8)

    def _paint_sky(self, sky_4RW: np.ndarray, view: View) -> None:
        world, camera = self.world, self.camera
        down_R1 = np.minimum(camera.row_H[: sky_4RW.shape[1], None] / np.float32(view.horizon), 1)
        top, low, cloud = np.asarray([world.sky_top, world.sky_low, world.cloud], np.float32)[..., None, None]
        # Cloud bands flatten towards the horizon, drift, and turn with the road.
        rows_R = (150 * down_R1[:, 0] * (0.5 + down_R1[:, 0])).astype(np.int64)
        columns_W = (camera.slope_W * 180 + (view.bend * 30000 + view.seconds * 2)).astype(np.int64) % 512
        np.multiply(self.clouds[rows_R[:, None], columns_W], cloud, out=sky_4RW[:3])
        sky_4RW[:3] += top + (low - top) * down_R1
        sky_4RW[3] = CLASS_ID["sky"]

    def _paint_ground(self, ground_4RW: np.ndarray, view: View, first_row: int) -> None:
        world, camera = self.world, self.camera
        z_R = camera.focal * world.camera_height / (camera.row_H[first_row:] - view.horizon)
        z_R = np.minimum(z_R, FAR).astype(np.float64)
        centre_R = world.camera_x - 0.5 * view.bend * z_R**2
        x_RW = camera.slope_W * z_R[:, None].astype(np.float32) + centre_R[:, None].astype(np.float32)
        along_R = view.travelled + z_R
        steps_RW = ((x_RW + np.float32(GROUND_HALF)) * np.float32(GROUND_STEPS)).astype(np.int32)
        steps_RW = np.minimum(np.maximum(steps_RW, 0), self.section_SX.shape[1] - 1)
        material_RW = self.section_SX[self._markings(z_R, along_R)[:, None], steps_RW]
        ground_4RW[...] = self.materials_4M.take(material_RW, axis=1)
        grain_RW = self.grain[(along_R * 17).astype(np.int64)[:, None] % 256, (steps_RW >> 1) & 255]
        light_R, haze_3R = camera.light_and_haze(z_R)
        spacing, strength = world.lamps
        light_R *= 1 + strength * np.cos(2 * np.pi * along_R / spacing).astype(np.float32)
        contrast_R = 0.10 * np.exp(-z_R / 30).astype(np.float32)
        shade_RW = light_R[:, None] * (1 + contrast_R[:, None] * grain_RW)
        if world.shadow < 1:
            lots_R = (along_R // world.walls[0].lot).astype(np.int64) % NUM_LOTS
            edge_R = world.walls[0].x + 0.75 * self.walls[0].heights[lots_R]
            shade_RW *= np.where(x_RW < edge_R[:, None], np.float32(world.shadow), np.float32(1.06))
        ground_4RW[:3] *= shade_RW
        ground_4RW[:3] += haze_3R[..., None]

    def _markings(self, z_R: np.ndarray, along_R: np.ndarray) -> np.ndarray:
        """Return which of the four states of the ground each row shows (see `_ground_tables`)."""
        dash, period = next((band.dash, band.period) for band in self.world.bands if band.dash)
        state_R = 1 + (along_R % period < dash)
        if self.world.crossing:
            state_R = np.where(along_R % self.world.crossing < 3.5, 3, state_R)
        return np.where(z_R < MARKS_UNTIL, state_R, 0)


def _ground_tables(world: World) -> tuple[np.ndarray, np.ndarray]:
    """Return materials [4, M] (red, green, blue, class) and the cross section of the ground [4, X] as material numbers.

    The cross section has four states: no markings (far away), solid lines, solid and dashed lines, zebra crossing.
    """
    materials = [(*band.colour, CLASS_ID[band.label]) for band in world.bands]
    x_X = (np.arange(int(2 * GROUND_HALF * GROUND_STEPS)) + 0.5) / GROUND_STEPS - GROUND_HALF
    section_SX = np.zeros((4, len(x_X)), np.uint8)
    for number, band in enumerate(world.bands):
        inside_X = (x_X >= band.left) & (x_X < band.right)
        is_line = band.label == "lane marking"
        states = [2] if band.dash else [1, 2] if is_line else [0, 1, 2, 3]
        for state in states:
            section_SX[state, inside_X] = number
        if band.label == "road":
            section_SX[3, inside_X & (x_X % 1.0 < 0.5)] = len(world.bands) - 1  # the last band is a line
    return np.asarray(materials, np.float32).T.copy(), section_SX
