"""The stream: the videos of a folder in natural order, sampled as if they were one long video."""

import hashlib
import itertools
import logging
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Literal

import numpy as np

from odkd.common.names import counted
from odkd.common.progress import tracked
from odkd.data.video.image_index import Source
from odkd.data.video.index import VideoIndex, index_video
from odkd.data.video.listing import list_videos, log_unused
from odkd.data.video.scan import UnreadableVideoError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stream:
    """The sampled frames of a list of videos; position p is frame `frame_of[p]` of video `video_of[p]`.

    A segment is a stretch of constant domain. If the domains are unknown, each video is a segment.
    `odkd.data.video.order` reorders streams and sets their segments.
    """

    videos: tuple[Source, ...]  # or collections of images, which serve as videos
    domains: tuple[str, ...]  # one per video, "" if unknown
    video_of: np.ndarray  # int64 [N]
    frame_of: np.ndarray  # int64 [N]
    seconds: np.ndarray  # float64 [N]: duration of earlier videos + time in the current one
    segment_of: np.ndarray  # int64 [N]: 0, ..., 0, 1, ..., 1, 2, ...
    digest: str  # of the content of the videos, the sampled frame numbers and, if it was changed, the order

    def __len__(self) -> int:
        return len(self.video_of)

    @cached_property
    def segments(self) -> list[range]:
        """The positions of each segment."""
        cuts = np.searchsorted(self.segment_of, np.arange(int(self.segment_of[-1]) + 2)).tolist()
        return [range(begin, end) for begin, end in itertools.pairwise(cuts)]

    def domain_of(self, position: int) -> str:
        """Return the name of the domain at a position; "" if unknown."""
        return self.domains[int(self.video_of[position])]

    def domain_began(self, position: int) -> int:
        """Return the first position of the run of the domain that a position belongs to."""
        return int(self._domain_begins[np.searchsorted(self._domain_begins, position, side="right") - 1])

    @cached_property
    def _domain_begins(self) -> np.ndarray:
        """int64 [n], ascending: the positions at which a run of one domain begins."""
        number_of = {name: number for number, name in enumerate(dict.fromkeys(self.domains))}
        domain_of = np.array([number_of[name] for name in self.domains])[self.video_of]
        return np.append(0, np.flatnonzero(np.diff(domain_of)) + 1)

    @cached_property
    def frames_before(self) -> list[int]:
        """The number of frames of all videos before each video."""
        return [0, *itertools.accumulate(video.num_frames for video in self.videos)][:-1]

    def name_of(self, position: int) -> str:
        """Return the unique name of a position: VIDEO/000000, or the image's file below the dataset's folder."""
        return self.videos[int(self.video_of[position])].name_of(int(self.frame_of[position]))

    def frames_of_video(self, video: int) -> np.ndarray:
        """Return int64 [n], the sampled frame numbers of one video, ascending."""
        return np.asarray(self.frame_of[self.video_of == video], np.int64)

    def without(self, damaged: Collection[tuple[int, int]]) -> "Stream":
        """Return the stream without these (video, frame number) pairs; video numbers and frame times do not change."""
        drop = set(damaged)
        if not drop:
            return self
        pairs = zip(self.video_of.tolist(), self.frame_of.tolist(), strict=True)
        keep = np.asarray([pair not in drop for pair in pairs], bool)
        if keep.all():
            return self
        return replace(
            self,
            video_of=self.video_of[keep],
            frame_of=self.frame_of[keep],
            seconds=self.seconds[keep],
            segment_of=np.unique(self.segment_of[keep], return_inverse=True)[1].astype(np.int64),
            digest=hashlib.sha256(self.digest.encode() + np.flatnonzero(keep).astype("<i8").tobytes()).hexdigest(),
        )


