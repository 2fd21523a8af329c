"""Several streams at the same time: the videos of a data set divided into streams, and these merged by time."""

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from odkd.common.names import counted
from odkd.data.video.stream import Stream


@dataclass(frozen=True)
class Merged:
    """Streams that come at the same time, as one.

    Args:
        stream: their frames in the order of time; of frames of one moment, those of the first stream come first.
        index_P: int64 [P], the position in the data set's stream of each of its positions.
        stream_of_P: int64 [P], the number of the stream of each position.
        arrivals: float64 [P], when each position arrives, in seconds.
        is_whole: they are all of the data set, in its order.
    """

    stream: Stream
    index_P: np.ndarray
    stream_of_P: np.ndarray
    arrivals: np.ndarray
    is_whole: bool


def divide(stream: Stream, patterns: Mapping[str, str | Sequence[str]] | None) -> dict[str, np.ndarray]:
    """Return the positions of each stream of a data set, int64, by its name; videos of a stream follow one another.

    Args:
        stream: of the data set, one video after the other.
        patterns: name of a stream -> patterns of its videos' names; None = each video is a stream, by its name.

    Raises:
        ValueError: a video belongs to no stream or to two, a stream has no video, or a video is cut into pieces.
    """
    names = [video.stem for video in stream.videos]
    if (cut := _cut_video(stream)) is not None:
        raise ValueError(
            f"dataset.order cuts the video {names[cut]} into pieces; streams are made of whole videos: leave it out"
        )
    wanted = {name: name for name in names} if patterns is None else dict(patterns)
    if not wanted:
        raise ValueError('stage.streams={} has no stream; expected {name: pattern of videos}, such as {front: "f_*"}')
    found: dict[str, np.ndarray] = {}
    owner: dict[int, str] = {}
    for name, pattern in wanted.items():
        ones = [pattern] if isinstance(pattern, str) else list(pattern)
        videos = [n for n, video in enumerate(names) if any(fnmatch.fnmatchcase(video, one) for one in ones)]
        if twice := [n for n in videos if n in owner]:
            raise ValueError(
                f"stage.streams: the video {names[twice[0]]} is in {owner[twice[0]]} and in {name}; "
                "change a pattern so that each video is in one stream"
            )
        owner |= dict.fromkeys(videos, name)
        found[name] = np.flatnonzero(np.isin(stream.video_of, videos))
        if not len(found[name]):
            raise ValueError(f"stage.streams.{name}={pattern}: no sampled video matches ({', '.join(names[:3])}, ...)")
    if left := [video for n, video in enumerate(names) if n not in owner and (stream.video_of == n).any()]:
        raise ValueError(
            f"stage.streams: {counted(len(left), 'video')} in no stream, the first is {left[0]}; "
            "add a pattern, or leave videos out with dataset.start and dataset.stop"
        )
    return found


def merge(stream: Stream, parts: Sequence[np.ndarray], arrivals: Callable[[np.ndarray], np.ndarray]) -> Merged:
    """Merge streams by time; each begins with its first frame, at 0 s.

    Args:
        stream: of the data set.
        parts: the positions of each stream in it.
        arrivals: returns when frames arrive, from their times in a stream.
    """
    own = [arrivals(_seconds(stream, part)) for part in parts]
    own = [times - times[0] for times in own]
    times, index = np.concatenate(own), np.concatenate(parts)
    numbers = np.repeat(np.arange(len(parts)), [len(part) for part in parts])
    by_time = np.lexsort((numbers, times))
    index_P = index[by_time]
    if np.array_equal(index_P, np.arange(len(stream))):
        return Merged(stream, index_P, numbers[by_time], times[by_time], is_whole=True)
    seconds = np.concatenate([_seconds(stream, part) for part in parts])[by_time]
    segments = np.unique(stream.segment_of[index_P], return_inverse=True)[1] if len(parts) == 1 else 0 * index_P
    made = replace(
        stream,
        video_of=stream.video_of[index_P],
        frame_of=stream.frame_of[index_P],
        seconds=seconds,
        segment_of=segments.astype(np.int64),
    )
    return Merged(made, index_P, numbers[by_time], times[by_time], is_whole=False)


def _seconds(stream: Stream, part: np.ndarray) -> np.ndarray:
    """Return the time in a stream of each of its positions: duration of earlier videos + time in the current one."""
    if len(part) == len(stream):
        return stream.seconds
    seconds, before = np.empty(len(part)), 0.0
    for video in dict.fromkeys(stream.video_of[part].tolist()):
        here = stream.video_of[part] == video
        seconds[here] = before + stream.videos[video].seconds[stream.frame_of[part][here]]
        before += stream.videos[video].duration_seconds
    return seconds


def _cut_video(stream: Stream) -> int | None:
    """Return the number of a video whose frames do not follow one another; None if there is none."""
    begins = np.flatnonzero(np.append(True, np.diff(stream.video_of) != 0))
    order = stream.video_of[begins].tolist()
    return next((video for place, video in enumerate(order) if video in order[:place]), None)
