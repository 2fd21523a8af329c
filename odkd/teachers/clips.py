"""What a teacher with state over frames must see: whole clips from their first frame on, in the same batches each time.

A clip is a run of sampled frames of one video: rows 0 to n - 1 of its store, n to 2n - 1, and so on. A frame's label
depends on the frames before it in its clip. To label a frame again, after a kill or a repair, or in another
process, the teacher sees the clip once more up to that frame, and only the missing labels are kept. Batches are cut at
the ends of clips and shards, never by what is missing, so that they round alike.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate

from odkd.teachers.label_shards import Shard


@dataclass(frozen=True)
class ClipBatch:
    """Rows that a teacher sees at once, and whether they begin a clip."""

    rows: list[int]
    begins_clip: bool


def clip_batches(rows: Sequence[int], *, clip_frames: int, batch_size: int, shard_frames: int) -> list[ClipBatch]:
    """Return the batches of all clips of a video.

    Args:
        rows: of its store that can be labelled, ascending.

    >>> [batch.rows for batch in clip_batches(range(7), clip_frames=5, batch_size=2, shard_frames=64)]
    [[0, 1], [2, 3], [4], [5, 6]]
    """
    batches: list[ClipBatch] = []
    place = None
    for row in rows:
        now = (row // clip_frames, row // shard_frames)
        if place != now or len(batches[-1].rows) == batch_size:
            batches.append(ClipBatch([], begins_clip=place is None or place[0] != now[0]))
        batches[-1].rows.append(row)
        place = now
    return batches


def seen_batches(batches: Sequence[ClipBatch], shards: Sequence[Shard]) -> Iterator[tuple[Shard, list[ClipBatch]]]:
    """Yield for each shard the batches to see, from the start of a clip unless earlier shards have led up to them.

    Args:
        batches: of the video.
        shards: of the video, in order, with the rows that are missing.
    """
    begins = [number if batch.begins_clip else 0 for number, batch in enumerate(batches)]
    starts = list(accumulate(begins, max))  # the batch that begins each batch's clip
    seen = number = 0  # batches before `seen` were seen
    for shard in shards:
        missing = set(shard.rows)
        group: list[ClipBatch] = []
        while number < len(batches) and batches[number].rows[0] <= shard.rows[-1]:
            if not missing.isdisjoint(batches[number].rows):
                group += batches[max(seen, starts[number]) : number + 1]
                seen = number + 1
            number += 1
        yield shard, group
