"""The pictures of a download by path: files of a folder and members of its zip archives, which stay packed."""

import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
from PIL import Image

from odkd.common.archives import read_member
from odkd.common.pictures import UNREADABLE, open_picture
from odkd.common.reading import brief, read_bytes

MOST_PIXELS = 2**23  # of a picture: four times those of Cityscapes, whose pictures are the largest of these data sets
MOST_BYTES = 8 * MOST_PIXELS  # of its file: 16 bits for each colour of each pixel


@dataclass(frozen=True)
class Picture:
    """A picture.

    Args:
        file: the picture, or the archive that contains it.
        member: name in the archive; None = `file` is the picture.
    """

    file: Path
    member: str | None = None

    @property
    def path(self) -> PurePosixPath:
        """Where the picture is, in its archive or on disk."""
        return PurePosixPath(self.member if self.member is not None else self.file.as_posix())

    def __str__(self) -> str:
        return str(self.file) if self.member is None else f"{self.file}: {self.member}"

    def load(self, mode: str | None = None) -> Image.Image:
        """Return the picture.

        Args:
            mode: Pillow's, such as RGB, to which it is converted; None = as it is stored.

        Raises:
            ValueError: it is damaged, or too large.
        """
        try:
            with open_picture(self._content(), MOST_PIXELS) as image:
                return image.copy() if mode is None else image.convert(mode)
        except UNREADABLE as error:
            raise ValueError(f"{self} cannot be read as a picture ({brief(error)}); download it again") from error

    def _content(self) -> bytes:
        if self.member is None:
            return read_bytes(self.file, MOST_BYTES)
        with zipfile.ZipFile(self.file) as archive:
            return read_member(archive, self.member, MOST_BYTES)

    def ids(self) -> np.ndarray:
        """Return the values of a label map: uint8 [H, W].

        Raises:
            ValueError: it does not have one byte per pixel, or is damaged.
        """
        image = self.load()
        if image.mode not in ("L", "P"):
            raise ValueError(f"{self} is a {image.mode} image; expected one byte per pixel, the class id")
        return np.asarray(image, np.uint8)


def find_pictures(source: Path) -> list[Picture]:
    """Return the PNG and JPEG pictures below a folder, and in the zip archives there, or in one archive.

    Raises:
        ValueError: there is no such folder, or an archive is damaged.
    """
    if not source.exists():
        raise ValueError(f"{source}: no such folder")
    files = sorted(source.rglob("*")) if source.is_dir() else [source]
    found = [Picture(path) for path in files if _is_picture(path.name)]
    for file in files:
        if file.suffix.lower() == ".zip" and file.is_file():
            try:
                with zipfile.ZipFile(file) as archive:
                    found += [Picture(file, name) for name in sorted(archive.namelist()) if _is_picture(name)]
            except UNREADABLE as error:
                raise ValueError(f"{file} is no complete zip archive ({brief(error)}); download it again") from error
    return found


def _is_picture(name: str) -> bool:
    is_of_macos = "__MACOSX" in name or PurePosixPath(name).name.startswith("._")
    return name.lower().endswith((".png", ".jpg", ".jpeg")) and not is_of_macos
