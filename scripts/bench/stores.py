"""A label store of a million frames: opened, counted, and asked for its state."""

from pathlib import Path

import numpy as np

from bench.core.case import Case
from bench.core.result import Result, measured
from bench.core.timing import in_turn
from odkd.common.progressions import list_digest, packed
from odkd.data.labels.progress import versions_of
from odkd.data.labels.store import Labelled, LabelStore

CASE = Case(
    question="Does opening a store take longer the more frames it holds?",
    method="A label store of 1,000,000 tiny frames, all its shards alike, against one of 1,000, in turn.",
    repeats=5,
    seconds=5,
)
MANY, FEW, ROUNDS, SIZE, CLASSES = 1_000_000, 1_000, 5, (8, 8), 19


def measure(folder: Path, *, quick: bool) -> list[Result]:
    """Return the time of each question to the large store, against the small one."""
    rounds = 1 if quick else ROUNDS
    many, few = (LabelStore(make_store(folder, length)) for length in (10 * FEW if quick else MANY, FEW))
    for store in (many, few):
        store.num_stored()  # writes the note of what is stored
    questions = {
        "open": lambda store: LabelStore(store.folder),
        "count the frames": lambda store: store.num_stored(),
        "size and last change": lambda store: versions_of(store.labels),
        "digest of the frame numbers": lambda store: list_digest(np.arange(store.num_frames) * 75),
    }
    results = []
    for question, ask in questions.items():
        calls = {
            "many": lambda ask=ask: ask(many),
            "few": lambda ask=ask: ask(few),
        }
        seconds = in_turn(calls, rounds)
        results.append(
            measured(
                f"{question}, {many.num_frames} frames",
                seconds["many"],
                "ms",
                scale=1000,
                baseline=(f"{few.num_frames} frames", seconds["few"]),
                headline=question == "open",
            )
        )
    return results


def make_store(folder: Path, num_frames: int) -> Path:
    """Return the folder of a store whose shards are all alike, made on first use."""
    place = folder / f"store-{num_frames}"
    manifest = {"teacher": "none", "video": "none.mp4", "shard_frames": 64, "identity": {"size": list(SIZE)}}
    store = LabelStore.create(place, {**manifest, **packed("sampled_frames", np.arange(num_frames))})
    if store.labels.shard_path(store.num_shards - 1).is_file():
        return place
    generator = np.random.default_rng(0)
    rows = {n: Labelled(generator.integers(0, CLASSES, SIZE, np.uint8)) for n in store.labels.shard_range(0)}
    store.write(0, rows)
    content = store.labels.shard_path(0).read_bytes()
    for shard in range(1, store.num_shards):
        path = store.labels.shard_path(shard)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return place
