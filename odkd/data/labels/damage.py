"""Damage to a label store: how it is found and mended.

Everything in a store except the shards of its arrays follows from the manifest, byte for byte, and shards carry
checksums. So any changed byte is found; what cannot be restored from the manifest is deleted and labelled again.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from odkd.common.files import sealed, write_atomic
from odkd.data.labels.shards import DamagedLabelsError, FrameArray
from odkd.data.labels.store import LabelStore
from odkd.data.labels.store_files import content_of, copied_manifest, is_sealed


@dataclass(frozen=True)
class Damage:
    """The defects of a store; it counts as true if there are any."""

    files: list[str]  # metadata that differs from what was written
    frames: dict[str, list[int]]  # by array: frames that fail their checksum
    missing: list[int]  # sampled frames without a label map, although the video has them
    missing_soft: dict[str, list[int]]  # by kind of soft labels or features: frames with a label map but without these
    undecodable: list[int] = field(default_factory=list)  # sampled frames that are damaged in the video: no defect

    def __bool__(self) -> bool:
        return bool(self.files or self.missing or any(self.frames.values()) or any(self.missing_soft.values()))


def find_damage(store: LabelStore) -> Damage:
    """Read the complete store and return everything that differs from what was written."""
    files = [name for name, content in store.metadata().items() if content_of(store.folder / name) != content]
    files += [str(path.relative_to(store.folder)) for path in store.session_files() if not is_sealed(path)]
    frames = {str(array.folder.relative_to(store.folder)): list(array.damaged()) for array in store.arrays()}
    undecodable = {frame for record in store.sessions() for frame in record.get("undecodable", [])}
    present: set[int] = set()
    for shard in range(store.num_shards):
        try:
            present |= store.labels.stored(shard)
        except DamagedLabelsError:
            present |= set(store.labels.shard_range(shard))  # damaged, not missing
    missing = sorted(set(range(store.num_frames)) - present - undecodable)
    missing_soft = {name: _frames_without(store, arrays) for name, arrays in store.further_arrays().items()}
    return Damage(
        files,
        {name: found for name, found in frames.items() if found},
        missing,
        {name: found for name, found in missing_soft.items() if found},
        sorted(undecodable),
    )


def mend(store: LabelStore, damage: Damage) -> None:
    """Rewrite damaged metadata and delete damaged frames and sessions, so that the rest of the store is intact."""
    for path in store.session_files():
        if not is_sealed(path):
            path.unlink()
    store.write_metadata(only_missing=False)
    for array in store.arrays():
        array.drop(damage.frames.get(str(array.folder.relative_to(store.folder)), []))


def mend_manifest(folder: Path) -> None:
    """Restore a damaged or lost manifest.json of a store from its copy in zarr.json.

    Raises:
        DamagedLabelsError: the copy is damaged too.
    """
    path = folder / "manifest.json"
    if is_sealed(path):
        return
    copy = copied_manifest(folder)
    if copy is None:
        raise DamagedLabelsError(
            f"{folder}: both manifest.json and its copy in zarr.json are damaged; "
            f"delete the store with  odkd-labels prune --all --yes {folder}"
        )
    write_atomic(path, sealed(copy))


def _frames_without(store: LabelStore, arrays: Sequence[FrameArray]) -> list[int]:
    """Return the frames with a label map that are not in all these arrays; shards with a damaged index are skipped."""
    frames: set[int] = set()
    for shard in range(store.num_shards):
        with suppress(DamagedLabelsError):
            in_all: set[int] = set.intersection(*[array.stored(shard) for array in arrays])
            frames |= store.labels.stored(shard) - in_all
    return sorted(frames)
