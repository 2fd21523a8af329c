"""The order of a stream: videos one after the other, or alternating stretches of domains or videos.

Houyon et al. (2023) cut two videos into stretches of 20 minutes and join them alternately into a third file. Here the
same stream is a list of positions in the unchanged videos, so that all orders share frames and labels.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np

from odkd.common.names import counted

if TYPE_CHECKING:
    from odkd.data.video.stream import Stream

Kind = Literal["concatenate", "alternate"]
By = Literal["domain", "video"]
SAME_RATE = 1.01  # sampling intervals whose ratio is below this (30 and 29.97 fps) count as equal


@dataclass(frozen=True)
class StreamOrder:
    """The settings `dataset.order`.

    Args:
        kind: concatenate: videos one after the other | alternate: a stretch of each group in turn, in order of their
            first appearance.
        by: the groups that alternate: domains or videos.
        periods: number of stretches per group (alternate); None = as many as the shortest group allows.
        sequence_minutes: length of a stretch in the time of the videos.
        sequence_positions: length of a stretch in sampled frames. Set at most one of the two. With neither, alternate
            divides the frames of each group evenly, and concatenate has one stretch per run of a domain.
        skip_minutes: pattern of a video's stem -> minutes left out at its start.

    Raises:
        ValueError: settings that are invalid or contradict each other.
    """

    kind: Kind = "concatenate"
    by: By = "domain"
    periods: int | None = None
    sequence_minutes: float | None = None
    sequence_positions: int | None = None
    skip_minutes: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, value, choices in (("kind", self.kind, get_args(Kind)), ("by", self.by, get_args(By))):
            if value not in choices:
                raise ValueError(f"dataset.order.{name}={value}; expected {' or '.join(choices)}")
        for name, whole in (("periods", self.periods), ("sequence_positions", self.sequence_positions)):
            if whole is not None and (type(whole) is not int or whole < 1):
                raise ValueError(f"dataset.order.{name}={whole}; expected a whole number of at least 1, or null")
        minutes = {"sequence_minutes": self.sequence_minutes} if self.sequence_minutes is not None else {}
        minutes |= {f"skip_minutes.{pattern}": skip for pattern, skip in self.skip_minutes.items()}
        for name, length in minutes.items():
            if type(length) not in (int, float) or not 0 < length < float("inf"):
                raise ValueError(f"dataset.order.{name}={length}; expected minutes, a number above 0")
        if self.sequence_minutes is not None and self.sequence_positions is not None:
            raise ValueError(
                f"dataset.order.sequence_minutes={self.sequence_minutes} and .sequence_positions="
                f"{self.sequence_positions} both set the length of a sequence; set one of them to null"
            )
        has_length = self.sequence_minutes is not None or self.sequence_positions is not None
        if self.kind == "alternate" and self.periods is None and not has_length:
            raise ValueError(
                "dataset.order.kind=alternate needs dataset.order.periods, .sequence_minutes or .sequence_positions"
            )
        if self.kind == "concatenate" and self.periods is not None:
            raise ValueError(
                f"dataset.order.periods={self.periods} applies only to streams that alternate; "
                "set dataset.order.kind=alternate, or periods to null"
            )


def put_in_order(stream: Stream, order: StreamOrder) -> tuple[Stream, np.ndarray]:
    """Return the reordered stream, and int64 [n]: the position in `stream` of each of its positions.

    No frame occurs twice. `seconds` of the new stream is the elapsed time in it: each sampled frame lasts until the
    next sampled frame of its video.

    Raises:
        ValueError: there are too few frames, or fewer than two groups to alternate.
    """
    kept = _after_skips(stream, order)
    length = sequence_length(stream, order)
    if order.kind == "alternate":
        stretches = _alternate(_groups(stream, kept, order), _seconds_of_frame(stream), order, length)
        index = np.concatenate(stretches)
        segment_of = np.repeat(np.arange(len(stretches)), [len(stretch) for stretch in stretches])
    elif length is not None:
        index, segment_of = kept, np.arange(len(kept)) // length
    elif len(kept) < len(stream):
        index, segment_of = kept, np.unique(stream.segment_of[kept], return_inverse=True)[1]
    else:
        return stream, kept
    lasts = _seconds_of_frame(stream)[index]
    digest = hashlib.sha256(json.dumps([stream.digest, asdict(order)], sort_keys=True).encode())
    digest.update(np.stack([index, segment_of]).astype("<i8").tobytes())
    made = replace(
        stream,
        video_of=stream.video_of[index],
        frame_of=stream.frame_of[index],
        seconds=np.concatenate([[0.0], np.cumsum(lasts)[:-1]]),
        segment_of=segment_of.astype(np.int64),
        digest=digest.hexdigest(),
    )
    return made, index


def sequence_length(stream: Stream, order: StreamOrder) -> int | None:
    """Return the length of a stretch in sampled frames; None if the order does not set it.

    Raises:
        ValueError: the length is given in minutes, but the videos are sampled at different rates.
    """
    if order.sequence_minutes is None:
        return order.sequence_positions
    same_video = np.diff(stream.video_of) == 0
    gaps, videos = np.diff(stream.seconds)[same_video], stream.video_of[1:][same_video]
    typical = {int(video): float(np.median(gaps[videos == video])) for video in np.unique(videos)}
    if not typical:
        raise ValueError(
            "dataset.order.sequence_minutes needs videos of at least two sampled frames; lower dataset.stride"
        )
    slow, fast = max(typical, key=lambda v: typical[v]), min(typical, key=lambda v: typical[v])
    if typical[slow] > SAME_RATE * typical[fast]:
        raise ValueError(
            f"{stream.videos[slow].stem} is sampled every {typical[slow]:.3g} s and {stream.videos[fast].stem} every "
            f"{typical[fast]:.3g} s, so {order.sequence_minutes} minutes differ in sampled frames; "
            "set dataset.stride_seconds, or dataset.order.sequence_positions instead"
        )
    return max(1, round(order.sequence_minutes * 60 / float(np.median(gaps))))


def _after_skips(stream: Stream, order: StreamOrder) -> np.ndarray:
    """Return int64, the positions that remain after the start of videos is left out."""
    skips = np.zeros(len(stream.videos))
    for pattern, minutes in order.skip_minutes.items():
        found = [number for number, video in enumerate(stream.videos) if fnmatch.fnmatch(video.stem, pattern)]
        if not found:
            names = ", ".join(video.stem for video in stream.videos[:5])
            raise ValueError(f"dataset.order.skip_minutes names {pattern}, which matches no video ({names}, ...)")
        skips[found] = minutes * 60
    kept = np.flatnonzero(_seconds_in_video(stream) >= skips[stream.video_of])
    if not len(kept):
        raise ValueError(
            f"dataset.order.skip_minutes={dict(order.skip_minutes)} leave no frame of the stream; lower them"
        )
    return kept


def _groups(stream: Stream, kept: np.ndarray, order: StreamOrder) -> dict[str, np.ndarray]:
    """Return the positions of each group, in order of first appearance."""
    if order.by == "video":
        groups = {video.path.name: kept[stream.video_of[kept] == n] for n, video in enumerate(stream.videos)}
    else:
        if unknown := [v.stem for v, name in zip(stream.videos, stream.domains, strict=True) if not name]:
            raise ValueError(
                f"dataset.order.by=domain, but {len(unknown)} of {len(stream.videos)} videos have no domain "
                f"({', '.join(unknown[:3])}); name it in dataset.domains, or set dataset.order.by=video"
            )
        domains = np.array(stream.domains)[stream.video_of[kept]]
        groups = {name: kept[domains == name] for name in dict.fromkeys(stream.domains)}
    if len(groups) < 2:
        raise ValueError(
            f"dataset.order.kind=alternate needs at least two {order.by}s and finds only {', '.join(groups)}; "
            f"set dataset.order.kind=concatenate{', or by=video' if len(stream.videos) > 1 else ''}"
        )
    return groups


def _alternate(
    groups: Mapping[str, np.ndarray], seconds_of_frame: np.ndarray, order: StreamOrder, length: int | None
) -> list[np.ndarray]:
    """Return the positions of each stretch, period by period."""
    shortest = min(groups, key=lambda name: len(groups[name]))
    num_frames = len(groups[shortest])
    periods = order.periods or max(1, num_frames // (length or 1))
    if num_frames < periods * (length or 1):
        minutes = float(seconds_of_frame[groups[shortest]].sum()) / 60
        raise ValueError(
            f"{order.by} {shortest} has {counted(num_frames, 'sampled frame')} ({minutes:.1f} minutes), but "
            f"{periods} periods of "
            f"{length or 'at least 1'} need {periods * (length or 1)}; lower dataset.order.periods "
            f"(at most {num_frames // (length or 1)}), the length of a sequence, or dataset.stride"
        )
    if length is None:
        parts = {name: np.array_split(positions, periods) for name, positions in groups.items()}
    else:
        parts = {name: np.split(group[: periods * length], periods) for name, group in groups.items()}
    return [stretches[period] for period in range(periods) for stretches in parts.values()]


def _seconds_in_video(stream: Stream) -> np.ndarray:
    """Return float64 [N], the time of each sampled frame since the start of its video."""
    seconds = np.empty(len(stream))
    for number, video in enumerate(stream.videos):
        here = stream.video_of == number
        seconds[here] = video.seconds[stream.frame_of[here]]
    return seconds


def _seconds_of_frame(stream: Stream) -> np.ndarray:
    """Return float64 [N], the time from each sampled frame to the next one of its video, or to the end of the video."""
    begins = _seconds_in_video(stream)
    ends = np.array([video.duration_seconds for video in stream.videos])[stream.video_of]
    is_followed = np.append(np.diff(stream.video_of) == 0, False)
    ends[is_followed] = begins[1:][is_followed[:-1]]
    lasts: np.ndarray = np.maximum(ends - begins, 0.0)
    return lasts
