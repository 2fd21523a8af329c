"""Sprites of cars, people, trees and signs for the synthetic dataset, drawn by formulas.

A sprite is float32 [4, h, w]: red, green, blue (0..255) and the class id, or CLEAR where it is transparent. A family is
a list of NUM_VARIANTS sprites; pedestrians have as many again for the second phase of a step.
"""

from __future__ import annotations

import numpy as np

from odkd.data.video.street.world import CLASS_COLOURS, Rgb

CLEAR = 255.0
NUM_VARIANTS = 8  # of every family
CLASS_ID = {name: number for number, name in enumerate(CLASS_COLOURS)}


class Sheet:
    """A sprite that is being drawn: x runs from -1 (left) to 1, y from 0 (bottom) to 1."""

    def __init__(self, height: int, width: int, label: str) -> None:
        self.pixels_4hw = np.full((4, height, width), CLEAR, np.float32)
        self.x_hw = np.tile((np.arange(width, dtype=np.float32) + 0.5) / width * 2 - 1, (height, 1))
        self.y_hw = np.tile(1 - (np.arange(height, dtype=np.float32)[:, None] + 0.5) / height, (1, width))
        self.label = CLASS_ID[label]

    def fill(self, where_hw: np.ndarray, colour: Rgb) -> None:
        """Fill the pixels of a mask."""
        self.pixels_4hw[:, where_hw] = np.asarray([[*colour, self.label]], np.float32).T

    def box(self, left: float, right: float, low: float, high: float, colour: Rgb, mirror: bool = False) -> None:
        """Fill a rectangle, and with `mirror` also its mirror image about x = 0."""
        x_hw = np.abs(self.x_hw) if mirror else self.x_hw
        self.fill((x_hw >= left) & (x_hw <= right) & (self.y_hw >= low) & (self.y_hw <= high), colour)

    def disc(self, x: float, y: float, radius_x: float, radius_y: float, colour: Rgb) -> None:
        """Fill an ellipse."""
        self.fill(((self.x_hw - x) / radius_x) ** 2 + ((self.y_hw - y) / radius_y) ** 2 <= 1, colour)

    def shade(self, factor_hw: np.ndarray) -> np.ndarray:
        """Multiply the colours by a factor and return the sprite."""
        self.pixels_4hw[:3] *= factor_hw
        return self.pixels_4hw


def car(body: Rgb, *, front: bool, night: bool) -> np.ndarray:
    """Return a car seen from behind or from the front; at night its lights are bright and its body is dark."""
    sheet = Sheet(56, 64, "car")
    sheet.box(0.55, 0.9, 0.0, 0.25, (24, 24, 26), mirror=True)
    sheet.box(-0.96, 0.96, 0.13, 0.56, body)
    cabin_hw = (np.abs(sheet.x_hw) < 0.92 - 0.6 * (sheet.y_hw - 0.5)) & (sheet.y_hw > 0.5) & (sheet.y_hw < 0.98)
    sheet.fill(cabin_hw, body)
    sheet.fill(cabin_hw & (np.abs(sheet.x_hw) < 0.76 - 0.6 * (sheet.y_hw - 0.5)) & (sheet.y_hw < 0.9), (30, 38, 48))
    sheet.box(-0.96, 0.96, 0.13, 0.2, (36, 36, 38))
    sheet.box(-0.25, 0.25, 0.24, 0.34, (215, 215, 205) if not night else (120, 115, 95))
    light = ((255, 250, 225) if night else (225, 230, 235)) if front else ((255, 40, 30) if night else (150, 22, 20))
    sheet.box(0.62, 0.93, 0.36, 0.5, light, mirror=True)
    return sheet.shade(0.86 + 0.28 * sheet.y_hw)


