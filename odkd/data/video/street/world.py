"""The parts of a world of the synthetic dataset: strips of ground, walls, rows of objects, light.

Lengths are in metres. x runs to the right from the centre line of the road, height upwards from the ground.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Rgb = tuple[float, float, float]  # 0..255
Classes = dict[str, Rgb]

# Classes that CamVid has too take their colours from its palette.
CLASS_COLOURS: Classes = {
    "road": (128, 64, 128),
    "lane marking": (240, 230, 120),
    "pavement": (60, 40, 222),
    "building": (128, 0, 0),
    "fence": (64, 64, 0),
    "pole": (192, 192, 128),
    "sign": (220, 120, 0),
    "vegetation": (0, 128, 0),
    "sky": (128, 192, 255),
    "car": (64, 0, 128),
    "pedestrian": (230, 60, 60),
}


@dataclass(frozen=True)
class Band:
    """A strip of ground along the road; later bands cover earlier ones."""

    left: float
    right: float
    label: str
    colour: Rgb
    dash: float = 0.0  # painted length of a dashed line; 0: solid
    period: float = 1.0  # distance from dash to dash


@dataclass(frozen=True)
class Wall:
    """Upright surfaces in a plane along the road, cut into lots that are built on, planted, or empty."""

    x: float
    lot: float  # length of a lot
    built: float  # fraction of a lot's length that is filled
    chance: float  # of a lot not being empty
    heights: tuple[float, float]
    style: Literal["building", "hedge", "rail"]
    colours: tuple[Rgb, ...]
    light: float = 1.0
    depth: float = 12.0  # how far an end wall reaches away from the road


@dataclass(frozen=True)
class ObjectRow:
    """Objects of one kind on a line along the road, at a fixed spacing, all standing or moving at one speed."""

    sprite: str  # a family of odkd.data.video.street.sprites
    x: float
    spacing: float
    width: float
    height: float
    chance: float = 1.0
    base: float = 0.0  # height of the lower edge above the ground
    scatter: float = 0.0  # random shift sideways, +- metres
    jitter: float = 0.0  # random shift along the road, fraction of the spacing
    sway: float = 0.0  # sideways walk, +- metres
    speed: float = 0.0  # along the road, metres per second
    far: float = 70.0  # drawn up to this distance
    group: str = ""  # rows of one group share chance, scatter and jitter, such as a pole and its plate
    glow: bool = False  # adds light instead of covering the background


@dataclass(frozen=True)
class World:
    """The complete description of one domain."""

    name: str
    camera_x: float
    camera_height: float
    horizon: float  # fraction of the image height
    speed: float  # of the camera, metres per second
    bend: float  # largest curvature of the road, 1 / metres
    bands: tuple[Band, ...]
    walls: tuple[Wall, ...]  # from far to near
    rows: tuple[ObjectRow, ...]
    sky_top: Rgb
    sky_low: Rgb
    cloud: Rgb  # added by a full cloud
    haze: Rgb
    haze_metres: float
    crossing: float  # distance between zebra crossings; 0: none
    shadow: float  # light in the shadow of the buildings on the left; 1: no sun
    lamps: tuple[float, float]  # distance between street lamps that light the ground, strength 0..1
    ambient: float  # light far from the headlights
    headlights: float  # light that the headlights add at the camera
    lit_windows: float  # fraction of windows
    window: Rgb
    lit_window: Rgb
    noise: float  # standard deviation of the sensor noise
