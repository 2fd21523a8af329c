"""Label store compared with one `np.savez_compressed` file per frame: size, write time, random read time."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch

from bench.core.case import Case
from bench.core.result import Result, measured, size_name
from bench.core.timing import seconds_of
from bench.dataset import make_dataset
from bench.job import FAST_PRECISION, SMALL
from odkd.data.labels.store import Labelled, LabelStore
from odkd.data.video.decode import decode_frames
from odkd.data.video.index import index_video
from odkd.teachers import SampledFrames
from odkd.teachers.checkpoint import CheckpointTeacher
from odkd.teachers.labeller import FLUSH_FRAMES

CASE = Case(
    question="What does the label store save against one `.npz` file per frame?",
    method="Real maps: the labels of the CamVid teacher on CamVid's frames, enlarged to the size (without the data, "
    "maps of the generated video). Both write the same 64 maps (the store like the labeller, durably on disk; "
    "`np.savez_compressed` with uint8, as the released code of Houyon et al.) and read them in random order, in turn; "
    "the maps are compared.",
    repeats=5,
    seconds=15,
)
SIZES = ((720, 1280), (1080, 1920))
NUM_MAPS, ROUNDS, STRIDE = 64, 5, 4
SHARED = Path(__file__).resolve().parents[3] / "shared"  # real video and a real teacher, if available


def measure(folder: Path, *, quick: bool) -> list[Result]:
    """Return size, write time and read time by size. Each round writes and reads both formats."""
    results = []
    for size in (SMALL,) if quick else SIZES:
        source, maps = real_maps(folder, size)
        writes: dict[str, list[float]] = {"store": [], "npz": []}
        reads: dict[str, list[float]] = {"store": [], "npz": []}
        scratch, order = folder / "label-store-against-npz", np.random.default_rng(0)
        for _ in range(2 if quick else ROUNDS):
            shutil.rmtree(scratch, ignore_errors=True)
            writes["store"].append(seconds_of(lambda: write_store(scratch / "store", maps)))  # noqa: B023
            writes["npz"].append(seconds_of(lambda: write_npz(scratch / "npz", maps)))  # noqa: B023
            numbers, store = order.permutation(len(maps)).tolist(), LabelStore(scratch / "store")
            reads["store"].append(seconds_of(lambda: [store.read(n) for n in numbers]))  # noqa: B023
            reads["npz"].append(seconds_of(lambda: [read_npz(scratch / "npz", n) for n in numbers]))  # noqa: B023
        assert all(np.array_equal(store.read(number), read_npz(scratch / "npz", number)) for number in numbers)
        sizes = [float(sum(path.stat().st_size for path in files(scratch / name))) for name in ("store", "npz")]
        rows = (
            ("size", [sizes[0]], [sizes[1]], "KB a map", 1e-3),
            ("write", writes["store"], writes["npz"], "ms a map", 1e3),
            ("read", reads["store"], reads["npz"], "ms a map", 1e3),
        )
        results += [
            measured(
                f"{what}, {source}",
                ours,
                unit,
                size=size_name(size),
                scale=scale / len(maps),
                baseline=(".npz", theirs),
                headline=what != "size" and size == SIZES[0],
            )
            for what, ours, theirs, unit, scale in rows
        ]
        shutil.rmtree(scratch)
    return results


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
        return "generated maps", [np.asarray(Image.open(path)) for path in paths]
    if not kept.is_file():
        checkpoint = SHARED / "teachers" / "camvid_fpn_efficientnet_lite2.pth"
        teacher = CheckpointTeacher(str(checkpoint), device=torch.device("cpu"), precision=FAST_PRECISION)
        index = index_video(videos[0], folder)
        numbers = range(0, min(index.num_frames, NUM_MAPS))
        decoded = decode_frames(index, numbers, size=size)
        images = [image for _, image in decoded if image is not None]
        maps = [teacher.label(SampledFrames("", [0], image[None], None))[0] for image in images]
        np.save(kept, np.stack(maps))
    return "teacher on CamVid", list(np.load(kept))
