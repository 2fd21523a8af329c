"""The label store: a folder with a teacher's labels of one video and everything that describes them.

    manifest.json            what determines the labels (`identity`) and what they are, sealed with a digest
    zarr.json                the same content as attributes of a Zarr v3 group: the second copy of the manifest
    labels/                  uint8 [n, H, W], class ids of the teacher, 255 = ignore
    features-LAYER-.../      float16 [n, C, h, w], features of the teacher's layers (`features.py`)
    logsoft-top3-90x160/     classes uint8 [n, k, h, w] and log_probabilities float16 [n, k, h, w], likeliest first
    sessions/                sealed records of each labelling process: when, how long, where, which versions
    claims/                  which process is labelling which shard now (`claims.py`)

Everything except the shards of the arrays follows from the manifest, byte for byte; `damage.py` relies on that.
"""

import contextlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from odkd.common.files import is_own, json_digest, sealed, unseal, write_atomic
from odkd.common.progressions import num_packed, unpacked
from odkd.common.reading import read_bytes
from odkd.data.labels.features import FeatureKind, StoredFeatures
from odkd.data.labels.progress import stored_mask
from odkd.data.labels.shards import DamagedLabelsError, FrameArray
from odkd.data.labels.store_files import check_manifest, content_of, copy_of, create_files, create_soft, group

LAYOUT = 2  # version of the folder's layout
SHARD_FRAMES = 64  # frames per file, and per claim of a process


@dataclass(frozen=True)
class SoftSpec:
    """A kind of soft labels: the k likeliest classes of each pixel at `size` = (height, width)."""

    top_k: int
    size: tuple[int, int]

    @property
    def name(self) -> str:
        """The name of its folder."""
        return f"logsoft-top{self.top_k}-{self.size[0]}x{self.size[1]}"

    @classmethod
    def parse(cls, name: str) -> "SoftSpec":
        """Return the kind of soft labels that a folder's name denotes."""
        top_k, _, size = name.removeprefix("logsoft-top").partition("-")
        height, _, width = size.partition("x")
        return cls(int(top_k), (int(height), int(width)))


@dataclass(frozen=True)
class Labelled:
    """The labels of one frame, and its soft labels and features if they are needed."""

    label_HW: np.ndarray  # uint8
    soft: tuple[np.ndarray, np.ndarray] | None = (
        None  # classes uint8 and probabilities float32 [k, h, w], likeliest first
    )
    features: Mapping[FeatureKind, np.ndarray] = field(default_factory=dict)  # float16 [C, h, w]


