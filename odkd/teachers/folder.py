"""Teacher from label maps made elsewhere: FOLDER/VIDEO/000000.png or .npz, one file per sampled frame.

Files .npz with key `seg`, numbered by frame, are the format of the reference code (Houyon et al. 2023) in
`pseudo_groundtruth_seg/TEACHER`: with a stride of 75, 000000.npz, 000075.npz, ...
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge, Le

from odkd.common.arrays import read_npz
from odkd.common.files import json_digest
from odkd.common.ignore import IGNORE
from odkd.common.pictures import UNREADABLE
from odkd.data.labels.ids import with_numbers
from odkd.data.labels.map_files import open_sound, refuse_other_than_file
from odkd.data.labels.missing_maps import nothing_there, what_is_there
from odkd.data.labels.pixel_values import GREYS, OF_COLOURS, RED_CHANNEL, PixelValues, is_grey
from odkd.teachers import SampledFrames

ENDINGS = (".png", ".npz")
NumClasses = Annotated[int, Ge(1), Le(IGNORE)]


class FolderTeacher:
    """A folder of label maps: greyscale or palette PNGs (the indices count), or integer arrays in .npz files.

    Args:
        folder: contains a folder for each video, named as the video's file without its extension; None where the
            label store has all maps under `digest`.
        digest: of an imported folder, as `odkd-labels import` prints it; identifies the maps without the folder. One
            that has digits only is a number in YAML.
        num_classes: of the maps; None = unknown, each id is valid.
        numbering: what the six digits of a file count: "frame", all frames of the video, or "sample", the sampled ones.
        key: of the array in .npz files.
        ignore: the value of pixels without a label, such as -1 in arrays.
        ids: the meaning of pixels, see `PixelValues`: {value: class id}, {colour: class id}, `from_one` or
            `red_channel`; None = they are class ids.

    Raises:
        ValueError: the folder does not exist or contains no label maps, or `ids` is invalid.
    """

    needs_images = False
    num_classes = None  # maps do not say what their ids mean, nor how many there may be
    classes = None

    def __init__(
        self,
        folder: str | None,
        *,
        digest: str | int | None = None,
        num_classes: NumClasses | None = None,
        numbering: Literal["frame", "sample"] = "frame",
        key: str = "seg",
        ignore: int = IGNORE,
        ids: Mapping[Any, Any] | Literal["from_one", "red_channel"] | None = None,
    ) -> None:
        if folder is None and digest is None:
            raise ValueError("teacher=folder needs teacher.folder=FOLDER, or teacher.digest of maps that were imported")
        if folder is None:
            raise ValueError(
                f"the label store lacks maps of teacher.digest={digest}; set teacher.folder to the folder that has "
                "VIDEO/000000.png or .npz in it, or look for the store with `odkd-labels list`"
            )
        self._folder = Path(folder)
        if not any(_maps(self._folder)):
            raise ValueError(
                f"{folder} has no label maps; set teacher.folder to the folder that has VIDEO/000000.png or .npz in it "
                f"({nothing_there(self._folder, ENDINGS)})"
            )
        self._limit = num_classes or IGNORE
        self._numbering: Literal["frame", "sample"] = numbering
        self._key, self._ignore = key, ignore
        ids = with_numbers(ids)
        known = [str(number) for number in range(self._limit)]  # only their number counts
        self._meaning = None if ids is None else PixelValues(ids, known)
        self._named = set(ids) if isinstance(ids, Mapping) else set()
        self._sizes: dict[str, tuple[Path, tuple[int, ...]]] = {}  # of each video's first map

    @staticmethod
    def identity(settings: Mapping[str, Any], file_digest: Callable[[Path], str]) -> dict[str, Any]:
        """Return a digest of the names and contents of all maps and of how they are read; the place does not count.

        Raises:
            ValueError: there are no maps, or neither folder nor digest is given.
        """
        if settings.get("digest") is not None:
            return {"digest": str(settings["digest"])}
        if settings.get("folder") is None:
            raise ValueError("teacher=folder needs teacher.folder, or teacher.digest of maps that were imported")
        folder = Path(settings["folder"])
        maps = sorted((path.relative_to(folder).as_posix(), file_digest(path)) for path in _maps(folder))
        if not maps:
            raise ValueError(
                f"teacher.folder={folder} has no label maps VIDEO/000000.png or .npz ({nothing_there(folder, ENDINGS)})"
            )
        others = {key: value for key, value in settings.items() if key not in ("folder", "digest", "_target_")}
        if (ids := others.pop("ids", None)) is not None:  # labels from before there was this setting keep their store
            others["ids"] = with_numbers(ids)
        return {"digest": json_digest([maps, others])[:32]}

    def label(self, frames: SampledFrames) -> np.ndarray:
        """Return the maps of these frames, uint8 [B, H, W], 255 = ignore.

        Raises:
            ValueError: a map is missing, unreadable, has an unknown class id, or has another size than the first map
                of its video.
        """
        numbers = [int(n) for n in (frames.frame_numbers if self._numbering == "frame" else frames.sample_numbers)]
        return np.stack([self._read(self._find(frames.video, number, numbers)) for number in numbers])

    def _find(self, video: str, number: int, numbers: Sequence[int]) -> Path:
        paths = [self._folder / video / f"{number:06d}{ending}" for ending in ENDINGS]
        found = [path for path in paths if path.is_file()]
        if len(found) == 1:
            return found[0]
        if found:
            raise ValueError(f"{found[0]} and {found[1].name} both exist; keep one")
        for path in paths:
            refuse_other_than_file(path, "label map")
        there = what_is_there(paths[0].parent, numbers, ENDINGS, self._numbering)
        raise ValueError(
            f"no label map {paths[0]} or {ENDINGS[1]} ({there}); make it, or change dataset.stride or "
            f"teacher.numbering={self._numbering} (frame: numbers of the video's frames, sample: of the sampled ones)"
        )

    def _read(self, path: Path) -> np.ndarray:
        values_HW, is_ignored_HW = self._values(path)
        labelled = values_HW[~is_ignored_HW]
        lowest, highest = (int(labelled.min()), int(labelled.max())) if labelled.size else (0, 0)
        if lowest < 0 or highest >= self._limit:
            raise ValueError(
                f"{path} has ids {lowest} to {highest}; expected 0 to {self._limit - 1}, or {self._ignore} where "
                "there is no label: change teacher.num_classes or teacher.label_set, or teacher.ignore"
            )
        first, size = self._first(path, values_HW.shape)
        if values_HW.shape != size:
            raise ValueError(
                f"{path} is {_size(values_HW.shape)} pixels and {first.name} is {_size(size)}; all maps of a video "
                "must have the same size"
            )
        label_HW = values_HW.astype(np.uint8)
        label_HW[is_ignored_HW] = IGNORE
        return label_HW

    def _values(self, path: Path) -> tuple[np.ndarray, np.ndarray]:
        """Return class ids, and where there is none; a value that `ids` names has a class, also that of `ignore`."""
        try:
            values_HW = _read_png(path, self._meaning) if path.suffix == ".png" else _read_npz(path, self._key)
            if self._meaning is None:
                return values_HW, values_HW == self._ignore
            if path.suffix == ".png":
                return values_HW, values_HW == IGNORE
            is_ignored_HW = (values_HW == self._ignore) & (self._ignore not in self._named)
            values_HW = self._meaning.from_numbers(np.where(is_ignored_HW, 0, values_HW))
            return values_HW, is_ignored_HW | (values_HW == IGNORE)
        except UNREADABLE as error:
            raise ValueError(f"{path} is no label map: {error}; expected one integer per pixel") from error

    def _first(self, path: Path, shape: tuple[int, ...]) -> tuple[Path, tuple[int, ...]]:
        """Return the first map of a video and its size: always the same, wherever an earlier process stopped."""
        if path.parent.name not in self._sizes:
            first = min(_maps(path.parent, "*"))
            self._sizes[path.parent.name] = (first, shape if first == path else self._values(first)[0].shape)
        return self._sizes[path.parent.name]


def _maps(folder: Path, pattern: str = "*/*") -> Iterator[Path]:
    return (path for path in folder.glob(pattern) if _is_map(path))


def _is_map(path: Path) -> bool:
    return path.suffix in ENDINGS and path.stem.isdecimal() and path.is_file()


def _read_png(path: Path, values: PixelValues | None) -> np.ndarray:
    with open_sound(path) as image:
        if values is not None:
            try:
                return values.translate(image)
            except ValueError as error:
                raise ValueError(f"it {error}") from error
        if image.mode not in GREYS:
            colours = f" (for the classes of colours set teacher.ids={OF_COLOURS})"
            greys = f" (its channels are equal: set teacher.ids={RED_CHANNEL})"
            advice = "" if not image.mode.startswith("RGB") else greys if is_grey(image) else colours
            raise ValueError(f"it is a {image.mode} image{advice}")
        return np.asarray(image).astype(np.int64)


def _read_npz(path: Path, key: str) -> np.ndarray:
    with path.open("rb") as file:
        try:
            values_HW = read_npz(file, key)
        except KeyError as error:
            raise ValueError(f"it holds {error.args[0]}, and teacher.key is {key}") from error
    if values_HW.ndim != 2 or values_HW.dtype.kind not in "iu" or not values_HW.size:
        raise ValueError(f"{key} is {values_HW.dtype} {list(values_HW.shape)}")
    return values_HW


def _size(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))