def open_stream(
    folder: Path,
    *,
    stride: int,
    stride_seconds: float | None = None,
    start: int | None = None,
    stop: int | None = None,
    domains: Mapping[str, str],
    cache: Path,
    library: Literal["pyav", "torchcodec"] = "pyav",
) -> Stream:
    """Index the videos `[start:stop]` of a folder and sample them; unreadable videos are left out with a warning.

    Args:
        stride: in frames: 0, s, 2s, ..., floor(frames / s) of them per video, as in the reference code.
        stride_seconds: replaces `stride` if given: the first frame at or after each multiple of it, for videos of
            variable frame rate.
        domains: video stem -> name of its domain.
        library: that decodes the videos.

    Raises:
        ValueError: an invalid stride, or no frame remains.
    """
    if stride_seconds is None and stride < 1:
        raise ValueError(f"dataset.stride={stride}; expected at least 1 frame")
    if stride_seconds is not None and not stride_seconds > 0:
        raise ValueError(f"dataset.stride_seconds={stride_seconds}; expected more than 0 seconds, or null")
    videos: list[VideoIndex] = []
    paths = list_videos(folder, start, stop)
    log_unused(folder)
    for path in tracked(paths, "indexed", "videos"):
        try:
            videos.append(replace(index_video(path, cache), library=library))
        except UnreadableVideoError as error:
            logger.warning("left out: %s", error)
    if not videos:
        raise ValueError(f"no video of {folder} can be read ({len(paths)} tried); see the warnings above")
    sampled = [sample(video, stride=stride, stride_seconds=stride_seconds) for video in videos]
    video_of = np.repeat(np.arange(len(videos)), [len(frames) for frames in sampled])
    if not len(video_of):
        raise ValueError(
            f"a stride of {stride_seconds or stride} {'seconds' if stride_seconds else 'frames'} exceeds "
            f"every video of {folder} (longest: {counted(max(video.num_frames for video in videos), 'frame')}, "
            f"{max(video.duration_seconds for video in videos):.1f} s); lower dataset.stride"
        )
    for video, frames in zip(videos, sampled, strict=True):
        if not len(frames):
            logger.warning(
                "left out: %s has %s, fewer than a stride of %s",
                *(video.path, counted(video.num_frames, "frame"), stride_seconds or stride),
            )
    names = tuple(domains.get(video.stem, "") for video in videos)
    return make_stream(tuple(videos), names, video_of, np.concatenate(sampled))


def no_stream() -> Stream:
    """Return the stream of a run whose frames come from a camera: it has no videos."""
    nothing = np.zeros(0, np.int64)
    return Stream((), (), nothing, nothing, nothing.astype(np.float64), nothing, hashlib.sha256(b"camera").hexdigest())


def sample(video: Source, *, stride: int, stride_seconds: float | None) -> np.ndarray:
    """Return int64 [n], the frame numbers that are sampled from one video."""
    if stride_seconds is None:
        return np.arange(video.num_frames // stride, dtype=np.int64) * stride
    half_tick = float(video.time_base) / 2  # containers round timestamps to ticks
    num_samples = int((video.duration_seconds + half_tick) / stride_seconds)
    frames = np.searchsorted(video.seconds, np.arange(num_samples) * stride_seconds - half_tick)
    return np.unique(frames[frames < video.num_frames]).astype(np.int64)


def make_stream(
    videos: tuple[Source, ...], domains: tuple[str, ...], video_of: np.ndarray, frame_of: np.ndarray
) -> Stream:
    """Return the stream of these frames of these videos, one video after the other."""
    begins = np.cumsum([0.0, *(video.duration_seconds for video in videos)])
    seconds = np.empty(len(video_of), np.float64)
    for number, video in enumerate(videos):
        here = video_of == number
        seconds[here] = begins[number] + video.seconds[frame_of[here]]
    first_of: dict[str | int, int] = {}
    scene_of = np.array([first_of.setdefault(name or n, n) for n, name in enumerate(domains)], np.int64)[video_of]
    segment_of = np.append(0, np.cumsum(scene_of[1:] != scene_of[:-1])).astype(np.int64)
    digest = hashlib.sha256("".join(video.digest for video in videos).encode())
    digest.update(np.stack([video_of, frame_of]).astype("<i8").tobytes())
    return Stream(videos, domains, video_of, frame_of, seconds, segment_of, digest.hexdigest())
