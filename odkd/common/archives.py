"""Files in zip archives, which are unpacked no further than they are read."""

import zipfile
from typing import IO

from odkd.common.reading import DamagedFileError

PACKINGS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile unpacks other pieces at once, to any size
ENCRYPTED = 0x1  # the flag of a file in an archive


def open_member(archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """Open a file in a zip archive, which is unpacked no further than it is read.

    Raises:
        KeyError: there is none of this name.
        DamagedFileError: it is encrypted, or packed in a way that nobody uses for data sets and arrays.
        Exception: one of `NO_ZIP`, if the archive is damaged.
    """
    member = archive.getinfo(name)
    if member.flag_bits & ENCRYPTED:
        raise DamagedFileError("it is encrypted")
    if member.compress_type not in PACKINGS:
        raise DamagedFileError(f"it is packed with method {member.compress_type}; expected deflate, or no packing")
    return archive.open(member)


def read_member(archive: zipfile.ZipFile, name: str, most: int) -> bytes:
    """Return the content of a file in a zip archive, of at most `most` bytes; raises as `open_member`."""
    with open_member(archive, name) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise DamagedFileError(f"it has more than {most} bytes, too many for what it should hold")
    return content
