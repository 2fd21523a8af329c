"""The display matrix of a picture: one of eight ways to turn and mirror what the camera stored, as ffmpeg does it."""

import struct
from typing import Any

import av
import numpy as np

MATRIX = struct.Struct(
    "=9i"
)  # FFmpeg's display matrix: a b u, c d v, x y w; a picture's (p, q) is shown at (ap+cq, bp+dq)


def angle_of(picture: av.VideoFrame) -> int:
    """Return the rotation that a picture states, in degrees counterclockwise; 0 for a matrix that has none."""
    return picture.rotation if abs(picture.rotation) <= 360 else 0  # a singular matrix turns by "NaN" degrees


def orientation_of(picture: av.VideoFrame) -> tuple[int, bool]:
    """Return the rotation in degrees counterclockwise, 0, 90, 180 or 270, and True if it is mirrored afterwards."""
    rotation = round(angle_of(picture) / 90) * 90 % 360
    found: Any = picture.side_data.get("DISPLAYMATRIX")
    if found is None:
        return rotation, False
    a, b, _, c, d, *_ = MATRIX.unpack_from(memoryview(found))
    if a * d - b * c >= 0:
        return rotation, False
    if abs(a) >= abs(b):
        return (0 if a < 0 else 180), True
    return (270 if b > 0 else 90), True


def upright(image_HWC: np.ndarray, rotation: int, *, is_mirrored: bool) -> np.ndarray:
    """Return an image [H, W, 3] as it is to be seen: turned counterclockwise, then left and right swapped.

    >>> upright(np.arange(6).reshape(1, 2, 3), 180, is_mirrored=True)[..., 0]
    array([[0, 3]])
    """
    turned_HWC = np.rot90(image_HWC, rotation // 90)
    return np.ascontiguousarray(turned_HWC[:, ::-1] if is_mirrored else turned_HWC)
