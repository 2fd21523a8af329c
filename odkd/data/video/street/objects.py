"""Objects that stand or move along the road: sprites, painted from far to near and hidden by nearer walls."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from odkd.data.video.street.camera import NEAR, NUM_LOTS, Camera, View, scene_generator
from odkd.data.video.street.sprites import CLEAR, NUM_VARIANTS, draw_families
from odkd.data.video.street.world import ObjectRow

STEPS_A_SECOND = 3.0  # of a walking pedestrian
SWAY_A_SECOND = 0.25  # radians, of pedestrians who walk to and fro across the road


class ObjectPainter:
    """A painter of all rows of objects. Axis N: the slots of all rows; a row has as many as can be in sight at once."""

    def __init__(self, rows: Sequence[ObjectRow], camera: Camera, *, seed: int) -> None:
        self.camera = camera
        name = camera.world.name
        families = draw_families(name == "night", scene_generator(seed, name, "sprites"))
        self.sprites = [families[row.sprite] for row in rows]
        self.is_glow = [row.glow for row in rows]
        groups = [row.group or f"{row.sprite} {row.x}" for row in rows]
        self.chances = np.stack([scene_generator(seed, name, group).random((NUM_LOTS, 6)) for group in groups])
        slots = [np.arange(int(row.far / row.spacing) + 2) for row in rows]
        self.slot_N = np.concatenate(slots)
        self.row_N = np.repeat(np.arange(len(rows)), [len(slot) for slot in slots])
        fields = (
            "x",
            "spacing",
            "width",
            "height",
            "chance",
            "base",
            "scatter",
            "jitter",
            "sway",
            "speed",
            "far",
        )
        table = np.asarray([[getattr(row, field) for field in fields] for row in rows], np.float64)
        self.facts = dict(zip(fields, table[self.row_N].T, strict=True))
        self.num_sprites_N = np.asarray([len(family) for family in self.sprites])[self.row_N]

    def paint(self, canvas_4HW: np.ndarray, depth_HW: np.ndarray, view: View) -> None:
        """Paint every object in sight, except where depth_HW (metres) has a wall in front of it."""
        camera, fact = self.camera, self.facts
        z_N, x_N, sprite_N, exists_N = self._place(view)
        scale_N = camera.focal / np.maximum(z_N, NEAR)
        thinnest = camera.height / 64  # pixels, so that a pole stays visible
        width_N = np.maximum(fact["width"] * scale_N, thinnest)
        height_N = np.maximum(fact["height"] * scale_N, thinnest)
        bottom_N = view.horizon + scale_N * (camera.world.camera_height - fact["base"])
        offset_N = x_N - camera.world.camera_x + 0.5 * view.bend * z_N**2
        left_N = camera.width / 2 + scale_N * offset_N - width_N / 2
        top_N = bottom_N - height_N
        corners_N4 = np.rint(np.stack([top_N, bottom_N, left_N, left_N + width_N], -1)).astype(np.int64)
        corners_N4 = np.clip(corners_N4, 0, [camera.height] * 2 + [camera.width] * 2)
        exists_N &= (corners_N4[:, 0] < corners_N4[:, 1]) & (corners_N4[:, 2] < corners_N4[:, 3])
        light_N, haze_3N = camera.light_and_haze(z_N)
        far_to_near = np.argsort(-z_N, kind="stable")  # at equal distance the later row is in front
        for n in far_to_near[exists_N[far_to_near]]:
            first_row, last_row, first_column, last_column = corners_N4[n].tolist()
            area = (slice(first_row, last_row), slice(first_column, last_column))
            sprite_4hw = self.sprites[self.row_N[n]][sprite_N[n]]
            rows = _samples(first_row, last_row, top_N[n], height_N[n], sprite_4hw.shape[1])
            columns = _samples(first_column, last_column, left_N[n], width_N[n], sprite_4hw.shape[2])
            pixels = sprite_4hw.take(rows, axis=1).take(columns, axis=2)
            visible = depth_HW[area] > z_N[n]
            canvas = canvas_4HW[:, *area]
            if self.is_glow[self.row_N[n]]:
                canvas[:3] += pixels[:3] * visible
                continue
            visible &= pixels[3] != CLEAR
            pixels[:3] *= light_N[n]
            pixels[:3] += haze_3N[:, n, None, None]
            np.copyto(canvas, pixels, where=visible)

    def _place(self, view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return distance, x and sprite of the object in each slot, and whether the object exists and is in sight."""
        fact = self.facts
        camera_N = view.travelled - fact["speed"] * view.seconds  # the camera's position relative to the moving row
        number_N = np.floor(camera_N / fact["spacing"]).astype(np.int64) + self.slot_N
        chance_N6 = self.chances[self.row_N, number_N % NUM_LOTS]
        exists, shift, aside, look, phase, step = chance_N6.T
        z_N = (number_N + fact["jitter"] * shift) * fact["spacing"] - camera_N
        x_N = fact["x"] + fact["scatter"] * (2 * aside - 1)
        x_N += fact["sway"] * np.sin(view.seconds * SWAY_A_SECOND + 2 * np.pi * phase)
        steps_N = (view.seconds * STEPS_A_SECOND + 7 * step).astype(np.int64)
        sprite_N = ((look * NUM_VARIANTS).astype(np.int64) + NUM_VARIANTS * steps_N) % self.num_sprites_N
        return z_N, x_N, sprite_N, (exists < fact["chance"]) & (z_N > NEAR) & (z_N < fact["far"])


def _samples(first: int, last: int, start: float, extent: float, size: int) -> np.ndarray:
    """Return which of a sprite's `size` rows (or columns) each image row (or column) first..last-1 shows."""
    steps = ((np.arange(first, last) + (0.5 - start)) * (size / extent)).astype(np.int64)
    return np.minimum(np.maximum(steps, 0), size - 1)
