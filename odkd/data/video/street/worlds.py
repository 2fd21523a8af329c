"""The two worlds of the synthetic dataset: a sunny city street, and a highway at night.

They conflict on purpose: the cloudy sky of the night has the colour of the city's asphalt, the sodium-lit road that of
the city's bricks, and the blue gantry signs that of the city's sky; road, verge and walls appear in other parts of the
image.
"""

from __future__ import annotations

from dataclasses import replace

from odkd.data.video.street.world import Band, ObjectRow, Wall, World


def _with_shadow(row: ObjectRow) -> tuple[ObjectRow, ObjectRow]:
    """Return the shadows below a row of objects, and the row."""
    row = replace(row, group=f"{row.sprite} {row.x}")
    return replace(row, sprite="shadow", width=1.3 * row.width, height=0.5, base=-0.25, glow=True), row


def _with_lights(row: ObjectRow, glow: str) -> tuple[ObjectRow, ObjectRow]:
    """Return a row of objects, and the glow of their lights."""
    row = replace(row, group=f"{row.sprite} {row.x}")
    return row, replace(row, sprite=glow, width=1.6 * row.width, height=1.6, base=-0.15, glow=True)


CITY = World(
    name="city",
    camera_x=1.75,
    camera_height=1.5,
    horizon=0.46,
    speed=9.0,
    bend=1 / 500,
    bands=(
        Band(-60, 60, "pavement", (176, 166, 150)),
        Band(-5.7, 5.7, "road", (100, 100, 107)),
        Band(-6.0, -5.7, "pavement", (205, 200, 190)),
        Band(5.7, 6.0, "pavement", (205, 200, 190)),
        Band(-3.55, -3.4, "lane marking", (225, 225, 220)),
        Band(3.4, 3.55, "lane marking", (225, 225, 220)),
        Band(-0.13, 0.13, "lane marking", (232, 232, 228), dash=3.0, period=7.0),
    ),
    walls=(
        Wall(-10.5, 15, 0.86, 0.85, (8, 19), "building", ((168, 92, 68), (196, 160, 120), (150, 112, 92)), 0.62),
        Wall(10.5, 15, 0.86, 0.85, (8, 19), "building", ((178, 98, 72), (222, 196, 156), (204, 178, 170)), 1.08),
        Wall(-10.0, 22, 0.7, 0.3, (1.6, 3.0), "hedge", ((72, 112, 50),), 0.8),
        Wall(10.0, 22, 0.7, 0.3, (1.6, 3.0), "hedge", ((84, 130, 56),)),
        Wall(-9.5, 18, 0.9, 0.35, (1.1, 1.3), "rail", ((44, 70, 58),)),
        Wall(9.5, 18, 0.9, 0.35, (1.1, 1.3), "rail", ((46, 78, 62),)),
    ),
    rows=(
        ObjectRow("tree", -7.6, 17, 5.0, 7.0, chance=0.6, scatter=0.3, jitter=0.3),
        ObjectRow("tree", 7.6, 17, 5.0, 7.0, chance=0.6, scatter=0.3, jitter=0.3),
        ObjectRow("pole", -6.5, 26, 0.24, 7.0, group="lamp left"),
        ObjectRow("pole", -5.7, 26, 1.8, 0.18, base=7.0, group="lamp left"),
        ObjectRow("pole", 6.5, 31, 0.24, 7.0, group="lamp right"),
        ObjectRow("pole", 5.7, 31, 1.8, 0.18, base=7.0, group="lamp right"),
        ObjectRow("pole", 6.3, 15, 0.16, 2.6, chance=0.8, jitter=0.4, group="sign right"),
        ObjectRow("sign", 6.3, 15, 0.95, 0.95, base=2.3, chance=0.8, jitter=0.4, group="sign right"),
        ObjectRow("pole", -6.3, 23, 0.16, 2.6, chance=0.8, jitter=0.4, group="sign left"),
        ObjectRow("sign", -6.3, 23, 0.95, 0.95, base=2.3, chance=0.8, jitter=0.4, group="sign left"),
        *_with_shadow(ObjectRow("car rear", 4.6, 7.5, 1.85, 1.5, chance=0.5, scatter=0.1, jitter=0.1)),
        *_with_shadow(ObjectRow("car front", -4.6, 7.5, 1.85, 1.5, chance=0.5, scatter=0.1, jitter=0.1)),
        *_with_shadow(ObjectRow("car front", -1.8, 38, 1.85, 1.5, chance=0.8, jitter=0.4, speed=-9.0)),
        *_with_shadow(ObjectRow("car rear", 1.75, 60, 1.85, 1.5, jitter=0.2, speed=12.0)),
        *_with_shadow(
            ObjectRow("pedestrian", 7.4, 9, 0.8, 1.8, chance=0.5, scatter=0.8, jitter=0.4, speed=1.2, far=45)
        ),
        *_with_shadow(
            ObjectRow("pedestrian", 8.6, 11, 0.8, 1.8, chance=0.5, scatter=0.5, jitter=0.4, speed=-1.1, far=45)
        ),
        *_with_shadow(
            ObjectRow("pedestrian", -7.6, 8, 0.8, 1.8, chance=0.5, scatter=0.9, jitter=0.4, speed=-1.3, far=45)
        ),
        *_with_shadow(ObjectRow("pedestrian", 0.5, 45, 0.8, 1.8, chance=0.7, sway=7.0, far=45)),
    ),
    sky_top=(84, 142, 222),
    sky_low=(186, 214, 240),
    cloud=(90, 70, 30),
    haze=(190, 206, 224),
    haze_metres=260,
    crossing=95,
    shadow=0.62,
    lamps=(30, 0.0),
    ambient=1.0,
    headlights=0.0,
    lit_windows=0.15,
    window=(72, 88, 108),
    lit_window=(150, 190, 220),
    noise=4.0,
)

