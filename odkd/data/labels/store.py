"""Label store: a teacher's labels of one video in a folder, and all that one must know of them.

    manifest.json            what determines the labels (`identity`) and what they are, sealed with a digest
    zarr.json                the same as a Zarr v3 group's attributes: the manifest's second copy
    labels/                  uint8 [n, H, W], class ids of the teacher, 255 = ignore
    logsoft-top3-90x160/     classes uint8 [n, k, h, w] and log_probabilities float16 [n, k, h, w], likeliest first
    sessions/                who labelled when, how long, where, with which versions; sealed records
    claims/                  who is labelling now (`claims.py`)

Everything but the arrays' shards follows from the manifest, byte for byte; that is how damage to it is found.
"""

import json
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from odkd.common.files import create_exclusive, json_digest, sealed, unseal, write_atomic
from odkd.data.labels.shards import DamagedLabelsError, FrameArray

LAYOUT = 2  # of the folder
SHARD_FRAMES = 64  # one file, and what a process takes at a time


@dataclass(frozen=True)
class SoftSpec:
    """Which soft labels: the k likeliest classes of each pixel at `size` = (height, width)."""

    top_k: int
    size: tuple[int, int]

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"logsoft-top{self.top_k}-{self.size[0]}x{self.size[1]}"

    @classmethod
    def parse(cls, name: str) -> "SoftSpec":
        """From the folder's name."""
        top_k, _, size = name.removeprefix("logsoft-top").partition("-")
        height, _, width = size.partition("x")
        return cls(int(top_k), (int(height), int(width)))


@dataclass(frozen=True)
class Labelled:
    """What a teacher said of a frame: uint8 [H, W]; where asked for, classes uint8 and probabilities float32 [k, h, w],
    likeliest first."""

    label_HW: np.ndarray
    soft: tuple[np.ndarray, np.ndarray] | None = None


@dataclass(frozen=True)
class Damage:
    """What is wrong with a store."""

    files: list[str]  # metadata that is not what it was written as
    frames: dict[str, list[int]]  # by array
    missing: list[int]  # sampled frames without a label map, though the video has them
    missing_soft: dict[str, list[int]]  # by kind of soft labels: frames that have a label map, but none of these
    undecodable: list[int] = field(default_factory=list)  # sampled frames that the video has lost: no damage

    def __bool__(self) -> bool:
        return bool(self.files or self.missing or any(self.frames.values()) or any(self.missing_soft.values()))


