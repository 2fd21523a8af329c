"""Label store compared with one `np.savez_compressed` file per frame: size, write time, random read time."""

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import numpy as np
import torch

from bench.dataset import make_dataset
from odkd.data.labels.store import Labelled, LabelStore
from odkd.data.video.decode import decode_frames
from odkd.data.video.index import index_video
from odkd.teachers import SampledFrames
from odkd.teachers.checkpoint import CheckpointTeacher
from odkd.teachers.labeller import FLUSH_FRAMES

SIZES = ((720, 1280), (1080, 1920))
NUM_MAPS, ROUNDS, STRIDE = 64, 5, 4
SHARED = Path(__file__).resolve().parents[3] / "shared"  # real video and a real teacher, if available


def measure(folder: Path) -> list[dict[str, object]]:
    """Return one row per size. Each round writes and reads both formats; ratios are taken within a round."""
    rows: list[dict[str, object]] = []
    for size in SIZES:
        source, maps = real_maps(folder, size)
        writes: list[tuple[float, float]] = []
        reads: list[tuple[float, float]] = []
        order = np.random.default_rng(0)
        for _ in range(ROUNDS):
            scratch = folder / "label-store-against-npz"
            shutil.rmtree(scratch, ignore_errors=True)
            began = time.perf_counter()
            store = write_store(scratch / "store", maps)
            stored = time.perf_counter()
            write_npz(scratch / "npz", maps)
            writes.append((stored - began, time.perf_counter() - stored))
            numbers = order.permutation(len(maps)).tolist()
            store = LabelStore(store.folder)
            began = time.perf_counter()
            for number in numbers:
                store.read(number)
            seen = time.perf_counter()
            for number in numbers:
                read_npz(scratch / "npz", number)
            reads.append((seen - began, time.perf_counter() - seen))
        for number in numbers:
            assert np.array_equal(store.read(number), read_npz(scratch / "npz", number))
        sizes = [sum(path.stat().st_size for path in files(scratch / name)) for name in ("store", "npz")]
        rows.append(
            {
                "size": f"{size[1]}x{size[0]}",
                "maps": source,
                "KB": sizes[0] / len(maps) / 1000,
                "npz_KB": sizes[1] / len(maps) / 1000,
                "write_ms": 1000 * median(ours for ours, _ in writes) / len(maps),
                "npz_write_ms": 1000 * median(theirs for _, theirs in writes) / len(maps),
                "write_ratio": median(theirs / ours for ours, theirs in writes),
                "read_ms": 1000 * median(ours for ours, _ in reads) / len(maps),
                "npz_read_ms": 1000 * median(theirs for _, theirs in reads) / len(maps),
                "read_ratio": median(theirs / ours for ours, theirs in reads),
            }
        )
        shutil.rmtree(scratch)
    return rows


def write_store(folder: Path, maps: list[np.ndarray]) -> LabelStore:
    """Write label maps as the labeller does: durable portions of a shard, each with a session record."""
    height, width = maps[0].shape
    identity = {"size": [height, width]}
    manifest = {"identity": identity, "shard_frames": 64, "sampled_frames": list(range(len(maps)))}
    store = LabelStore.create(folder, manifest)
    for start in range(0, len(maps), FLUSH_FRAMES):
        rows = {n: Labelled(maps[n]) for n in range(start, min(start + FLUSH_FRAMES, len(maps)))}
        store.write(start // 64, rows)
        store.write_session("bench", {"frames": list(range(start + len(rows)))})
    return store


def write_npz(folder: Path, maps: list[np.ndarray]) -> None:
    """Write label maps as the reference code does, but as uint8 instead of int64, which is smaller and faster."""
    folder.mkdir(parents=True)
    for number, label_HW in enumerate(maps):
        np.savez_compressed(folder / f"{number:06d}.npz", seg=label_HW)


def read_npz(folder: Path, number: int) -> np.ndarray:
    """Read a label map, uint8 [H, W]."""
    with np.load(folder / f"{number:06d}.npz") as content:
        label_HW: np.ndarray = content["seg"]
        return label_HW


def files(folder: Path) -> Iterator[Path]:
    """Return all files below a folder."""
    return (path for path in folder.rglob("*") if path.is_file())


def real_maps(folder: Path, size: tuple[int, int]) -> tuple[str, list[np.ndarray]]:
    """Return the source and label maps of a real teacher on real driving video, resized to `size`, if available.

    Otherwise, the ground truth of the synthetic video.
    """
    kept = folder / f"real-maps-{size[0]}x{size[1]}.npy"
    videos = sorted((SHARED / "camvid" / "videos").glob("*"))
    if not videos:
        root = make_dataset(folder, height=size[0], width=size[1], num_frames=NUM_MAPS * STRIDE, stride=STRIDE)
        from PIL import Image

        paths = sorted((root / "groundtruth" / "pan").glob("*.png"))
        return "synthetic", [np.asarray(Image.open(path)) for path in paths]
    if not kept.is_file():
        checkpoint = SHARED / "teachers" / "camvid_fpn_efficientnet_lite2.pth"
        teacher = CheckpointTeacher(str(checkpoint), device=torch.device("cpu"), precision="bfloat16")
        index = index_video(videos[0], folder)
        numbers = range(0, min(index.num_frames, NUM_MAPS))
        decoded = decode_frames(index, numbers, size=size)
        images = [image for _, image in decoded if image is not None]
        maps = [teacher.label(SampledFrames("", [0], image[None], None))[0] for image in images]
        np.save(kept, np.stack(maps))
    return "teacher on CamVid", list(np.load(kept))