NIGHT = World(
    name="night",
    camera_x=7.0,
    camera_height=1.7,
    horizon=0.42,
    speed=26.0,
    bend=1 / 900,
    bands=(
        Band(-60, 60, "vegetation", (34, 40, 44)),
        Band(-15.0, 15.0, "pavement", (126, 104, 78)),
        Band(-12.6, 12.6, "road", (92, 64, 46)),
        Band(-1.5, 1.5, "vegetation", (40, 42, 42)),
        Band(12.3, 12.55, "lane marking", (235, 205, 140)),
        Band(1.7, 1.95, "lane marking", (235, 205, 140)),
        Band(-12.55, -12.3, "lane marking", (235, 205, 140)),
        Band(-1.95, -1.7, "lane marking", (235, 205, 140)),
        Band(8.68, 8.92, "lane marking", (235, 205, 140), dash=5.0, period=12.0),
        Band(5.08, 5.32, "lane marking", (235, 205, 140), dash=5.0, period=12.0),
    ),
    walls=(
        Wall(-34, 40, 0.8, 0.6, (8, 26), "building", ((34, 38, 62), (46, 46, 66), (28, 34, 50)), 1.0, 30),
        Wall(34, 40, 0.8, 0.6, (8, 26), "building", ((34, 38, 62), (46, 46, 66), (28, 34, 50)), 1.0, 30),
        Wall(-24, 30, 0.9, 0.6, (2.5, 7), "hedge", ((24, 34, 42),)),
        Wall(22, 30, 0.9, 0.6, (2.5, 7), "hedge", ((24, 34, 42),)),
        Wall(-15.5, 50, 1.0, 0.8, (0.9, 0.9), "rail", ((120, 124, 132),)),
        Wall(15.5, 50, 1.0, 0.8, (0.9, 0.9), "rail", ((120, 124, 132),)),
        Wall(0.0, 50, 1.0, 1.0, (0.95, 0.95), "rail", ((132, 134, 140),)),
    ),
    rows=(
        ObjectRow("tree", 19.5, 23, 5.0, 6.5, chance=0.6, scatter=2.0, jitter=0.4),
        ObjectRow("tree", -19.5, 23, 5.0, 6.5, chance=0.6, scatter=2.0, jitter=0.4),
        ObjectRow("pole", -0.4, 36, 0.3, 10.0, far=110),
        ObjectRow("pole", -0.4, 36, 4.4, 0.22, base=10.0, far=110),
        ObjectRow("glow amber", 1.6, 36, 2.6, 2.6, base=8.6, far=130, glow=True),
        ObjectRow("glow amber", -2.4, 36, 2.6, 2.6, base=8.6, far=130, glow=True),
        ObjectRow("pole", 16.2, 19, 0.22, 1.5, far=60),
        ObjectRow("pole", 1.0, 170, 0.4, 8.0, far=140, group="gantry"),
        ObjectRow("pole", 14.6, 170, 0.4, 8.0, far=140, group="gantry"),
        ObjectRow("pole", 7.8, 170, 14.0, 0.5, base=7.3, far=140, group="gantry"),
        ObjectRow("gantry", 5.0, 170, 5.0, 2.6, base=5.6, far=140, group="gantry"),
        ObjectRow("gantry", 11.0, 170, 5.0, 2.6, base=5.6, far=140, group="gantry"),
        ObjectRow("pole", 14.2, 34, 0.18, 2.4, chance=0.7, jitter=0.3, group="sign"),
        ObjectRow("sign", 14.2, 34, 1.3, 1.3, base=2.2, chance=0.7, jitter=0.3, group="sign"),
        *_with_lights(
            ObjectRow("car rear", 3.4, 45, 1.9, 1.5, chance=0.7, jitter=0.35, speed=31.0, far=110), "glow red"
        ),
        *_with_lights(ObjectRow("car rear", 7.0, 75, 1.9, 1.5, jitter=0.2, speed=29.0, far=110), "glow red"),
        *_with_lights(
            ObjectRow("truck rear", 10.7, 34, 2.6, 3.6, chance=0.7, jitter=0.3, speed=22.0, far=110),
            "glow red",
        ),
        *_with_lights(
            ObjectRow("car front", -3.6, 40, 1.9, 1.5, chance=0.7, jitter=0.35, speed=-30.0, far=110),
            "glow white",
        ),
        *_with_lights(
            ObjectRow("car front", -7.0, 36, 1.9, 1.5, chance=0.7, jitter=0.35, speed=-26.0, far=110),
            "glow white",
        ),
        *_with_lights(
            ObjectRow("truck front", -10.7, 48, 2.6, 3.6, chance=0.7, jitter=0.3, speed=-22.0, far=110),
            "glow white",
        ),
        ObjectRow("pedestrian", 13.9, 60, 0.8, 1.8, chance=0.7, scatter=0.4, jitter=0.3, far=60),
    ),
    sky_top=(74, 75, 84),
    sky_low=(112, 108, 108),
    cloud=(24, 24, 26),
    haze=(84, 78, 76),
    haze_metres=220,
    crossing=0,
    shadow=1.0,
    lamps=(36, 0.45),
    ambient=0.62,
    headlights=0.55,
    lit_windows=0.3,
    window=(22, 26, 40),
    lit_window=(236, 196, 110),
    noise=7.0,
)
