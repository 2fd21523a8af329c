"""Image datasets: where their files are, according to their settings, and their official splits."""

from __future__ import annotations

import csv
import fnmatch
import io
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from odkd.common.reading import read_text
from odkd.data.labels.ids import with_numbers
from odkd.data.splits import SPLITS, read_lists

if TYPE_CHECKING:
    from odkd.data.labels.image_groundtruth import LabelFiles
    from odkd.data.video.image_stream import Pictures
    from odkd.data.video.stream import Stream


def has_images(dataset: DictConfig) -> bool:
    """Return True for a dataset of images (which has `dataset.pictures`), False for one of videos."""
    return "pictures" in dataset


def pictures_of(dataset: DictConfig, root: Path) -> Pictures:
    """Return the patterns by which the images are found."""
    from odkd.data.video.image_stream import Pictures

    names = None if dataset.collections is None else tuple(str(name) for name in dataset.collections)
    return Pictures(root, dataset.pictures, names, dataset.name, dataset.get("download") or "")


def label_places(dataset: DictConfig) -> list[LabelFiles]:
    """Return the patterns by which the label maps are found."""
    from odkd.data.labels.image_groundtruth import LabelFiles

    entries: Any = OmegaConf.to_container(dataset.groundtruth, resolve=True)
    return [LabelFiles(entry["files"], with_numbers(entry["ids"])) for entry in entries]


def ids_of(dataset: DictConfig) -> Any:
    """Return the meaning of the pixels in the ground truth of videos, `dataset.ids`; None = as dataset.classes."""
    ids = dataset.get("ids")
    return with_numbers(OmegaConf.to_container(ids, resolve=True) if OmegaConf.is_config(ids) else ids)


def official_splits(dataset: DictConfig, root: Path, stream: Stream) -> list[str] | None:
    """Return the split (train, val, test) of each position, according to `dataset.splits`; None if that is null.

    The setting is {pattern of a collection's or video's name: split}, or the name of a folder or file below the
    dataset: a folder of lists (train.txt, ...), or a .csv file with columns `split` and `name`, or `split`, `video` and
    `frame`.

    Raises:
        ValueError: a position is in no split, or the file does not exist.
    """
    splits: Any = dataset.get("splits")
    if splits is None:
        return None
    if OmegaConf.is_dict(splits):
        known = [
            next((split for pattern, split in splits.items() if fnmatch.fnmatch(source.stem, str(pattern))), None)
            for source in stream.videos
        ]
        found = [known[int(number)] for number in stream.video_of]
    else:
        split_of = _listed(root / splits)
        found = [split_of.get(stream.name_of(position)) for position in range(len(stream))]
    if None in found:
        first = stream.name_of(found.index(None))
        raise ValueError(
            f"dataset.splits={splits} leaves out {found.count(None)} of {len(found)} images, the first is {first}; "
            "add them, or set dataset.splits=null for random splits"
        )
    return [str(split) for split in found]


def _listed(path: Path) -> Mapping[str, str]:
    """Return the split of each name."""
    if path.is_dir():
        lists = read_lists(path)
        return {name: split for split in SPLITS for name in lists.get(split, [])}
    if not path.is_file():
        raise ValueError(f"dataset.splits: no file or folder {path}; set dataset.splits=null for random splits")
    try:
        rows = list(csv.DictReader(io.StringIO(read_text(path), newline="")))
    except csv.Error as error:
        raise ValueError(f"{path} is no table of splits ({error}); expected CSV with split and name") from error
    columns = set(rows[0]) if rows else set()
    if "split" not in columns or not ("name" in columns or {"video", "frame"} <= columns):
        raise ValueError(
            f"{path} has columns {sorted(map(str, columns))}; expected split and name, or split, video and frame"
        )
    try:
        return {row.get("name") or f"{row['video']}/{int(row['frame']):06d}": row["split"] for row in rows}
    except (ValueError, TypeError) as error:
        raise ValueError(f"{path} has a frame that is no number ({error}); expected split, video and frame") from error
