"""Exact, sparse decoding: only groups of pictures with a wanted frame are decoded, and damaged pictures are detected.

Detected damage: data that the decoder refuses or flags, pictures that the decoder never returns, holes of zeros. A few
altered bytes that still parse give a wrong picture that cannot be detected, because video formats carry no checksum.
"""

from __future__ import annotations  # Packet[VideoStream] exists in PyAV's type stubs alone

import logging
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from odkd.data.video.damage import DamageTracker, has_hole
from odkd.data.video.image_index import ImageIndex, Source, read_images
from odkd.data.video.index import VideoIndex
from odkd.data.video.orientation import upright
from odkd.data.video.scan import open_video
from odkd.data.video.sequence import is_at_joint, packets_of

logger = logging.getLogger(__name__)
# swscale's flags AREA | ACCURATE_RND | BITEXACT, as numbers because PyAV names the last two only since release 18. AREA
# averages when it shrinks; the other two make the result the same on every processor.
SCALER = 0x20 | 0x40000 | 0x80000
DECODER = "pyav-{} avcodec-{} swscale-{} area".format(
    av.__version__, *(".".join(map(str, av.library_versions[name])) for name in ("libavcodec", "libswscale"))
)


def decoder_of(source: Source) -> str:
    """Return name and versions of a source's reader, which are part of the key of everything made from its frames."""
    return source.decoder if isinstance(source, ImageIndex) else DECODER


def decode_frames(
    index: Source,
    frame_numbers: Sequence[int] | np.ndarray,
    *,
    size: tuple[int, int] | None = None,
    num_threads: int = 2,
) -> Generator[tuple[int, np.ndarray | None]]:
    """Yield (frame number, image) for strictly ascending frame numbers; None where the file is damaged.

    Images are uint8 RGB [H, W, 3], upright, C-contiguous, of `size` = (height, width), by default that of the video. At
    native size they equal `frame.to_ndarray(format="rgb24")` bit for bit. Consecutive groups of pictures are decoded
    in one pass, without seeking. A frame is identified by its timestamp, or by its packet where timestamps do not order
    the frames.
    """
    numbers = np.asarray(frame_numbers, np.int64)
    if not len(numbers):
        return
    assert np.all(np.diff(numbers) > 0), "frame numbers must ascend"
    assert 0 <= numbers[0] <= numbers[-1] < index.num_frames, "frame numbers must be in the video"
    if isinstance(index, ImageIndex):
        yield from read_images(index, numbers, size=size, num_threads=num_threads)
        return
    groups = np.searchsorted(index.keyframes, numbers, side="right") - 1  # -1: before the first keyframe
    group_of = dict(zip(numbers.tolist(), groups.tolist(), strict=True))
    # Where packets are counted from the start of the file, seeking is of no use.
    cuts: np.ndarray | list[int] = np.flatnonzero(np.diff(groups) > 1) + 1 if index.packets is None else []
    runs = np.split(numbers, cuts)
    todo = deque((group_of[run[0]], run) for run in runs)
    with closing(_Decoder(index, size, num_threads)) as decoder:
        while todo:
            start, run = todo.popleft()
            for done, (number, image) in enumerate(decoder.decode(start, run)):
                if image is None and group_of[number] == start > 0:
                    # Some "keyframes" only begin a gradual refresh of the picture: start one keyframe earlier.
                    todo.appendleft((start - 1, run[done:]))
                    break
                yield number, image


