"""Files of label maps: reading without a traceback, a check of their shape, and a check of all of them, once."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from PIL import Image

from odkd.common.notes import remembered
from odkd.common.pictures import UNREADABLE, open_picture

LOSSY = ("JPEG", "MPO")  # formats as Pillow names them, whatever the file is called
THREADS = 4  # decoding a PNG releases Python's lock


def open_sound(path: Path) -> Image.Image:
    """Return an opened picture, decoded; the caller closes it.

    Raises:
        Exception: one of `UNREADABLE`, if it is no image or is damaged; also where only its checksums show it.
    """
    with open_picture(path) as image:
        image.verify()  # reads the checksums of a PNG, which decoding passes over
    opened = open_picture(path)
    if opened.format in LOSSY:
        opened.close()
        raise ValueError(f"it is a {opened.format}, whose compression changes class ids: make it again as PNG")
    opened.load()
    return opened


@contextlib.contextmanager
def open_map(path: Path) -> Generator[Image.Image]:
    """Open a ground-truth map, decoded.

    Raises:
        ValueError: the file is no image, or is damaged; also where only its checksums show it.
    """
    try:
        opened = open_sound(path)
    except UNREADABLE as error:
        raise ValueError(f"ground truth {path} cannot be read ({error}); repair or delete it") from error
    with opened:
        yield opened


def refuse_other_than_file(path: Path, what: str) -> None:
    """Refuse a path at which something lies that cannot be read: a folder, or a link to a file that is not there.

    Args:
        what: the map, for the message: "ground truth".

    Raises:
        ValueError: something else than a file lies there; not if nothing does.
    """
    if path.is_symlink() and not path.exists():
        raise ValueError(f"{what} {path} is a link to {path.readlink()}, which is not there; fetch or mount it")
    if path.exists() and not path.is_file():
        kind = "a folder" if path.is_dir() else "no plain file"
        raise ValueError(f"{what} {path} is {kind}; expected a picture: rename or delete it")


def is_same_shape(label: tuple[int, ...], picture: tuple[int, int]) -> bool:
    """True if a label map (height, width) has the shape of its picture up to scale; a pixel of rounding is allowed.

    >>> is_same_shape((96, 160), (48, 80)), is_same_shape((34, 60), (1080, 1920)), is_same_shape((160, 96), (96, 160))
    (True, True, False)
    """
    (rows, columns), (height, width) = label, picture
    return abs(height * columns - width * rows) <= max(height, width, rows, columns)


def check_once(check: Callable[[int], object], positions: Iterable[int], note: Path) -> None:
    """Check the label map of each position, unless a note says that all were sound; write the note.

    Raises:
        ValueError: as `check` raises for the first position that is wrong.
    """

    def check_one(position: int) -> None:
        check(position)  # a future would keep what it returns, a map, until the last one is read

    def check_all() -> str:
        with ThreadPoolExecutor(THREADS, thread_name_prefix="odkd-maps") as pool:
            waiting = [pool.submit(check_one, position) for position in positions]
            try:
                for each in waiting:
                    each.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
        return "all are sound"

    remembered(note, check_all)