def truck(body: Rgb, *, front: bool) -> np.ndarray:
    """Return a truck, whose class is car, seen from behind or from the front."""
    sheet = Sheet(84, 60, "car")
    sheet.box(0.5, 0.92, 0.0, 0.16, (18, 18, 20), mirror=True)
    sheet.box(-0.97, 0.97, 0.1, 0.99, body)
    sheet.box(-0.97, 0.97, 0.1, 0.2, (34, 34, 36))
    sheet.box(0.62, 0.92, 0.14, 0.21, (255, 250, 225) if front else (255, 40, 30), mirror=True)
    if front:
        sheet.box(-0.85, 0.85, 0.42, 0.68, (24, 30, 40))
    else:
        sheet.box(-0.02, 0.02, 0.2, 0.97, (20, 20, 22))
        sheet.box(0.85, 0.95, 0.92, 0.97, (230, 60, 40), mirror=True)
    return sheet.shade(0.9 + 0.2 * sheet.y_hw)


def pedestrian(skin: Rgb, top: Rgb, legs: Rgb, stride: float, vest: bool) -> np.ndarray:
    """Return a pedestrian; `stride` is the spread of the legs, `vest` adds a reflective stripe."""
    sheet = Sheet(64, 26, "pedestrian")
    lean_hw = (0.5 - sheet.y_hw) * stride
    sheet.fill((np.abs(sheet.x_hw - lean_hw) < 0.26) & (sheet.y_hw < 0.5), legs)
    sheet.fill((np.abs(sheet.x_hw + lean_hw) < 0.26) & (sheet.y_hw < 0.5), legs)
    sheet.box(-0.56, 0.56, 0.47, 0.83, top)
    sheet.fill((np.abs(np.abs(sheet.x_hw) - 0.62) < 0.16) & (sheet.y_hw > 0.42) & (sheet.y_hw < 0.8), top)
    if vest:
        sheet.box(-0.56, 0.56, 0.58, 0.64, (235, 235, 215))
    sheet.disc(0, 0.91, 0.34, 0.09, skin)
    sheet.box(-0.3, 0.3, 0.945, 0.99, (46, 34, 26))
    return sheet.shade(0.94 + 0.12 * sheet.x_hw)


def tree(leaves: Rgb, trunk: Rgb, generator: np.random.Generator) -> np.ndarray:
    """Return a tree with random foliage."""
    sheet = Sheet(96, 72, "vegetation")
    sheet.box(-0.07, 0.07, 0, 0.5, trunk)
    for _ in range(11):
        angle, distance = generator.uniform(0, 2 * np.pi), generator.uniform(0.2, 1)
        tone = generator.uniform(0.8, 1.2)
        colour = (leaves[0] * tone, leaves[1] * tone, leaves[2] * tone)
        sheet.disc(0.58 * distance * np.cos(angle), 0.66 + 0.2 * distance * np.sin(angle), 0.4, 0.15, colour)
    speckle_hw = generator.normal(1, 0.12, sheet.y_hw.shape).astype(np.float32)
    return sheet.shade((0.72 + 0.42 * sheet.y_hw - 0.12 * sheet.x_hw) * speckle_hw)


def sign(kind: int, night: bool) -> np.ndarray:
    """Return a traffic sign of one of four kinds: red ring, triangle, blue square, red disc with a bar."""
    sheet = Sheet(32, 32, "sign")
    dim = 0.8 if night else 1.0
    red, white, blue = (205 * dim, 28.0, 30.0), (240 * dim, 240 * dim, 235 * dim), (25.0, 70.0, 190 * dim)
    if kind == 0:
        sheet.disc(0, 0.5, 1, 0.5, red)
        sheet.disc(0, 0.5, 0.64, 0.32, white)
    elif kind == 1:
        sheet.fill(np.abs(sheet.x_hw) < 1.02 - sheet.y_hw, red)
        sheet.fill(np.abs(sheet.x_hw) < 0.62 - (sheet.y_hw - 0.14), white)
        sheet.fill((np.abs(sheet.x_hw) < 0.62 - (sheet.y_hw - 0.14)) & (sheet.y_hw < 0.14), red)
    elif kind == 2:
        sheet.box(-1, 1, 0, 1, blue)
        sheet.box(-0.3, 0.3, 0.2, 0.8, white)
    else:
        sheet.disc(0, 0.5, 1, 0.5, red)
        sheet.box(-0.7, 0.7, 0.4, 0.6, white)
    return sheet.pixels_4hw


