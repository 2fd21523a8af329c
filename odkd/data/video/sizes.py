"""Images brought to another size, as the decoder of videos does it."""

from __future__ import annotations

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from odkd.data.video.decoder import SCALER, SLICE_THREADS


def brought_to(image_HWC: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return an image, uint8 RGB, at `size` = (height, width); the same array if it has it."""
    if image_HWC.shape[:2] == size:
        return image_HWC
    return rgb_of(av.VideoFrame.from_ndarray(np.ascontiguousarray(image_HWC), format="rgb24"), size)


def rgb_of(picture: av.VideoFrame, size: tuple[int, int] | None = None) -> np.ndarray:
    """Return a decoded picture as uint8 RGB [H, W, 3], at `size` = (height, width), by default its own."""
    height, width = size or (picture.height, picture.width)
    scaler = None if (picture.height, picture.width) == (height, width) else SCALER
    rgb = VideoReformatter().reformat(picture, width, height, "rgb24", interpolation=scaler, threads=SLICE_THREADS)
    return rgb.to_ndarray()
