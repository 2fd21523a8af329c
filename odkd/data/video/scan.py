"""A scan of all packets of a video file, to find its real content as opposed to what its header states."""

from __future__ import annotations  # Packet[VideoStream] exists in PyAV's type stubs alone

import itertools
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import av.logging
import numpy as np

from odkd.common.names import counted
from odkd.data.video.container import open_container
from odkd.data.video.orientation import angle_of, orientation_of
from odkd.data.video.sequence import (
    MAX_REORDER,
    UnknownOrderError,
    continued,
    decoded_order,
    is_followed_by_another,
    joints_of,
    order_warnings,
)

NUM_CHECKED = 48  # pictures decoded to check that timestamps are in order
MAX_BLOCK_HEADER = 256  # bytes; Matroska writes 6 to 50 between two packets


class UnreadableVideoError(ValueError):
    """An error for a file that cannot be used as a video; a stream leaves it out."""


@dataclass
class _Packets:
    """The facts about a file's packets, in decoding order."""

    pts: list[int] = field(default_factory=list)
    dts: list[int] = field(default_factory=list)
    is_key: list[bool] = field(default_factory=list)
    places: list[int] = field(default_factory=list)  # in the file, counted over all its packets
    holes: list[int] = field(default_factory=list)  # indices into `pts` of packets before which data was lost
    shown: list[int] = field(default_factory=list)  # pts of the first pictures, in the order the decoder returns them
    shape: tuple[int, int, int, bool] | None = None  # of the first picture: width, height, rotation, is mirrored
    angle: int = 0  # of the first picture, degrees counterclockwise
    num_packets: int = 0
    num_without_time: int = 0
    end_seconds: float = 0.0  # of all streams
    end_byte: int = 0  # likewise
    error: str = ""


def open_video(path: Path, num_threads: int = 1) -> tuple[av.container.InputContainer, av.VideoStream]:
    """Open a file and select its video stream; the caller closes the container.

    Raises:
        UnreadableVideoError: the file is no video that can be decoded.
    """
    av.logging.set_level(None)  # PyAV's default; torchvision's import passes FFmpeg's complaints on to the user's log
    try:
        container = open_container(path, {"fflags": "+genpts"})  # AVI files have no timestamps
    except (av.error.FFmpegError, ValueError) as error:
        raise UnreadableVideoError(f"{path} cannot be read as a video ({error}); repair or remove it") from error
    stream = container.streams.best("video")
    if not isinstance(stream, av.VideoStream) or stream.codec_context is None:
        container.close()
        raise UnreadableVideoError(f"{path} contains no video that can be decoded; remove it")
    # Frame threads would attribute damage to the wrong packet, and can hang when left early (PyAV #1849).
    stream.codec_context.thread_type = "SLICE"
    stream.codec_context.thread_count = num_threads
    return container, stream


