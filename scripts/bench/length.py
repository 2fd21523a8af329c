"""Scale in length: an iteration on a stream of 1,000 and of 100,000 positions, and stores of a million frames.

The student has one layer and frames are tiny, so that everything around them shows. The last iterations of both
streams take turns.
"""

import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median

import numpy as np
import torch
from torch import nn

from odkd.common.progressions import list_digest, packed
from odkd.data.labels.progress import versions_of
from odkd.data.labels.store import Labelled, LabelStore
from odkd.data.tensor_bank import Bank, Normalization
from odkd.data.video.image_index import Source
from odkd.data.video.stream import make_stream
from odkd.data.window import Window
from odkd.evaluation.evaluate import Evaluator
from odkd.evaluation.watch import Watch, WatchPlan
from odkd.training.iteration import describe

LENGTHS, SIZE, CLASSES, NUM_MEASURED = (1_000, 100_000), (24, 32), 19, 45
WARM_UP = 10  # iterations that do not count
WINDOW = Window(learn=20, test=20, step=20)
VIDEO_FRAMES = 1_000
MILLION = 1_000_000


class OneLayer(nn.Module):
    """The smallest student."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(3, CLASSES, 1)

    def forward(self, images_BCHW: torch.Tensor) -> torch.Tensor:
        return self.layer(images_BCHW)  # type: ignore[no-any-return]


class _Video:
    """The facts about a video that a stream asks for."""

    def __init__(self, number: int) -> None:
        self.stem, self.path, self.digest = f"{number:04d}", Path(f"{number:04d}.mp4"), f"{number:064d}"
        self.num_frames, self.duration_seconds = VIDEO_FRAMES, VIDEO_FRAMES / 25
        self.seconds = np.arange(VIDEO_FRAMES) / 25


class _Frames:
    def read(self, positions: Sequence[int]) -> np.ndarray:
        return np.stack([np.full((*SIZE, 3), position % 251, np.uint8) for position in positions])


class _Labels:
    def __init__(self, store: LabelStore) -> None:
        self._store = store

    def read(self, position: int) -> np.ndarray:
        return self._store.read(position)


def measure(folder: Path) -> list[dict[str, object]]:
    """Return one row per length of a stream, and one for the stores of a million frames."""
    streams = {length: _Loop(folder, length) for length in LENGTHS}
    for _ in range(NUM_MEASURED):
        for loop in streams.values():  # in turn
            loop.iterate()
    first = median(streams[LENGTHS[0]].seconds[WARM_UP:])
    rows: list[dict[str, object]] = []
    for length, loop in streams.items():
        loop.bank.__exit__()
        seconds = median(loop.seconds[WARM_UP:])
        found: dict[str, object] = {"what": "iteration", "frames": length, "ms": 1000 * seconds}
        rows.append({**found, "over_first": seconds / first, "kB_kept_each": loop.kilobytes_kept})
    store = LabelStore(make_store(folder / f"store-{MILLION}", MILLION, maps=False))
    store.num_stored()  # writes the note of what is stored
    calls: dict[str, Callable[[], object]] = {
        "open a label store": lambda: LabelStore(store.folder),
        "count its frames": store.num_stored,
        "size and last change": lambda: versions_of(store.labels),
        "digest of the frame numbers": lambda: list_digest(np.arange(MILLION) * 75),
    }
    for what, call in calls.items():
        taken = []
        for _ in range(5):
            began = time.perf_counter()
            call()
            taken.append(time.perf_counter() - began)
        found = {"what": what, "frames": MILLION, "ms": 1000 * median(taken)}
        rows.append({**found, "over_first": "-", "kB_kept_each": "-"})
    return rows


class _Loop:
    """The loop around a student, at the end of a stream."""

    def __init__(self, folder: Path, length: int) -> None:
        videos: tuple[Source, ...] = tuple(_Video(n) for n in range(length // VIDEO_FRAMES))  # type: ignore[misc]
        video_of = np.repeat(np.arange(len(videos)), VIDEO_FRAMES)
        frame_of = np.tile(np.arange(VIDEO_FRAMES), len(videos))
        self.stream = make_stream(videos, ("",) * len(videos), video_of, frame_of)
        labels, device = _Labels(LabelStore(make_store(folder / f"store-{length}", length, maps=True))), "cpu"
        self.bank = Bank(
            _Frames(),
            {"teacher": labels},
            num_classes=CLASSES,
            device=torch.device(device),
            memory_bytes=2**26,
            normalization=Normalization(),
            channels_last=False,
        )
        evaluator = Evaluator(self.bank, 1, "float32", torch.device(device))
        plan = WatchPlan(shift=None, final=False, segment_frames=0)
        self.watch = Watch(self.stream, WINDOW, evaluator, [str(n) for n in range(CLASSES)], plan)
        self.student = OneLayer()
        self.steps = WINDOW.steps(length, start=WINDOW.num_iterations(length) - NUM_MEASURED)
        self.seconds: list[float] = []
        self._kilobytes: list[int] = []

    def iterate(self) -> None:
        """Do what an iteration does around a student: read, learn, score, describe."""
        step, began, before = next(self.steps), time.perf_counter(), anonymous_kilobytes()
        self.bank.prefetch(self.watch.needs(step))
        for position in step.gone_by:
            batch = self.bank.get([position])
            self.student.zero_grad()
            loss = nn.functional.cross_entropy(self.student(batch.images_BCHW), batch.labels["teacher"].long())
            loss.backward()  # type: ignore[no-untyped-call]
        _, metrics = self.watch.test(self.student, step)
        metrics |= self.watch.elsewhere(self.student, step)
        describe(step, self.stream, metrics)
        self.bank.retain(self.watch.windows(step))
        self.seconds.append(time.perf_counter() - began)
        self._kilobytes.append(anonymous_kilobytes() - before)

    @property
    def kilobytes_kept(self) -> float:
        """The kB of memory that an iteration keeps."""
        return sum(self._kilobytes[WARM_UP:]) / (NUM_MEASURED - WARM_UP)


def make_store(folder: Path, num_frames: int, *, maps: bool) -> Path:
    """Return the folder of a label store whose shards are all alike, made on first use."""
    size = SIZE if maps else (8, 8)
    manifest = {"teacher": "none", "video": "none.mp4", "shard_frames": 64, "identity": {"size": list(size)}}
    store = LabelStore.create(folder, {**manifest, **packed("sampled_frames", np.arange(num_frames))})
    if store.labels.shard_path(store.num_shards - 1).is_file():
        return folder
    generator = np.random.default_rng(0)
    rows = {n: Labelled(generator.integers(0, CLASSES, size, np.uint8)) for n in store.labels.shard_range(0)}
    store.write(0, rows)
    content = store.labels.shard_path(0).read_bytes()
    for shard in range(1, store.num_shards):
        path = store.labels.shard_path(shard)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


def anonymous_kilobytes() -> int:
    """Return the anonymous resident memory of this process; file caches do not count."""
    found = re.search(r"RssAnon:\s+(\d+) kB", Path(f"/proc/{os.getpid()}/status").read_text())
    assert found is not None
    return int(found[1])
