"""Upright surfaces along the road (fronts of buildings, hedges, rails), found by one ray per image column."""

from __future__ import annotations

import numpy as np

from odkd.data.video.street.camera import FAR, NUM_LOTS, Camera, View, smooth_noise
from odkd.data.video.street.sprites import CLASS_ID
from odkd.data.video.street.world import Wall, World

CELLS, CELL_PIXELS = 32, 16  # windows along a side of the texture, texture pixels per window
SIZE = CELLS * CELL_PIXELS  # of the texture, a power of 2
CELL_WIDTH, CELL_HEIGHT = 3.0, 3.3  # metres
LABELS = {"building": CLASS_ID["building"], "hedge": CLASS_ID["vegetation"], "rail": CLASS_ID["fence"]}


class WallPainter:
    """A painter of one wall; it holds the appearance of the wall's lots."""

    def __init__(self, wall: Wall, camera: Camera, generator: np.random.Generator) -> None:
        self.wall, self.camera = wall, camera
        filled, tallness, colour, tone = generator.random((4, NUM_LOTS)).astype(np.float32)
        low, high = wall.heights
        self.is_filled = filled < wall.chance
        self.heights = np.where(self.is_filled, low + (high - low) * tallness, 0).astype(np.float32)
        palette = np.asarray(wall.colours, np.float32)
        self.colours = palette[(colour * len(palette)).astype(np.int64)].T * (0.85 + 0.3 * tone)
        ahead = np.flatnonzero(np.concatenate([self.is_filled, self.is_filled]))
        lots = np.arange(NUM_LOTS)
        self.steps_to_next = ahead[np.searchsorted(ahead, lots + 1)] - lots
        self.grain = generator.standard_normal((SIZE, SIZE), np.float32)
        self.outline = smooth_noise(generator, (512,), 8)
        self.windows = _window_texture(camera.world, generator)

    def paint(self, canvas_4HW: np.ndarray, depth_HW: np.ndarray, view: View) -> None:
        """Paint the wall where nothing nearer is painted yet, and write its distance to depth_HW (metres)."""
        camera, wall = self.camera, self.wall
        eye, horizon = np.float32(camera.world.camera_height), np.float32(view.horizon)
        z_W, along_W, lot_W, is_end_W = self._trace(view)
        seen = np.flatnonzero(z_W < FAR)
        if not len(seen):
            return
        columns = slice(seen[0], seen[-1] + 1)
        z, along, lot = z_W[columns], along_W[columns], lot_W[columns]
        height = self.heights[lot]
        if wall.style == "hedge":
            height = height * (1 + np.float32(0.12) * self.outline[(along * 8).astype(np.int64) % 512])
        scale = np.float32(camera.focal) / z
        top, bottom = horizon - scale * (height - eye), horizon + scale * eye
        rows = slice(max(int(top.min()), 0), int(min(np.ceil(bottom.max()), camera.height)))
        row, area = camera.row_H[rows, None], (rows, columns)
        y = eye - (row - horizon) / scale
        hit = (row >= top) & (row < bottom) & (z < np.minimum(depth_HW[area], FAR))
        if wall.style == "rail":
            # Below the rail only its posts hide what is behind.
            hit &= (y > 0.35 * wall.heights[0]) | (along % 4 < 0.25)
        light, haze = camera.light_and_haze(z)
        light *= np.where(is_end_W[columns], np.float32(0.8 * wall.light), np.float32(wall.light))
        colour = self._surface(y, along, lot, height, z) * light
        colour += haze[:, None]
        np.copyto(canvas_4HW[:3, *area], colour, where=hit)
        np.copyto(canvas_4HW[3, *area], np.float32(LABELS[wall.style]), where=hit)
        np.copyto(depth_HW[area], z, where=hit)

    def _surface(
        self, y_RC: np.ndarray, along: np.ndarray, lot: np.ndarray, height: np.ndarray, z: np.ndarray
    ) -> np.ndarray:
        """Return colours [3, R, C] in plain light, at height y_RC of each column's place on the wall."""
        colour: np.ndarray = self.colours[:, None, lot]
        texture_row = (y_RC * np.float32(CELL_PIXELS / CELL_HEIGHT)).astype(np.int32) & (SIZE - 1)
        texture_column = (along * (CELL_PIXELS / CELL_WIDTH) + 5 * CELL_PIXELS * lot).astype(np.int32)
        texel = texture_row * SIZE + (texture_column & (SIZE - 1))
        if self.wall.style == "building":
            glass = self.windows.take(texel, axis=1)
            far_fade = np.clip(1.6 - z / 45, 0.25, 1)  # windows far away are thinner than a pixel
            colour = colour + glass[3] * (far_fade * (y_RC < height - 0.6)) * (glass[:3] - colour)
            roughness = 0.07
        elif self.wall.style == "hedge":
            colour = colour * (np.float32(0.7) + np.float32(0.5) * y_RC / height)
            roughness = 0.2
        else:
            colour = colour * (np.float32(0.75) + np.float32(0.5) * (y_RC > np.float32(0.7) * height))
            roughness = 0.02
        colour *= 1 + np.float32(roughness) * self.grain.take(texel)
        return colour

    def _trace(self, view: View) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return what the ray of each column meets: distance (FAR: nothing), place along the wall, lot, is_end_wall."""
        wall, camera = self.wall, self.camera
        slope_W = camera.slope_W.astype(np.float64)
        offset = wall.x - camera.world.camera_x
        # The ray meets the bent plane where bend/2 z^2 - slope z + offset = 0; this root holds without bend.
        with np.errstate(divide="ignore", invalid="ignore"):
            z_W = 2 * offset / (slope_W + np.sign(offset) * np.sqrt(slope_W**2 - 2 * view.bend * offset))
            z_W = np.where((z_W > 0) & (z_W < FAR), z_W, FAR)
        along_W = view.travelled + z_W
        lot_W = (along_W // wall.lot).astype(np.int64)
        into_W = along_W - lot_W * wall.lot
        # A ray through a gap meets the end wall of the next filled lot, if that wall reaches far enough outwards.
        passes_W = ~self.is_filled[lot_W % NUM_LOTS] | (into_W > wall.built * wall.lot)
        lot_W = np.where(passes_W, lot_W + self.steps_to_next[lot_W % NUM_LOTS], lot_W)
        end_z_W = lot_W * wall.lot - view.travelled
        end_x_W = slope_W * end_z_W - offset - 0.5 * view.bend * end_z_W**2
        meets_end_W = passes_W & (np.abs(end_x_W) < wall.depth) & (wall.style != "rail")
        z_W = np.where(meets_end_W, end_z_W, np.where(passes_W, FAR, z_W))
        z_W = np.minimum(z_W, FAR).astype(np.float32)
        place_W = np.where(passes_W, np.abs(end_x_W), into_W).astype(np.float32)
        return z_W, place_W, lot_W % NUM_LOTS, passes_W


def _window_texture(world: World, generator: np.random.Generator) -> np.ndarray:
    """Return a texture of windows, some of them lit: [4, texels], red, green, blue, 1 for glass; row 0 is lowest."""
    inside = (np.arange(CELL_PIXELS) + 0.5) / CELL_PIXELS
    is_glass = ((inside > 0.3) & (inside < 0.8))[:, None] & ((inside > 0.28) & (inside < 0.74))
    is_lit = generator.random((CELLS, CELLS)) < world.lit_windows
    cells = np.where(is_lit[..., None], np.asarray(world.lit_window), np.asarray(world.window))
    cells = cells * generator.uniform(0.8, 1.2, (CELLS, CELLS, 1))
    colour = np.repeat(np.repeat(cells, CELL_PIXELS, 0), CELL_PIXELS, 1)
    alpha = np.tile(is_glass, (CELLS, CELLS))
    return np.concatenate([colour, alpha[..., None]], -1).astype(np.float32).reshape(-1, 4).T.copy()
