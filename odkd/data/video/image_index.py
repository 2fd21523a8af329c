"""A collection of images that serves as a video: image i is frame i, in natural order of names."""

from __future__ import annotations

import hashlib
import logging
import math
import stat
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageOps, __version__, features

from odkd.common.files import json_digest
from odkd.common.names import counted
from odkd.common.notes import remembered
from odkd.common.pictures import MOST_BYTES, MOST_PIXELS_OF_FRAMES, UNREADABLE, open_picture
from odkd.common.progress import tracked
from odkd.common.reading import read_bytes
from odkd.data.video.fit import Fit, Placement, fit_label, fit_picture, placement
from odkd.data.video.index import VideoIndex
from odkd.data.video.listing import natural

logger = logging.getLogger(__name__)

IMAGE_SUFFIXES = frozenset({".bmp", ".jpeg", ".jpg", ".png", ".pgm", ".ppm", ".tif", ".tiff", ".webp"})
JPEG = features.version("libjpeg_turbo") or features.version("jpg")
READER = f"pillow-{__version__} jpeg-{JPEG} bilinear"  # replaces the video decoder in keys
INDEX_VERSION = 1  # part of the key of an index: raise it when the index changes
INDEX_THREADS = 4  # reading and hashing mostly wait for the disk
AT_ONCE = 2**18  # pixels whose values are in 8 bytes each
ORIENTATION, TURNED = 0x0112, (5, 6, 7, 8)  # EXIF: these orientations exchange height and width


@dataclass(frozen=True)
class ImageIndex:
    """Images of any size, read at one size. An image lasts one second, so that a stream of images has a time axis."""

    path: Path  # the dataset's folder / the collection's name
    names: tuple[str, ...]  # of the files below the dataset's folder, with "/": unique in the dataset
    sizes: tuple[tuple[int, int], ...]  # (height, width) of each upright image; (0, 0) if it cannot be read
    digest: str  # of names, contents, and the visible part of the images
    height: int  # pixels, the dataset's size
    width: int  # pixels
    fit: Fit

    @property
    def stem(self) -> str:
        """The name of the collection."""
        return self.path.name

    @property
    def num_frames(self) -> int:
        """The number of images."""
        return len(self.names)

    @property
    def time_base(self) -> Fraction:
        """The unit of timestamps in seconds: one second."""
        return Fraction(1)

    @property
    def seconds(self) -> np.ndarray:
        """float64 [F]: the time of each image."""
        return np.arange(self.num_frames, dtype=np.float64)

    @property
    def duration_seconds(self) -> float:
        """The total duration, one second per image."""
        return float(self.num_frames)

    @property
    def decoder(self) -> str:
        """The name and versions of the image reader, part of the keys of everything made from its images."""
        return READER

    def file_of(self, frame_number: int) -> Path:
        """Return the path of an image."""
        return self.path.parent / self.names[frame_number]

    def name_of(self, frame_number: int) -> str:
        """Return the name of an image, unique in the dataset."""
        return self.names[frame_number]

    def place(self, source: tuple[int, int], size: tuple[int, int]) -> Placement:
        """Return where an image or label map of size `source` = (height, width) goes in a result of size `size`."""
        return placement(source, shape=(self.height, self.width), size=size, fit=self.fit)

    def fit_label(self, frame_number: int, label_HW: np.ndarray) -> np.ndarray:
        """Return the label map of an image fitted like the image: uint8 [height, width].

        Raises:
            ValueError: the aspect ratio of the label map differs from that of the image.
        """
        (height, width), (rows, columns) = self.sizes[frame_number], label_HW.shape
        if abs(height * columns - width * rows) > max(height, width, rows, columns):  # one pixel of rounding is allowed
            raise ValueError(f"{columns}x{rows} pixels, and the image {width}x{height}; expected one aspect ratio")
        size = (self.height, self.width)
        return fit_label(label_HW, self.place((rows, columns), size), size)

    def without_bars(self, frame_number: int, label_HW: np.ndarray) -> np.ndarray:
        """Return a label map of the fitted image, of any size, with 255 in the bars, whatever a teacher said there."""
        if self.fit != "pad":
            return label_HW
        height, width = label_HW.shape
        place = self.place(self.sizes[frame_number], (height, width))
        blank_HW = np.full_like(label_HW, 255)
        blank_HW[place.rows, place.columns] = label_HW[place.rows, place.columns]
        return blank_HW


Source = VideoIndex | ImageIndex  # of frames