class LabelStore:
    """An open store.

    Raises:
        DamagedLabelsError: its manifest is not what was written.
        FileNotFoundError: there is none.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        try:
            self.manifest: dict[str, Any] = unseal((folder / "manifest.json").read_bytes())
        except (ValueError, FileNotFoundError) as error:
            if isinstance(error, FileNotFoundError) and not (folder / "zarr.json").is_file():
                raise
            raise DamagedLabelsError(f"{folder}/manifest.json is damaged; `odkd-labels repair` mends it") from error
        self.num_frames = len(self.manifest["sampled_frames"])
        self.size: tuple[int, int] = tuple(self.manifest["identity"]["size"])
        self.labels = self._array("labels", self.size, "uint8")
        self._soft: dict[SoftSpec, tuple[FrameArray, FrameArray]] = {}

    @staticmethod
    def create(folder: Path, manifest: Mapping[str, Any]) -> "LabelStore":
        """Open the store, made first if it is not there; of processes that make it at once, one's manifest stays."""
        folder.mkdir(parents=True, exist_ok=True)
        if not (folder / "manifest.json").is_file():
            create_exclusive(folder / "manifest.json", sealed({"layout": LAYOUT, **manifest}))
        store = LabelStore(folder)
        store.write_metadata(only_missing=True)
        return store

    @property
    def num_shards(self) -> int:
        return self.labels.num_shards

    @property
    def soft_specs(self) -> list[SoftSpec]:
        """The soft labels that are there, if only in part."""
        return sorted(
            (SoftSpec.parse(path.name) for path in self.folder.glob("logsoft-top*-*x*")), key=lambda spec: spec.name
        )

    def stored(self, shard: int, soft: SoftSpec | None = None) -> set[int]:
        """Frames of a shard that have labels and, if asked for, soft labels."""
        frames = self.labels.stored(shard)
        for array in self._soft_arrays(soft) if soft else ():
            frames &= array.stored(shard)
        return frames

    def all_stored(self, soft: SoftSpec | None = None) -> set[int]:
        """Frames of all shards."""
        return set().union(*(self.stored(shard, soft) for shard in range(self.num_shards)))

    def read(self, frame: int) -> np.ndarray:
        """uint8 [H, W].

        Raises:
            KeyError: the frame is not labelled.
            DamagedLabelsError: it is damaged.
        """
        return self.labels.read(frame)

    def read_soft(self, frame: int, spec: SoftSpec) -> tuple[np.ndarray, np.ndarray]:
        """Classes uint8 [k, h, w] and their probabilities float32 [k, h, w], likeliest first. Raises as `read`."""
        classes, logs = self._soft_arrays(spec)
        return classes.read(frame), np.exp(logs.read(frame), dtype=np.float32)

    def write(self, shard: int, rows: Mapping[int, Labelled], soft: SoftSpec | None = None) -> None:
        """Add frames to a shard. The label maps come last: a frame that has one is complete."""
        if soft is not None:
            if not (self.folder / soft.name / "log_probabilities" / "zarr.json").is_file():  # the last that is written
                self.folder.joinpath(soft.name).mkdir(exist_ok=True)
                self.write_metadata(only_missing=True)
            classes, logs = self._soft_arrays(soft)
            given = {frame: row.soft for frame, row in rows.items() if row.soft is not None}
            classes.write(shard, {frame: ids_KHW for frame, (ids_KHW, _) in given.items()})
            logs.write(shard, {frame: _logarithm(shares_KHW) for frame, (_, shares_KHW) in given.items()})
        fresh = rows.keys() - self.labels.stored(shard)
        if fresh:
            self.labels.write(shard, {frame: rows[frame].label_HW for frame in sorted(fresh)})

    # --- sessions

    def write_session(self, name: str, record: Mapping[str, Any]) -> None:
        """Say, or say anew, what a process has labelled so far."""
        write_atomic(self.folder / "sessions" / f"{name}.json", sealed(dict(record)))

    def sessions(self) -> list[dict[str, Any]]:
        """Records of all sessions that can be read, oldest first."""
        records = []
        for path in sorted(self.folder.glob("sessions/*.json")):
            try:
                records.append(unseal(path.read_bytes()))
            except ValueError:
                continue  # `damage` names it
        return records

    # --- damage

    def damage(self) -> Damage:
        """Read everything; name all that is not what was written."""
        files = [name for name, content in self._metadata().items() if _read(self.folder / name) != content]
        files += [str(p.relative_to(self.folder)) for p in self._session_files() if not _is_sealed(p)]
        frames = {str(array.folder.relative_to(self.folder)): list(array.damaged()) for array in self._arrays()}
        lost = {frame for record in self.sessions() for frame in record.get("undecodable", [])}
        there: set[int] = set()
        for shard in range(self.num_shards):
            try:
                there |= self.labels.stored(shard)
            except DamagedLabelsError:
                there |= set(self.labels.shard_range(shard))  # damaged, not missing
        missing = sorted(set(range(self.num_frames)) - there - lost)
        frames = {name: found for name, found in frames.items() if found}
        lacking = {spec.name: self._lacking(spec) for spec in self.soft_specs}
        return Damage(files, frames, missing, {name: rows for name, rows in lacking.items() if rows}, sorted(lost))

    def _lacking(self, spec: SoftSpec) -> list[int]:
        """Frames with a label map and without these soft labels; of shards with a damaged index none."""
        rows: set[int] = set()
        for shard in range(self.num_shards):
            with suppress(DamagedLabelsError):
                rows |= self.labels.stored(shard) - self.stored(shard, spec)
        return sorted(rows)

    def mend(self, damage: Damage) -> None:
        """Write damaged metadata anew and forget damaged frames: what is left is whole."""
        for path in self._session_files():
            if not _is_sealed(path):
                path.unlink()
        self.write_metadata(only_missing=False)
        for array in self._arrays():
            array.drop(damage.frames.get(str(array.folder.relative_to(self.folder)), []))

    @staticmethod
    def mend_manifest(folder: Path) -> None:
        """Take a damaged or lost manifest.json from its copy in zarr.json.

        Raises:
            DamagedLabelsError: both are.
        """
        path = folder / "manifest.json"
        if _is_sealed(path):
            return
        try:
            manifest = json.loads((folder / "zarr.json").read_text())["attributes"]
            copy = manifest if manifest.pop("sha256") == json_digest(manifest) else None
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            copy = None
        if copy is None:
            raise DamagedLabelsError(
                f"{folder}: manifest.json and its copy in zarr.json are damaged, both; "
                f"delete it with  odkd-labels prune --all --yes {folder}"
            )
        write_atomic(path, sealed(copy))

    def write_metadata(self, *, only_missing: bool) -> None:
        """The zarr.json files, as they follow from the manifest."""
        for name, content in self._metadata().items():
            path = self.folder / name
            if not (path.is_file() if only_missing else _read(path) == content):
                write_atomic(path, content)

    def _metadata(self) -> dict[str, bytes]:
        copy = self.manifest | {"sha256": json_digest(self.manifest)}
        files = {"zarr.json": _group(copy)} | {f"{spec.name}/zarr.json": _group({}) for spec in self.soft_specs}
        return files | {
            f"{array.folder.relative_to(self.folder)}/zarr.json": array.metadata({}) for array in self._arrays()
        }

    def _session_files(self) -> list[Path]:
        return sorted(self.folder.glob("sessions/*.json"))

    def _arrays(self) -> Iterable[FrameArray]:
        return [self.labels, *(array for spec in self.soft_specs for array in self._soft_arrays(spec))]

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
    """The end of a store's folder name: 16 hex digits of what determines its labels."""
    return json_digest([LAYOUT, dict(identity)])[:16]


def find_stores(folder: Path) -> list[Path]:
    """Folders of the stores in `folder`: itself, or FOLDER/TEACHER/STORE, or FOLDER/STORE."""
    return sorted(path for path in [folder, *folder.glob("*"), *folder.glob("*/*")] if _is_store(path))


def _is_store(folder: Path) -> bool:
    has_copy = (folder / "zarr.json").is_file() and (folder / "labels" / "zarr.json").is_file()
    return has_copy or _is_sealed(folder / "manifest.json")


def _group(attributes: Mapping[str, Any]) -> bytes:
    content = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}
    return (json.dumps(content, indent=1) + "\n").encode()


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _is_sealed(path: Path) -> bool:
    try:
        unseal(path.read_bytes())
    except (OSError, ValueError):
        return False
    return True


def _logarithm(probabilities_KHW: np.ndarray) -> np.ndarray:
    """float16: near 1 a logarithm is finer than the probability, and what is left to 1 decides at high temperatures."""
    with np.errstate(divide="ignore"):  # of 0 it is -inf, and 0 again when it is read
        logs_KHW: np.ndarray = np.log(probabilities_KHW.astype(np.float32)).astype(np.float16)
    return logs_KHW
