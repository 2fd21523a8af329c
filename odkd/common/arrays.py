"""Arrays in .npz files of others: the header of an array is checked before memory is allocated for it."""

import io
import math
import zipfile
from typing import BinaryIO

import numpy as np

from odkd.common.archives import open_member
from odkd.common.pictures import MOST_PIXELS

MOST_ITEM = 8  # bytes of a number


def names_in(content: bytes) -> list[str]:
    """Return the names of the arrays of an .npz file.

    Raises:
        Exception: one of `UNREADABLE`, if it is something else.
    """
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        return [name.removesuffix(".npy") for name in archive.namelist()]


def read_npz(content: bytes | BinaryIO, name: str, most: int = MOST_PIXELS) -> np.ndarray:
    """Return one array of an .npz file, of at most so many numbers: its header is checked before it is unpacked.

    Raises:
        KeyError: there is no array of this name.
        Exception: one of `UNREADABLE`, if it is something else.
    """
    file = io.BytesIO(content) if isinstance(content, bytes) else content
    if not zipfile.is_zipfile(file):
        raise ValueError("it is no .npz file")
    with zipfile.ZipFile(file) as archive:
        if (file_name := f"{name}.npy") not in archive.namelist():
            raise KeyError(", ".join(other.removesuffix(".npy") for other in archive.namelist()))
        with open_member(archive, file_name) as member:
            version = np.lib.format.read_magic(member)
            read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
            shape, _, dtype = read(member)
            if dtype.hasobject:
                raise ValueError("it holds Python objects")
            if not 0 <= math.prod(shape) <= most or dtype.itemsize > MOST_ITEM:
                raise ValueError(f"{name} is {dtype} {list(shape)}; expected at most {most} numbers")
        with open_member(archive, file_name) as member:
            array: np.ndarray = np.lib.format.read_array(member, allow_pickle=False)
    return array
