"""The index of a video file: the time of each frame, and the frames at which decoding may start."""

from __future__ import annotations  # Packet[VideoStream] exists in PyAV's type stubs alone

import logging
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, Literal

import av
import numpy as np

from odkd.common.files import json_digest
from odkd.common.notes import file_digest, remembered
from odkd.common.progressions import packed, unpacked
from odkd.data.video.scan import scan_video

logger = logging.getLogger(__name__)

INDEX_VERSION = f"4 pyav-{av.__version__}"  # part of the cache key: change the number when the index changes


@dataclass(frozen=True)
class VideoIndex:
    """The facts about one video. A frame is identified by its timestamp; its number is the rank of the timestamp.

    `rotation` turns a decoded picture upright, in degrees counterclockwise, before left and right are swapped.
    Where the timestamps of the file do not order its frames, `packets` says which frame a packet of the file holds, and
    `pts` are times that odkd gave them (`odkd.data.video.sequence`). `keyframes` are the frame numbers at which
    decoding may start. Frames before the first keyframe can be reached only from the start of the file, if at all (a
    cut by edit list).
    """

    path: Path
    digest: str  # sha256 hex of the file's bytes, and of how they are read if that is not the usual way
    width: int  # displayed size in pixels, after rotation
    height: int  # likewise
    rotation: int  # 0, 90, 180 or 270
    time_base: Fraction  # seconds per tick of `pts`
    pts: np.ndarray  # int64 [F], ascending
    keyframes: np.ndarray  # int64 [G], ascending
    lost: tuple[int, ...] = ()  # numbers of frames that are known to be missing from a damaged file
    is_mirrored: bool = False
    packets: np.ndarray | None = (
        None  # int64 [all packets]: frame numbers, -1 for none; None: timestamps order the frames
    )
    joints: tuple[int, ...] = ()  # places of the packets with which the times begin again
    library: Literal["pyav", "torchcodec"] = "pyav"  # that decodes it

    pixel_aspect: Fraction = Fraction(1)  # width / height of a pixel as displayed, after rotation

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """The (height, width) that maps of whole frames may have, up to scale: as stored, and as displayed."""
        stored = (self.height, self.width)
        return list(dict.fromkeys([stored, (self.height, round(self.width * self.pixel_aspect))]))

    @property
    def stem(self) -> str:
        """The file name without its extension."""
        return self.path.stem

    def name_of(self, frame_number: int) -> str:
        """Return the name of a frame, VIDEO/000000."""
        return f"{self.stem}/{frame_number:06d}"

    @property
    def num_frames(self) -> int:
        """The number of frames."""
        return len(self.pts)

    @property
    def seconds(self) -> np.ndarray:
        """float64 [F]: the time of each frame since the first one."""
        return np.asarray((self.pts - self.pts[0]) * float(self.time_base), np.float64)

    @property
    def duration_seconds(self) -> float:
        """The time from the first frame to the end of the last, whose length is taken from the median frame."""
        return float(self.seconds[-1] + np.median(np.diff(self.seconds))) if self.num_frames > 1 else 0.0


def index_video(path: Path, cache: Path) -> VideoIndex:
    """Index a video by reading its packets once; afterwards read the index from `cache`/videos.

    Only packets count, not what the header states. Warns if the file ends early.

    Raises:
        ValueError: the file cannot be read as a video, or its frames have no usable timestamps.
    """
    path = path.absolute()
    status = path.stat()
    key = json_digest([INDEX_VERSION, str(path), status.st_size, status.st_mtime_ns])
    cached = cache / "videos" / f"{key}.json"

    def scan() -> dict[str, Any]:
        scanned = scan_video(path)
        scanned["digest"] = _digest(file_digest(path, cache), scanned)
        for name in ("pts", "keyframes"):  # of a video with a million frames, a few numbers in place of so many texts
            scanned |= packed(name, np.asarray(scanned.pop(name), np.int64))
        return scanned

    facts = remembered(cached, scan)
    for warning in facts["warnings"]:
        logger.warning("%s: %s", path, warning)
    return VideoIndex(
        path=path,
        digest=facts["digest"],
        width=facts["width"],
        height=facts["height"],
        rotation=facts["rotation"],
        time_base=Fraction(facts["time_base"]),
        pts=unpacked("pts", facts),
        keyframes=unpacked("keyframes", facts),
        lost=tuple(facts["lost"]),
        is_mirrored=facts["mirrored"],
        packets=None if facts["packets"] is None else np.asarray(facts["packets"], np.int64),
        joints=tuple(facts["joints"]),
        pixel_aspect=Fraction(facts["pixel_aspect"]),
    )


def _digest(of_file: str, scanned: dict[str, Any]) -> str:
    """Return the digest of a video. Earlier releases stored wrong frames and labels of some kinds of files."""
    ways = ["mirrored"] * scanned["mirrored"] + ["in the order of packets"] * (scanned["packets"] is not None)
    return json_digest([of_file, *ways]) if ways else of_file