class LabelStore:
    """An open label store.

    Raises:
        DamagedLabelsError: its manifest differs from what was written.
        FileNotFoundError: the folder holds no store.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.manifest: dict[str, Any] = unseal(read_bytes(folder / "manifest.json"))
        except (ValueError, FileNotFoundError) as error:
            if isinstance(error, FileNotFoundError) and not (folder / "zarr.json").is_file():
                raise
            raise DamagedLabelsError(f"{folder}/manifest.json is damaged; `odkd-labels repair` restores it") from error
        check_manifest(self.manifest, folder)
        self.num_frames = num_packed("sampled_frames", self.manifest)
        self.size: tuple[int, int] = tuple(self.manifest["identity"]["size"])
        self.labels = self._array("labels", self.size, "uint8")
        self._soft: dict[SoftSpec, tuple[FrameArray, FrameArray]] = {}
        self.features = StoredFeatures(folder, self._array)

    @staticmethod
    def create(folder: Path, manifest: Mapping[str, Any]) -> "LabelStore":
        """Open the store and create it if necessary; if several processes create it, the first manifest stays."""
        if not (folder / "manifest.json").is_file():
            whole = {"layout": LAYOUT, **manifest}
            shape, number = tuple(manifest["identity"]["size"]), num_packed("sampled_frames", whole)
            shard_frames = manifest["shard_frames"]
            create_files(
                folder, whole, FrameArray(folder / "labels", num_frames=number, shape=shape, shard_frames=shard_frames)
            )
        return LabelStore(folder).completed()

    def completed(self) -> "LabelStore":
        """Return the store after writing metadata that it lacks: earlier releases, killed, left some unwritten."""
        with contextlib.suppress(OSError):  # a store that may only be read
            self.write_metadata(only_missing=True)
        return self

    @property
    def num_shards(self) -> int:
        """The number of shards of each array."""
        return self.labels.num_shards

    @property
    def soft_specs(self) -> list[SoftSpec]:
        """The kinds of soft labels that are stored, completely or in part."""
        return sorted(
            (SoftSpec.parse(path.name) for path in self.folder.glob("logsoft-top*-*x*")), key=lambda spec: spec.name
        )

    def stored(self, shard: int, soft: SoftSpec | None = None, features: Collection[FeatureKind] = ()) -> set[int]:
        """Return the frames of a shard that have labels, and these soft labels and features too."""
        arrays = self._needed(soft, features)
        return set() if arrays is None else set.intersection(*(array.stored(shard) for array in arrays))

    @property
    def frame_numbers(self) -> np.ndarray:
        """int64 [n]: the frame number of each row in the video."""
        return unpacked("sampled_frames", self.manifest)

    def stored_mask(self, soft: SoftSpec | None = None, features: Collection[FeatureKind] = ()) -> np.ndarray:
        """Return bool [n], True for the frames that have labels, and these soft labels and features too."""
        arrays = self._needed(soft, features)
        if arrays is None:
            return np.zeros(self.num_frames, bool)
        return np.asarray(np.logical_and.reduce([stored_mask(array) for array in arrays]), bool)

    def num_stored(self, soft: SoftSpec | None = None, features: Collection[FeatureKind] = ()) -> int:
        """Return the number of frames that `stored_mask` shows."""
        return int(self.stored_mask(soft, features).sum())

    def all_stored(self, soft: SoftSpec | None = None, features: Collection[FeatureKind] = ()) -> set[int]:
        """Return the frames of all shards, as `stored` does for one."""
        return set(np.flatnonzero(self.stored_mask(soft, features)).tolist())

    def read(self, frame: int) -> np.ndarray:
        """Return uint8 [H, W].

        Raises:
            KeyError: the frame is not labelled.
            DamagedLabelsError: the stored map is damaged.
        """
        return self.labels.read(frame)

    def read_soft(self, frame: int, spec: SoftSpec) -> tuple[np.ndarray, np.ndarray]:
        """Return classes uint8 [k, h, w] and probabilities float32 [k, h, w], likeliest first. Raises as `read`."""
        classes, logs = self._soft_arrays(spec)
        return classes.read(frame), np.exp(logs.read(frame), dtype=np.float32)

    def write(self, shard: int, rows: Mapping[int, Labelled], soft: SoftSpec | None = None) -> None:
        """Add frames to a shard. Label maps are written last, so that a frame with a label map is complete."""
        if soft is not None:
            if not (self.folder / soft.name).is_dir():
                create_soft(self.folder / soft.name, self._soft_arrays(soft))
            classes, logs = self._soft_arrays(soft)
            given = {frame: row.soft for frame, row in rows.items() if row.soft is not None}
            classes.write(shard, {frame: ids_KHW for frame, (ids_KHW, _) in given.items()})
            logs.write(shard, {frame: _logarithm(shares_KHW) for frame, (_, shares_KHW) in given.items()})
        self.features.write(shard, {frame: row.features for frame, row in rows.items()})
        fresh = rows.keys() - self.labels.stored(shard)
        if fresh:
            self.labels.write(shard, {frame: rows[frame].label_HW for frame in sorted(fresh)})

    def write_session(self, name: str, record: Mapping[str, Any]) -> None:
        """Write or update the record of what a process has labelled so far."""
        write_atomic(self.folder / "sessions" / f"{name}.json", sealed(dict(record)))

    def sessions(self) -> list[dict[str, Any]]:
        """Return the records of all sessions that can be read, oldest first."""
        records = []
        for path in self.session_files():
            try:
                records.append(unseal(read_bytes(path)))
            except ValueError:
                continue  # `find_damage` reports it
        return records

    def session_files(self) -> list[Path]:
        """Return the files of all session records, oldest first."""
        return sorted(self.folder.glob("sessions/*.json"))

    def write_metadata(self, *, only_missing: bool) -> None:
        """Write the zarr.json files that are missing or, unless `only_missing`, that differ from the manifest."""
        for name, content in self.metadata().items():
            path = self.folder / name
            if is_own(self.folder, path) and not (path.is_file() if only_missing else content_of(path) == content):
                write_atomic(path, content)

    def metadata(self) -> dict[str, bytes]:
        """Return the content of each zarr.json file, as it follows from the manifest, by its name in the store."""
        files = {"zarr.json": copy_of(self.manifest)} | {
            f"{spec.name}/zarr.json": group({}) for spec in self.soft_specs
        }
        return files | {
            f"{array.folder.relative_to(self.folder)}/zarr.json": array.metadata({}) for array in self.arrays()
        }

    def arrays(self) -> Iterable[FrameArray]:
        """Return all arrays of the store: label maps, soft labels and features."""
        return [self.labels, *(array for arrays in self.further_arrays().values() for array in arrays)]

    def further_arrays(self) -> dict[str, Sequence[FrameArray]]:
        """Return the arrays of each kind of soft labels and features, by its name."""
        soft: dict[str, Sequence[FrameArray]] = {spec.name: self._soft_arrays(spec) for spec in self.soft_specs}
        return soft | {array.folder.name: [array] for array in self.features.arrays()}

    def _needed(self, soft: SoftSpec | None, features: Collection[FeatureKind]) -> list[FrameArray] | None:
        """Return the arrays that a frame must be in; None if one is not there yet."""
        found = [self.features.array(kind) for kind in features]
        arrays = [array for array in found if array is not None]
        whole = [self.labels, *(self._soft_arrays(soft) if soft else ()), *arrays]
        return whole if len(arrays) == len(found) else None

    def _soft_arrays(self, spec: SoftSpec) -> tuple[FrameArray, FrameArray]:
        if spec not in self._soft:
            shape = (spec.top_k, *spec.size)
            classes = self._array(f"{spec.name}/classes", shape, "uint8")
            self._soft[spec] = (classes, self._array(f"{spec.name}/log_probabilities", shape, "float16"))
        return self._soft[spec]

    def _array(self, name: str, shape: tuple[int, ...], dtype: str) -> FrameArray:
        shard_frames = self.manifest["shard_frames"]
        return FrameArray(
            self.folder / name, num_frames=self.num_frames, shape=shape, shard_frames=shard_frames, dtype=dtype
        )


def store_key(identity: Mapping[str, Any]) -> str:
    """Return the end of a store's folder name: 16 hex digits of the digest of what determines its labels."""
    return json_digest([LAYOUT, dict(identity)])[:16]


def _logarithm(probabilities_KHW: np.ndarray) -> np.ndarray:
    """Return the logarithm as float16.

    Near 1 it resolves the remainder to 1 more finely than a float16 probability does, and this remainder matters at
    high temperatures.
    """
    with np.errstate(divide="ignore"):  # the logarithm of 0 is -inf, which is read back as 0
        logs_KHW: np.ndarray = np.log(probabilities_KHW.astype(np.float32)).astype(np.float16)
    return logs_KHW
