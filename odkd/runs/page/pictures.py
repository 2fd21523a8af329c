"""Pictures for a browser: frames as JPEG, label maps as PNGs in the colours of their classes, both as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image

from odkd.common.ignore import IGNORE

WIDEST, HIGHEST = 960, 720  # pixels of a picture on the page; a larger frame is made smaller before it is encoded
QUALITY = 80  # of JPEG


def jpeg_uri(image_HWC: np.ndarray | None) -> str:
    """Return a frame, uint8 RGB [H, W, 3], as a data URI; "" for None."""
    if image_HWC is None:
        return ""
    image = Image.fromarray(np.ascontiguousarray(image_HWC))
    image.thumbnail((WIDEST, HIGHEST), Image.Resampling.BILINEAR, reducing_gap=1.0)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=QUALITY)
    return _uri(file, "jpeg")


def labels_uri(labels_HW: np.ndarray | None, palette: Sequence[Sequence[int]]) -> str:
    """Return a label map, uint8 [H, W], as a data URI; ignored pixels and unknown classes are transparent."""
    if labels_HW is None:
        return ""
    colours, opacity = np.zeros((256, 3), np.uint8), np.zeros(256, np.uint8)
    known = min(len(palette), IGNORE)
    if known:
        colours[:known], opacity[:known] = np.asarray(palette[:known], np.uint8), 255
    image = Image.fromarray(np.ascontiguousarray(labels_HW))
    image.thumbnail((WIDEST, HIGHEST), Image.Resampling.NEAREST)
    image.putpalette(colours.tobytes())
    file = io.BytesIO()
    image.save(file, "PNG", compress_level=1, transparency=opacity.tobytes())
    return _uri(file, "png")


def _uri(file: io.BytesIO, kind: str) -> str:
    return f"data:image/{kind};base64,{base64.b64encode(file.getvalue()).decode()}"