def scan_video(path: Path) -> dict[str, Any]:
    """Return the fields of a VideoIndex and `warnings`, ready for JSON.

    Raises:
        UnreadableVideoError: the file contains no usable frame.
    """
    container, stream = open_video(path)
    with container:
        # These are not available after the container is closed.
        time_base, num_promised, pixel = stream.time_base, stream.frames, stream.sample_aspect_ratio
        # Matroska headers have no frame count but a duration. In other headers without a count, FFmpeg estimates the
        # duration.
        has_duration = "matroska" in container.format.name and container.duration is not None
        promised_seconds = (container.duration or 0) / av.time_base if has_duration else 0.0
        assert time_base is not None
        found = _read_packets(container, stream)
        can_reorder = container.format.name == "avi" and stream.codec_context.has_b_frames
        joints = joints_of(
            found.pts,
            found.dts,
            found.is_key,
            container=container.format.name,
            holes=found.holes,
            time_base=time_base,
        )
    num_disordered = sum(later <= earlier for earlier, later in itertools.pairwise(found.shown))
    # Frames come out in another order than they went in, and the timestamps know nothing of it.
    has_no_times = _is_ascending(found.pts) and (can_reorder or num_disordered > 0)
    is_doubtful = joints or has_no_times or len(set(found.pts)) < len(found.pts)
    if found.num_packets and (not found.pts or (num_disordered > NUM_CHECKED // 10 and not is_doubtful)):
        raise UnreadableVideoError(f"{path}: its frames have no usable timestamps; convert it to .mp4 or .mkv")
    if found.shape is None:
        raise UnreadableVideoError(f"{path}: no frame can be decoded; repair or remove it")
    warnings = _warnings(path, found, num_promised, promised_seconds)
    order = _order(path, found, joints, warnings) if is_doubtful else {}
    lost = [] if order else _lost_frames(found)
    pts = np.asarray(order["pts"]) if order else np.unique([*found.pts, *lost])
    if found.num_without_time and not order:
        warnings.append(f"{found.num_without_time} of its frames have no timestamp and are left out")
    if lost:
        first, last = (float((time - pts[0]) * time_base) for time in (min(lost), max(lost)))
        warnings.append(f"about {counted(len(lost), 'frame')} lost between {first:.2f} s and {last:.2f} s")
    if warnings:
        warnings[-1] += f"; it is used up to {float((pts[-1] - pts[0]) * time_base):.2f} s"
    width, height, rotation, is_mirrored = found.shape
    return {
        "width": height if rotation % 180 else width,
        "height": width if rotation % 180 else height,
        "rotation": rotation,
        "mirrored": is_mirrored,
        "pixel_aspect": str((1 / pixel if rotation % 180 else pixel) if pixel else 1),
        "time_base": str(time_base),
        "pts": pts.tolist(),
        "keyframes": np.searchsorted(pts, np.unique(np.compress(found.is_key, found.pts))).tolist(),
        "lost": np.searchsorted(pts, lost).tolist(),
        "packets": None,
        "joints": [],
        "warnings": warnings,
        **order,
    }


def _warnings(path: Path, found: _Packets, num_promised: int, promised_seconds: float) -> list[str]:
    warnings = [found.error] if found.error else []
    if found.num_packets < num_promised:
        warnings.append(f"its header promises {counted(num_promised, 'frame')}, but it ends after {found.num_packets}")
    elif promised_seconds > found.end_seconds + 0.5:
        warnings.append(f"its header promises {promised_seconds:.1f} s, but it ends early")
    if is_followed_by_another(path, found.end_byte):
        warnings.append("another file was joined to its end, which FFmpeg does not read; join them by ffmpeg -f concat")
    if found.shape and found.angle % 90:
        turns = f"its display matrix turns it by {found.angle} degrees; odkd turns only by quarters, here by"
        warnings.append(f"{turns} {found.shape[2]}")
    return warnings


def _order(path: Path, found: _Packets, joints: list[int], warnings: list[str]) -> dict[str, Any]:
    """Return the fields of a file whose timestamps do not order its frames; nothing if they do.

    Raises:
        UnreadableVideoError: the order cannot be found.
    """
    container, stream = open_video(path)
    with container:
        try:
            shown, sizes = decoded_order(container, stream)
        except UnknownOrderError as error:
            raise UnreadableVideoError(
                f"{path}: its timestamps do not tell the order of its frames ({error}); convert it to .mp4 or .mkv"
            ) from error
    time_of = dict(zip(found.places, found.pts, strict=True))
    if not joints and [time_of.get(place) for place in shown] == sorted(set(found.pts)):
        return {}
    warnings += order_warnings(len(joints), found.num_packets, len(shown), sizes)
    begins = [found.places[joint] for joint in joints]
    numbers = np.full(found.num_packets, -1)
    numbers[shown] = np.arange(len(shown))
    keys = numbers[np.compress(found.is_key, found.places)]
    return {
        "pts": continued(time_of, begins, shown),
        "keyframes": np.unique(keys[keys >= 0]).tolist(),
        "packets": numbers.tolist(),
        "joints": begins,
    }


def _is_ascending(times: list[int]) -> bool:
    return all(earlier < later for earlier, later in itertools.pairwise(times))


def _read_packets(container: av.container.InputContainer, stream: av.VideoStream) -> _Packets:
    found = _Packets()
    previous_end: int | None = None  # byte after the previous packet (Matroska only)
    try:
        for packet in container.demux():
            if packet.pts is not None and packet.size:
                end = (packet.pts + (packet.duration or 0)) * packet.time_base
                found.end_seconds = max(found.end_seconds, float(end))
            found.end_byte = max(found.end_byte, (packet.pos or 0) + packet.size)
            is_after_hole = packet.is_corrupt
            if packet.pos is not None and "matroska" in container.format.name:
                is_after_hole |= previous_end is not None and packet.pos > previous_end + MAX_BLOCK_HEADER
                previous_end = packet.pos + packet.size
            if packet.stream_index != stream.index:
                continue
            if found.num_packets < NUM_CHECKED or found.shape is None:
                for picture in _decode(stream, packet if packet.size else None):
                    if found.shape is None:
                        found.shape = (picture.width, picture.height, *orientation_of(picture))
                        found.angle = angle_of(picture)
                    found.shown.append(picture.pts or 0)
            if not packet.size:
                continue
            found.num_packets += 1
            found.num_without_time += packet.pts is None
            if packet.pts is None or packet.is_discard:  # discard: removed by an edit list
                continue
            if is_after_hole:
                found.holes.append(len(found.pts))
            found.dts.append(packet.pts if packet.dts is None else packet.dts)
            found.is_key.append(packet.is_keyframe)
            found.places.append(found.num_packets - 1)
            found.pts.append(packet.pts)
    except av.error.FFmpegError as error:
        found.error = f"it cannot be read to its end ({error})"
    return found


def _decode(stream: av.VideoStream, packet: Any) -> list[av.VideoFrame]:
    try:
        return stream.codec_context.decode(packet)
    except av.error.FFmpegError:
        return []  # decode.py handles damage


def _lost_frames(found: _Packets) -> list[int]:
    """Return the timestamps that are missing next to holes in the file, for frames at a constant distance.

    Lost frames keep their numbers, so that labels stored by frame number still fit the frames after a hole.
    """
    lost: list[int] = []
    times = np.unique(found.pts)
    for hole in found.holes:
        if hole == len(found.pts) - 1:  # the file is cut here: no later frame could get a wrong number
            continue
        near = found.pts[max(hole - MAX_REORDER, 0) : hole + MAX_REORDER]
        around = times[(times >= min(near)) & (times <= max(near))]
        for earlier, later in itertools.pairwise(around.tolist()):
            num_steps = round((later - earlier) / np.median(np.diff(times)))
            lost += [round(earlier + (later - earlier) * step / num_steps) for step in range(1, num_steps)]
    return sorted(set(lost))
