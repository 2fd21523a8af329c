"""Opening pictures of others: of formats that only hold pixels, and of a size that fits into memory."""

from __future__ import annotations

import io
import struct
import tokenize
import warnings
import zipfile
import zlib
from pathlib import Path
from typing import IO

from PIL import Image, UnidentifiedImageError

from odkd.common.reading import read_bytes

MOST_PIXELS = 2**26  # 8192 x 8192; a translation of class ids needs some 25 bytes for each
MOST_PIXELS_OF_FRAMES = 2**27  # of the largest cameras, and of aerial pictures
MOST_BYTES = 2**29  # of a file: 16 bits for each colour of each pixel, and some room
FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")  # Pillow reads others by programs, as EPS by gs
# For the process, as threads read pictures: of bombs, whose limit is checked here, and of damaged tags.
warnings.filterwarnings("ignore", module=r"PIL\b")
UNREADABLE = (  # what Pillow and NumPy raise for damaged files
    *(OSError, SyntaxError, ValueError, EOFError, KeyError, IndexError, TypeError, OverflowError, NotImplementedError),
    *(struct.error, zlib.error, zipfile.BadZipFile, tokenize.TokenError, MemoryError, Image.DecompressionBombError),
)


def open_picture(source: Path | bytes | IO[bytes], most_pixels: int = MOST_PIXELS) -> Image.Image:
    """Return an opened picture, not decoded yet.

    Args:
        source: a regular file, its content, or an open file.
        most_pixels: that it may have.

    Raises:
        Exception: one of `UNREADABLE`, if it is no picture, or of too many pixels.
    """
    content = read_bytes(source, MOST_BYTES) if isinstance(source, Path) else source
    try:
        image = Image.open(io.BytesIO(content) if isinstance(content, bytes) else content, formats=FORMATS)
    except UnidentifiedImageError as error:  # Pillow names the buffer by its place in memory
        raise UnidentifiedImageError(f"cannot identify it as one of {', '.join(FORMATS)}") from error
    width, height = image.size
    if width * height > most_pixels:
        raise ValueError(f"it has {width} x {height} pixels; expected at most {most_pixels} in all")
    return image