def gantry(generator: np.random.Generator) -> np.ndarray:
    """Return a sign of a highway gantry with three lines of text."""
    sheet = Sheet(40, 80, "sign")
    sheet.box(-1, 1, 0, 1, (225, 228, 235))
    sheet.box(-0.97, 0.97, 0.06, 0.94, (48, 104, 205))
    for low in (0.2, 0.45, 0.7):
        sheet.box(-0.8, generator.uniform(-0.1, 0.7), low, low + 0.12, (225, 228, 235))
    return sheet.pixels_4hw


def pole(colour: Rgb) -> np.ndarray:
    """Return a stretch of a pole."""
    sheet = Sheet(4, 8, "pole")
    sheet.box(-1, 1, 0, 1, colour)
    return sheet.shade(1.15 - 0.3 * np.abs(sheet.x_hw))


def glow(colour: Rgb) -> np.ndarray:
    """Return light to be added around its source: red, green and blue fall off from the centre; its class is unused."""
    sheet = Sheet(33, 33, "sky")
    fall_hw = np.exp(-5 * (sheet.x_hw**2 + (2 * sheet.y_hw - 1) ** 2))
    sheet.pixels_4hw[:3] = fall_hw * np.asarray(colour, np.float32)[:, None, None]
    return sheet.pixels_4hw


def draw_families(night: bool, generator: np.random.Generator) -> dict[str, list[np.ndarray]]:
    """Return all sprites of a domain by family: NUM_VARIANTS per family and phase."""
    paints = [
        (184, 30, 34),
        (30, 62, 140),
        (222, 222, 224),
        (30, 30, 34),
        (150, 154, 160),
        (206, 160, 30),
        (36, 92, 70),
    ]
    paints = [*paints, (120, 40, 90)]
    clothes = [(200, 50, 60), (40, 60, 150), (230, 200, 70), (70, 70, 76), (210, 210, 215), (40, 120, 90)]
    clothes = [*clothes, (220, 110, 40), (120, 60, 140)]
    skins: list[Rgb] = [(224, 172, 140), (140, 92, 66)]
    legs: list[Rgb] = [(40, 48, 84), (46, 42, 40), (120, 104, 80)]
    dark = 0.3 if night else 1.0
    bodies: list[Rgb] = [(r * dark, g * dark, b * dark) for r, g, b in paints]
    tops: list[Rgb] = [(235, 240, 60) if night else top for top in clothes]
    leaves: Rgb = (26, 36, 42) if night else (66, 122, 48)
    trunk: Rgb = (30, 28, 30) if night else (92, 72, 54)
    numbers = range(NUM_VARIANTS)
    return {
        "car rear": [car(body, front=False, night=night) for body in bodies],
        "car front": [car(body, front=True, night=night) for body in bodies],
        "truck rear": [truck(body, front=False) for body in bodies],
        "truck front": [truck(body, front=True) for body in bodies],
        "pedestrian": [
            pedestrian(skins[n % 2], tops[n], legs[n % 3], stride, vest=night)
            for stride in (0.9, 0.15)
            for n in numbers
        ],
        "tree": [tree(leaves, trunk, generator) for _ in numbers],
        "sign": [sign(n % (3 if night else 4), night) for n in numbers],
        "gantry": [gantry(generator) for _ in numbers],
        "pole": [pole((118, 114, 108) if night else (52, 60, 64)) for _ in numbers],
        "shadow": [glow((-55, -55, -50)) for _ in numbers],
        "glow white": [glow((120, 115, 95)) for _ in numbers],
        "glow red": [glow((110, 14, 8)) for _ in numbers],
        "glow amber": [glow((190, 130, 60)) for _ in numbers],
    }
