"""A dataset folder that appears only when it is complete; a killed process resumes."""

import io
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock
from PIL import Image

from odkd.common.files import flush_names, write_atomic, write_json
from odkd.common.reading import read_json

NOTE = "settings.json"  # in a folder that is being built: what it is built from
LOCK = "lock"


@contextmanager
def building(folder: Path, settings: Mapping[str, Any]) -> Iterator[Path]:
    """Yield FOLDER.building, which becomes `folder` if the block ends without an exception.

    The folder contains what a killed process with the same settings left there. Two processes take turns.

    Args:
        folder: the dataset's; its parents are created.
        settings: everything that the content depends on, as JSON.

    Raises:
        ValueError: `folder` exists, or FOLDER.building is something else, or a link.
    """
    check_absent(folder)
    place = folder.with_name(folder.name + ".building")
    if place.is_symlink():
        raise ValueError(f"{place} is a link, and what it leads to would be replaced; delete the link")
    if place.exists() and not (place / LOCK).is_file() and any(place.iterdir()):
        raise ValueError(f"{place} is needed for a while and is something else; rename it, or choose another folder")
    place.mkdir(parents=True, exist_ok=True)
    with FileLock(place / LOCK):
        check_absent(folder)
        begun = read_json(place / NOTE, advice="delete its folder") if (place / NOTE).is_file() else None
        if begun != settings:
            for path in place.iterdir():  # what another command began
                if path.is_dir() and not path.is_symlink():
                    shutil.rmtree(path)
                elif path.name != LOCK:
                    path.unlink()
        write_json(place / NOTE, dict(settings))
        yield place
        place.replace(folder)
        flush_names(folder.parent)
        for name in (NOTE, LOCK):
            (folder / name).unlink()


def check_absent(folder: Path) -> None:
    """Check that nothing is overwritten.

    Raises:
        ValueError: `folder` exists.
    """
    if folder.exists() or folder.is_symlink():
        raise ValueError(f"{folder} already exists; choose another folder, or delete it")


def write_map(path: Path, labels_HW: np.ndarray) -> None:
    """Write a label map as a greyscale PNG whose values are the ids: uint8 [H, W]."""
    buffer = io.BytesIO()
    Image.fromarray(labels_HW).save(buffer, "PNG")
    write_atomic(path, buffer.getvalue(), durable=False)