def index_images(
    root: Path, collection: str, names: Sequence[str], *, size: tuple[int, int], fit: Fit, cache: Path
) -> ImageIndex:
    """Index images by reading all files once; afterwards read the index from `cache`/images while no file changes.

    Raises:
        ValueError: none of them is a file.
    """
    versions: list[tuple[str, int, int]] = []
    for name in sorted(names, key=natural):
        try:
            status = (root / name).stat()
        except OSError:  # a link whose file is not there, or that leads to itself
            status = None
        if status is not None and stat.S_ISREG(status.st_mode):
            versions.append((name, status.st_size, status.st_mtime_ns))
    if len(versions) < len(names):
        there = {name for name, *_ in versions}
        away = next(name for name in names if name not in there)
        number = f"{len(names) - len(there)} of {counted(len(names), 'image')}"
        problem = f"{number} of {collection} are no files, such as {root / away}: links to files that are not there?"
        if not versions:
            raise ValueError(f"{problem} Fetch or mount them")
        logger.warning("left out: %s Fetch or mount them", problem)
    names = [name for name, *_ in versions]
    cached = cache / "images" / f"{json_digest([INDEX_VERSION, str(root.resolve()), versions])}.json"
    known = remembered(cached, lambda: _read_all(root, collection, names))
    divisor = math.gcd(*size)
    shape = [] if fit == "stretch" else [size[0] // divisor, size[1] // divisor]
    return ImageIndex(
        path=root / collection,
        names=tuple(names),
        sizes=tuple((int(height), int(width)) for height, width in known["sizes"]),
        digest=json_digest([known["digest"], fit, shape]),
        height=size[0],
        width=size[1],
        fit=fit,
    )


def read_images(
    index: ImageIndex, frame_numbers: Sequence[int] | np.ndarray, *, size: tuple[int, int] | None, num_threads: int
) -> Generator[tuple[int, np.ndarray | None]]:
    """Yield (number, image) in the given order; images are uint8 RGB [H, W, 3], None if the file is damaged."""
    wanted = size or (index.height, index.width)
    pool = ThreadPoolExecutor(num_threads, thread_name_prefix="odkd-images")
    coming: deque[tuple[int, Future[np.ndarray | None]]] = deque()
    try:
        for number in map(int, frame_numbers):
            coming.append((number, pool.submit(_read, index, number, wanted)))
            if len(coming) > 2 * num_threads:
                ready, image = coming.popleft()
                yield ready, image.result()
        while coming:
            ready, image = coming.popleft()
            yield ready, image.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def read_picture(path: Path) -> Image.Image:
    """Read any image file that Pillow reads as an upright RGB image.

    Raises:
        ValueError: the file is no image, or is damaged.
    """
    try:
        return _upright(read_bytes(path, MOST_BYTES))
    except UNREADABLE as error:
        raise ValueError(f"{path} cannot be read as an image: {error}") from error


def _read(index: ImageIndex, number: int, size: tuple[int, int]) -> np.ndarray | None:
    content = read_bytes(index.file_of(number), MOST_BYTES)  # outside the try: a failing disk is no damaged image
    try:
        picture = _upright(content)
    except UNREADABLE:
        return None
    return fit_picture(picture, index.place((picture.height, picture.width), size), size)


def _upright(content: bytes) -> Image.Image:
    """Return an upright RGB image; transparency is dropped, 16 bits per channel become 8.

    Raises:
        Exception: one of `UNREADABLE`, if it is no image or is damaged; also where only its checksums show it.
    """
    with open_picture(content, MOST_PIXELS_OF_FRAMES) as image:
        image.verify()  # reads the checksums of a PNG, which decoding passes over
    with open_picture(content, MOST_PIXELS_OF_FRAMES) as image:
        image.load()
        turned = ImageOps.exif_transpose(image)
    if turned.mode.startswith(("I", "F")):  # Pillow would clip values above a byte
        return Image.fromarray(_high_bytes(np.asarray(turned))).convert("RGB")
    if "transparency" in turned.info:
        turned = turned.convert("RGBA")
    return turned.convert("RGB")


def _high_bytes(values_HW: np.ndarray) -> np.ndarray:
    """Return the higher byte of values of 16 bits: uint8 [H, W]; of other values, 0 or 255 is the nearest."""
    given, bytes_HW = values_HW.reshape(-1), np.empty(values_HW.shape, np.uint8)
    flat = bytes_HW.reshape(-1)
    for begin in range(0, len(given), AT_ONCE):
        part = slice(begin, begin + AT_ONCE)
        flat[part] = (given[part].astype(np.int64) >> 8).clip(0, 255)
    return bytes_HW


def _read_all(root: Path, collection: str, names: Sequence[str]) -> dict[str, Any]:
    """Return the digest of the names and contents of images, and their sizes."""
    logger.info("reading %s of %s once for their digest", counted(len(names), "image"), collection)
    with ThreadPoolExecutor(INDEX_THREADS) as pool:
        read = pool.map(_facts, (root / name for name in names))
        facts = list(tracked(read, "read", "images", len(names)))
    contents = [[name, digest] for name, (digest, _) in zip(names, facts, strict=True)]
    return {"digest": json_digest(contents), "sizes": [found for _, found in facts]}


def _facts(path: Path) -> tuple[str, tuple[int, int]]:
    """Return the sha256 (hex) of a file and (height, width) of its image; (0, 0) if it cannot be read."""
    content = read_bytes(path, MOST_BYTES)
    try:
        with open_picture(content, MOST_PIXELS_OF_FRAMES) as image:
            width, height = image.size
            if image.getexif().get(ORIENTATION) in TURNED:
                width, height = height, width
    except UNREADABLE:
        width = height = 0
    return hashlib.sha256(content).hexdigest(), (height, width)
