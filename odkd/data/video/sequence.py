"""The order of frames where timestamps do not give it: recordings joined end to end, files without times of display.

Elsewhere a frame's number is the rank of its timestamp. In these files frame k is the k-th picture of a plain decode of
the file. The complete file is decoded once, and each frame is found again by the place of its packet in the file.
"""

from __future__ import annotations  # Packet[VideoStream] exists in PyAV's type stubs alone

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from odkd.common.names import counted
from odkd.common.reading import open_file
from odkd.data.video.damage import HELD_BACK

MAX_REORDER = 16  # pictures by which H.264 and HEVC show a picture later than they decode it, at most
WRAPPED_TICKS = 2**32  # MPEG streams count to 2**33; FFmpeg adds 2**33 to times that begin again below the first
LONGEST_LOSS_SECONDS = 10.0  # a longer gap where a container misses data is the pause between two recordings
WRAPPING = ("mpegts", "mpeg")  # FFmpeg's names of these containers
SEARCHED_BYTES = 2**24  # behind the last packet: room for an index of the file
# MP4 with its kind in four letters, FLV with its version and streams, ASF (WMV)
BEGINNINGS = re.compile(rb"ftyp[A-Za-z0-9 ]{4}|FLV\x01[\x00-\x05]\x00\x00\x00\x09|\x30\x26\xb2\x75\x8e\x66\xcf\x11")


class UnknownOrderError(ValueError):
    """An error for a file in which frames and packets cannot be told from each other."""


def joints_of(
    pts: Sequence[int],
    dts: Sequence[int],
    is_key: Sequence[bool],
    *,
    container: str,
    holes: Sequence[int] = (),
    time_base: Fraction = Fraction(1),
) -> list[int]:
    """Return the places of the packets with which another recording begins: the times of the file begin again or jump.

    Within a recording a keyframe is shown after all frames that were decoded before it, and times of decoding ascend.

    Args:
        pts: ticks at which the frames are shown, in the order of the file.
        dts: ticks at which they are decoded.
        is_key: True for keyframes.
        container: FFmpeg's name of the format.
        holes: places before which the container misses data.
        time_base: seconds per tick.

    >>> joints_of([0, 2, 1, 0, 2, 1], [0, 1, 2, 0, 1, 2], [True, False, False] * 2, container="mpegts")
    [3]
    """
    if len(pts) < 2:
        return []
    longest_loss = float(LONGEST_LOSS_SECONDS / time_base)
    far_back = MAX_REORDER * float(np.median(np.abs(np.diff(dts))))
    joints, latest = [], pts[0]
    for place in range(1, len(pts)):
        begins_again = is_key[place] and pts[place] <= latest
        begins_again |= dts[place] < dts[place - 1] - far_back
        begins_again |= container in WRAPPING and pts[place] - latest > WRAPPED_TICKS
        is_far = pts[place] - latest > longest_loss
        begins_again |= is_far and any(abs(place - hole) <= HELD_BACK for hole in holes)
        if begins_again:
            joints.append(place)
        latest = pts[place] if begins_again else max(latest, pts[place])
    return joints


def decoded_order(
    container: av.container.InputContainer, stream: av.VideoStream
) -> tuple[list[int], set[tuple[int, int]]]:
    """Decode a file from start to end; return the place of the packet of each picture, and the pictures' sizes.

    Raises:
        UnknownOrderError: the decoder returns two pictures for one packet.
    """
    places: list[int] = []
    sizes: set[tuple[int, int]] = set()
    for place, packet in enumerate(itertools.chain(packets_of(container, stream), [None])):
        if packet is not None:
            packet.pts = place  # which the decoder passes on to the picture
        try:
            pictures = stream.codec_context.decode(packet)
        except av.error.FFmpegError:
            continue  # decode.py handles damage
        places += [picture.pts for picture in pictures if picture.pts is not None]
        sizes |= {(picture.width, picture.height) for picture in pictures}
    if len(set(places)) < len(places):
        raise UnknownOrderError("the decoder returns two pictures for one packet")
    return places, sizes


def order_warnings(num_joints: int, num_packets: int, num_shown: int, sizes: set[tuple[int, int]]) -> list[str]:
    """Return what is to be said of a file whose frames are taken in the order of the file.

    Args:
        num_joints: places at which the times begin again.
        num_packets: of the file.
        num_shown: frames that the decoder returns.
        sizes: (width, height) of these.
    """
    warnings = []
    if num_joints:
        warnings.append(
            f"its times begin again or jump {counted(num_joints, 'time')}, as in recordings joined end to end; its "
            f"{counted(num_shown, 'frame')} are taken in the order of the file"
        )
    if num_joints and num_shown < num_packets:
        warnings.append(
            f"{num_packets - num_shown} of its {num_packets} packets give no frame, as where a recording with another "
            "codec follows"
        )
    if len(sizes) > 1:
        names = ", ".join(f"{width}x{height}" for width, height in sorted(sizes))
        warnings.append(f"its frames have different sizes ({names}) and are all brought to that of the first")
    return warnings


def packets_of(container: av.container.InputContainer, stream: av.VideoStream) -> Iterator[av.Packet[av.VideoStream]]:
    """Yield the packets of a stream as far as the file can be read; index_video has warned about its end."""
    try:
        for packet in container.demux(stream):
            if packet.size:
                yield packet
    except av.error.FFmpegError:
        return


def continued(pts: Mapping[int, int], joints: Sequence[int], shown: Sequence[int]) -> list[int]:
    """Return strictly ascending times, in ticks, of the frames whose packets lie at the places `shown`, in this order.

    The times are those of the file, in ascending order within a recording. A recording whose times begin again
    follows the one before it at the usual distance of two frames.

    Args:
        pts: place of a packet in the file -> its timestamp. A packet without one has that of the packet before it.
        joints: the places at which recordings begin.
        shown: places, in the order in which the frames are shown.

    >>> continued({0: 0, 1: 4, 2: 2, 3: 0, 4: 4, 5: 2}, [3], [0, 2, 1, 3, 5, 4])
    [0, 2, 4, 6, 8, 10]
    """
    known = sorted(pts)
    before_F = np.maximum(np.searchsorted(known, shown, side="right") - 1, 0)
    pts_F = np.asarray([pts[known[before]] for before in before_F], np.int64)
    recording_F = np.searchsorted(joints, shown, side="right")
    parts = [np.sort(pts_F[recording_F == recording]) for recording in np.unique(recording_F)]
    steps = np.concatenate([np.diff(part) for part in parts])
    usual = max(1, int(np.median(steps[steps > 0]))) if np.any(steps > 0) else 1
    times = parts[0]
    for before, part in itertools.pairwise(parts):
        pause = int(part[0] - before[-1])
        times = np.append(times, part - part[0] + times[-1] + (pause if 0 < pause <= WRAPPED_TICKS else usual))
    rank = np.arange(len(times))
    return [int(time) for time in np.maximum.accumulate(times - rank) + rank]  # frames of one time: a tick apart


def is_followed_by_another(path: Path, end: int) -> bool:
    """Return True if another file begins behind the last packet, which ends at byte `end`; FFmpeg never reads it."""
    with open_file(path) as file:
        file.seek(end)
        return bool(BEGINNINGS.search(file.read(SEARCHED_BYTES)))


def is_at_joint(place: int, joints: Sequence[int]) -> bool:
    """Return True if a container may call a packet damaged only because another recording begins there."""
    return any(joint - HELD_BACK <= place <= joint for joint in joints)
