"""The files of a label store besides its labels: how they are created, whole or not at all, and recognized."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

from annotated_types import Ge, Le, Len

from odkd.common.files import create_exclusive, flush_names, json_digest, sealed, unseal, write_atomic
from odkd.common.names import is_plain
from odkd.common.progressions import num_packed
from odkd.common.reading import MOST_JSON, brief, check_form, read_bytes, read_json, shown
from odkd.common.settings import PositiveInt
from odkd.common.temporary import remove, temporary_for
from odkd.data.labels.shards import MOST_IN_SHARD, MOST_NUMBERS, DamagedLabelsError, FrameArray

MOST_FRAMES = 2**28
MANIFEST = {
    "teacher?": str,
    "video?": str,
    "shard_frames": Annotated[int, Ge(1), Le(MOST_IN_SHARD)],
    "sampled_frames?": list[int],
    "sampled_frames_progressions?": list[Annotated[list[int], Len(3, 3)]],
    "identity": {"size": Annotated[list[PositiveInt], Len(2, 2)], "teacher?": dict[str, Any]},
}


def create_files(folder: Path, manifest: Mapping[str, Any], labels: FrameArray) -> None:
    """Write the files of a new store.

    The manifest is the last one, and with it the store is there. All processes make it from the copy in zarr.json,
    which only one of them can create, so that the two agree. The folder may hold claims already: it cannot be renamed.
    """
    write_atomic(labels.folder / "zarr.json", labels.metadata({}))
    if not create_exclusive(folder / "zarr.json", copy_of(manifest)) and copied_manifest(folder) is None:
        write_atomic(folder / "zarr.json", copy_of(manifest))
    create_exclusive(folder / "manifest.json", sealed(copied_manifest(folder)))


def create_soft(folder: Path, arrays: Sequence[FrameArray]) -> None:
    """Create the folder of a kind of soft labels, with its arrays; another process may be first.

    Raises:
        OSError: it cannot be created.
    """
    place = temporary_for(folder)
    write_atomic(place / "zarr.json", group({}))
    for array in arrays:
        write_atomic(place / array.folder.name / "zarr.json", array.metadata({}))
    try:
        place.rename(folder)
    except OSError:
        remove(place)
        if not folder.is_dir():
            raise
    flush_names(folder.parent)


def find_stores(folder: Path) -> list[Path]:
    """Return the folders of all stores in `folder`: the folder itself, FOLDER/STORE or FOLDER/TEACHER/STORE."""
    return sorted(path for path in [folder, *folder.glob("*"), *folder.glob("*/*")] if _is_store(path))


def check_manifest(manifest: Any, folder: Path) -> None:
    """Check the form of a manifest, which somebody else may have made.

    Raises:
        DamagedLabelsError: it is none of a label store.
    """
    try:
        check_form(manifest, MANIFEST)
        if (
            num_packed("sampled_frames", manifest) > MOST_FRAMES
            or math.prod(manifest["identity"]["size"]) > MOST_NUMBERS
        ):
            raise ValueError("it promises more than a store can hold")
        if not is_plain(manifest.get("teacher", "x")) or Path(manifest.get("video", "x")).stem in ("", ".", ".."):
            raise ValueError("the name of its teacher or video is none of a folder")
    except (ValueError, KeyError, TypeError) as error:
        raise DamagedLabelsError(
            f"{shown(folder)}/manifest.json is that of no label store ({brief(error)}); move the folder away"
        ) from error


def content_of(path: Path) -> bytes | None:
    """Return the bytes of a file; None if there is none."""
    return read_bytes(path) if path.is_file() else None


def is_sealed(path: Path) -> bool:
    """Return True if a file exists and agrees with the digest that it was sealed with."""
    try:
        unseal(read_bytes(path))
    except (OSError, ValueError):
        return False
    return True


def copied_manifest(folder: Path) -> dict[str, Any] | None:
    """Return the manifest in a store's zarr.json; None if there is none, or if it is damaged."""
    try:
        manifest: dict[str, Any] = read_json(folder / "zarr.json", most=MOST_JSON)["attributes"]
        return manifest if manifest.pop("sha256") == json_digest(manifest) else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _is_store(folder: Path) -> bool:
    """True for a manifest, or for labels whose manifest was lost; what a kill during the creation leaves is neither."""
    if (folder / "manifest.json").is_file():
        return is_sealed(folder / "manifest.json") or (folder / "zarr.json").is_file()
    return (folder / "zarr.json").is_file() and any((folder / "labels").glob("c/*"))


def copy_of(manifest: Mapping[str, Any]) -> bytes:
    """Return the content of a store's zarr.json."""
    return group({**manifest, "sha256": json_digest(json.loads(json.dumps(manifest)))})


def group(attributes: Mapping[str, Any]) -> bytes:
    """Return the content of a Zarr group's zarr.json."""
    content = {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}
    return (json.dumps(content, indent=1) + "\n").encode()
