"""The order of labelling: which shard of missing frames a process labels next when several share the work."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from odkd.data.labels.teacher_labels import TeacherLabels, VideoLabels


@dataclass(frozen=True)
class Span:
    """The number of this process among several; it starts with its own part of the stream, then helps with the rest."""

    worker: int
    num_workers: int


@dataclass(frozen=True)
class Shard:
    """The missing rows of one shard of a video's label store."""

    video: VideoLabels
    number: int
    rows: list[int]

    @property
    def claim(self) -> Path:
        """The file that names the process which labels this shard."""
        return self.video.folder / "claims" / f"shard-{self.number:06d}.json"


def missing_shards(labels: TeacherLabels, videos: Sequence[VideoLabels]) -> list[Shard]:
    """Return the shards of `videos` that lack labels, in the order of the stream."""
    shards: dict[tuple[int, int], Shard] = {}
    for video in videos:
        for row in labels.missing_rows(video):
            number = row // int(video.manifest["shard_frames"])
            shards.setdefault((video.number, number), Shard(video, number, [])).rows.append(row)
    return list(shards.values())


def first_shard(
    missing: Sequence[Shard], free: Sequence[Shard], span: Span | None, videos: Sequence[VideoLabels], *, is_start: bool
) -> Shard:
    """Return the shard to start from, where this process disturbs the others least.

    Args:
        missing: all shards that lack labels.
        free: those of them that nobody has claimed; at least one.
        span: this process, where several were started together.
        videos: the videos to label.
        is_start: this process has labelled nothing yet.
    """
    nobody_works = len(free) == len(missing)
    if span is not None and (nobody_works or is_start):
        everything = [(video.number, row) for video in videos for row in video.rows.tolist()]
        first = everything[len(everything) * span.worker // span.num_workers]
        own = [shard for shard in free if (shard.video.number, shard.rows[-1]) >= first]
        if own:
            return own[0]
    if nobody_works:
        return free[0]
    longest = max(_stretches(missing, free), key=len)
    return longest[len(longest) // 2]


def _stretches(missing: Sequence[Shard], free: Sequence[Shard]) -> list[list[Shard]]:
    """Return the runs of free shards that follow each other in one video."""
    stretches: list[list[Shard]] = []
    is_free = {id(shard) for shard in free}
    for before, shard in zip([None, *missing], missing, strict=False):
        if id(shard) in is_free:
            goes_on = stretches and before is stretches[-1][-1] and before.video is shard.video
            stretches[-1].append(shard) if goes_on else stretches.append([shard])
    return stretches
