"""Indexing a video: the one scan of its packets, and the index that later runs read."""

import shutil
from pathlib import Path

import av

from bench.core.case import Case
from bench.core.result import Result, measured, size_name
from bench.core.timing import in_turn
from bench.dataset import make_video
from bench.job import SMALL
from odkd.common.notes import file_digest
from odkd.data.video.index import index_video

CASE = Case(
    question="What does a video cost before its first frame is decoded?",
    method="`index_video` with an empty cache (it reads all packets and the digest of the bytes), in turn with bare "
    "PyAV reading all packets; the limit is the digest (SHA-256) alone. Then the same with the index in the cache.",
    repeats=5,
    seconds=5,
)
ROUNDS = 5


def measure(folder: Path, *, quick: bool) -> list[Result]:
    """Return the first and the later opening of a video of 768 frames."""
    size = SMALL if quick else (720, 1280)
    root = make_video(folder, size)
    path, first, later, digests = root / "videos" / "pan.mp4", *(folder / f"index-{name}" for name in "abc")

    def index() -> None:
        shutil.rmtree(first, ignore_errors=True)
        index_video(path, first)

    def packets() -> None:
        with av.open(str(path)) as container:
            for packet in container.demux(video=0):
                _ = packet.pts, packet.is_keyframe

    def digest() -> None:
        shutil.rmtree(digests, ignore_errors=True)
        file_digest(path, digests)

    num_frames = index_video(path, later).num_frames
    functions = {"first": index, "packets": packets, "digest": digest, "later": lambda: index_video(path, later)}
    seconds = in_turn(functions, 2 if quick else ROUNDS)
    name, what = size_name(size), f"{num_frames} frames, {path.stat().st_size / 1e6:.0f} MB"
    baseline, limit = ("bare PyAV", seconds["packets"]), ("digest alone", seconds["digest"])
    return [
        measured(f"first, {what}", seconds["first"], "ms", size=name, scale=1000, baseline=baseline, limit=limit),
        measured(f"later, {what}", seconds["later"], "ms", size=name, scale=1000),
    ]