class _Decoder:
    """An open video that can be decoded from any of its keyframes on."""

    def __init__(self, index: VideoIndex, size: tuple[int, int] | None, num_threads: int) -> None:
        self.index, self.num_threads = index, num_threads
        self.height, self.width = size or (index.height, index.width)
        if index.rotation % 180:  # the decoder needs the size before rotation
            self.height, self.width = self.width, self.height
        self.reformatter = VideoReformatter()
        self.native = (index.height, index.width) if index.rotation % 180 else (index.width, index.height)
        self.has_one_size = index.packets is None  # otherwise the index has named other sizes
        self.is_joint = False  # the packet that was read last
        self._open(index.path)

    def _open(self, path: Path) -> None:
        self.container, self.stream = open_video(path, self.num_threads)
        self.codec = self.stream.codec_context

    def close(self) -> None:
        self.container.close()

    def decode(self, group: int, numbers: np.ndarray) -> Iterator[tuple[int, np.ndarray | None]]:
        """Decode from a group's keyframe (-1: the start of the file) until all these frames are classified."""
        todo = deque(zip(self.index.pts[numbers].tolist(), numbers.tolist(), strict=True))
        wanted = {pts for pts, _ in todo}
        images: dict[int, np.ndarray] = {}
        is_whole: dict[int, bool] = {}
        lost_after: dict[int, list[int]] = {}  # by keyframe; pts
        for number in self.index.lost:
            key = self.index.keyframes[max(int(np.searchsorted(self.index.keyframes, number)) - 1, 0)]
            lost_after.setdefault(int(self.index.pts[key]), []).append(int(self.index.pts[number]))
        tracker = DamageTracker(lost_after)
        for packet in self._packets_from(group):
            for picture in self._pictures(packet, tracker):
                assert picture.pts is not None
                if picture.pts in wanted:
                    images[picture.pts] = self._to_image(picture)
            is_whole.update((pts, whole) for pts, whole in tracker.settle() if pts in wanted)
            while todo and todo[0][0] in is_whole:
                pts, number = todo.popleft()
                image = images.pop(pts, None)
                yield number, image if is_whole[pts] else None
            if not todo:
                return
        for _, number in todo:  # the file ends before these frames
            yield number, None

    def _packets_from(self, group: int) -> Iterator[av.Packet[av.VideoStream] | None]:
        """Yield packets in decoding order from a keyframe on, then None, upon which the decoder returns the rest."""
        start = None if group < 0 else int(self.index.pts[self.index.keyframes[group]])
        if start is not None and self.index.packets is None:
            self.codec.flush_buffers()
            self.container.seek(start, stream=self.stream)
            packets = self._packets()
            for packet in packets:
                if packet.is_keyframe and packet.pts is not None and packet.pts >= start:
                    if packet.pts > start:
                        break
                    yield packet
                    yield from packets
                    yield None
                    return
        # Read from the start of the file: this was asked for, or packets are counted, or the seek went too far, as
        # happens in some containers.
        self.close()
        self._open(self.index.path)
        is_reached = start is None
        for packet in self._packets():
            is_reached |= packet.is_keyframe and packet.pts == start
            if is_reached:
                yield packet
        yield None

    def _packets(self) -> Iterator[av.Packet[av.VideoStream]]:
        for place, packet in enumerate(packets_of(self.container, self.stream)):
            if self.index.packets is not None:
                number = int(self.index.packets[place])
                packet.pts = int(self.index.pts[number]) if number >= 0 else None
                self.is_joint = is_at_joint(place, self.index.joints)
            yield packet

    def _pictures(self, packet: av.Packet[av.VideoStream] | None, tracker: DamageTracker) -> Iterator[av.VideoFrame]:
        pts = None if packet is None else packet.pts
        if packet is not None and pts is not None:
            tracker.add_packet(pts, is_keyframe=packet.is_keyframe, is_shown=not packet.is_discard)
            if (packet.is_corrupt and not self.is_joint) or has_hole(bytes(packet), self.codec.name):
                tracker.add_broken(pts)
        try:
            pictures = self.codec.decode(packet)
        except av.error.FFmpegError:
            pictures = []
            if pts is not None:
                tracker.add_broken(pts)
        for picture in pictures:
            if picture.pts is None:
                continue
            if picture.is_corrupt:
                tracker.add_broken(picture.pts)
            tracker.add_picture(picture.pts)
            yield picture
        if packet is None:
            tracker.finish()

    def _to_image(self, picture: av.VideoFrame) -> np.ndarray:
        if self.has_one_size and (picture.width, picture.height) != self.native:
            self.has_one_size = False
            logger.warning(
                "%s: its frames change from %dx%d to %dx%d and are all brought to the size of the first",
                *(self.index.path, *self.native, picture.width, picture.height),
            )
        is_native = (picture.width, picture.height) == (self.width, self.height)
        rgb = self.reformatter.reformat(
            picture,
            self.width,
            self.height,
            "rgb24",
            interpolation=None if is_native else SCALER,
            threads=self.num_threads,
        )
        plane: Any = rgb.planes[0]  # a view without a copy: the array keeps the picture's memory alive
        rows_HX = np.frombuffer(plane, np.uint8).reshape(rgb.height, plane.line_size)
        image_HWC = rows_HX[:, : 3 * rgb.width].reshape(rgb.height, rgb.width, 3)
        return upright(image_HWC, self.index.rotation, is_mirrored=self.index.is_mirrored)
