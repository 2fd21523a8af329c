"""Label stores that an `odkd-labels` command works on: found by folder, with their classes, size and last change."""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from odkd.data.labels.progress import versions_of
from odkd.data.labels.sets import label_set
from odkd.data.labels.shards import DamagedLabelsError
from odkd.data.labels.store import LabelStore
from odkd.data.labels.store_files import find_stores

DEFAULT = Path("outputs/cache/labels")


def find_chosen(chosen: Sequence[Path]) -> list[Path]:
    """Return the store folders among `chosen` and below them; of `DEFAULT` if nothing is chosen.

    Raises:
        ValueError: there is none.
    """
    folders = [store for path in (chosen or [DEFAULT]) for store in find_stores(path)]
    if not folders:
        places = ", ".join(map(str, chosen)) if chosen else f"{DEFAULT} (name a folder, or go to where odkd was run)"
        raise ValueError(f"no label store in {places}")
    return list(dict.fromkeys(folders))


def known_classes(store: LabelStore, args: argparse.Namespace) -> list[str]:
    """Return the teacher's classes as the store names them, else those of --label-set, else nothing."""
    known = store.manifest.get("classes") or (list(label_set(args.label_set).classes) if args.label_set else [])
    return [str(name) for name in known]


def size_and_change(folder: Path) -> tuple[int, float]:
    """Return the size of a store in bytes, and when it was last written to in seconds since the epoch."""
    try:
        arrays = list(LabelStore(folder).arrays())
    except DamagedLabelsError:
        arrays = []
    shards = np.concatenate([np.zeros((1, 3), np.int64), *(versions_of(array) for array in arrays)])
    known = {str(array.folder / "c") for array in arrays}
    found = []
    for parent, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if f"{parent}/{name}" not in known]
        found += [Path(parent, name).stat() for name in files]
    changed = max([float(shards[:, 1].max()) / 1e9, *(status.st_mtime for status in found)])
    return int(shards[:, 2].sum()) + sum(status.st_size for status in found), changed
