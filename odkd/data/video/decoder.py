"""The decoder of one video: seeks groups of pictures, decodes what wanted frames need of them, and detects damage.

Detected damage: data that the decoder refuses or flags, pictures that the decoder never returns, holes of zeros. A few
altered bytes that still parse give a wrong picture that cannot be detected, because video formats carry no checksum.
"""

from __future__ import annotations  # Packet[VideoStream] exists in PyAV's type stubs alone

import logging
from collections import deque
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter

from odkd.data.video.damage import DamageTracker, has_hole
from odkd.data.video.groups import groups_of, runs_of
from odkd.data.video.index import VideoIndex
from odkd.data.video.orientation import upright
from odkd.data.video.scan import open_video
from odkd.data.video.sequence import is_at_joint, packets_of

logger = logging.getLogger(__name__)
# swscale's flags AREA | ACCURATE_RND | BITEXACT, as numbers because PyAV names the last two only since release 18. AREA
# averages when it shrinks; the other two make the result the same on every processor.
SCALER = 0x20 | 0x40000 | 0x80000
MAX_LEAD = 3  # groups before a wanted one from which decoding starts at the earliest
SLICE_THREADS = 2  # fixed: what a decoder reports of damaged data depends on it, and must not depend on the machine
BEFORE_ALL = -(2**63)  # pts
WORTH_SEEKING = 64  # frames up to a keyframe; a nearer one is found sooner by reading the packets before it


class Decoder:
    """An open video that can be decoded from any of its keyframes on."""

    def __init__(self, index: VideoIndex, size: tuple[int, int] | None = None) -> None:
        self.index = index
        self.height, self.width = size or (index.height, index.width)
        if index.rotation % 180:  # the decoder needs the size before rotation
            self.height, self.width = self.width, self.height
        self.reformatter = VideoReformatter()
        self.native = (index.height, index.width) if index.rotation % 180 else (index.width, index.height)
        self.can_seek = index.packets is None  # where packets are counted from the start of the file, it is of no use
        self.is_joint = False  # the packet that was read last
        self._open(index.path)

    def _open(self, path: Path) -> None:
        self.container, self.stream = open_video(path, SLICE_THREADS)
        self.codec = self.stream.codec_context
        self._read_from_here()

    def close(self) -> None:
        self.container.close()

    def frames(self, numbers: np.ndarray) -> Iterator[tuple[int, np.ndarray | None]]:
        """Yield (frame number, image) for ascending frame numbers; None where the file is damaged.

        What is decoded depends on these numbers alone, not on what was decoded before.
        """
        group_of = dict(zip(numbers.tolist(), groups_of(self.index, numbers).tolist(), strict=True))
        todo = deque(runs_of(self.index, numbers))
        usual_lead, is_retry = 0, False  # groups before a wanted one that must be decoded too
        while todo:
            start, run = todo.popleft()
            for done, (number, image) in enumerate(self._decode(start, run)):
                lead = group_of[number] - start
                if image is None and lead < MAX_LEAD and start > 0:
                    # Some "keyframes" only begin a gradual refresh of the picture: start one keyframe earlier.
                    todo.appendleft((start - 1, run[done:]))
                    is_retry = True
                    break
                if is_retry and image is not None and lead > usual_lead and todo:  # so it will be with the others
                    usual_lead = lead
                    todo = deque(runs_of(self.index, np.concatenate([rest for _, rest in todo]), lead))
                is_retry = False
                yield number, image

    def _decode(self, group: int, numbers: np.ndarray) -> Iterator[tuple[int, np.ndarray | None]]:
        """Decode from a group's keyframe (-1: the start of the file) until all these frames are classified."""
        todo = deque(zip(self.index.pts[numbers].tolist(), numbers.tolist(), strict=True))
        wanted = {pts for pts, _ in todo}
        unread = set(wanted)
        images: dict[int, np.ndarray] = {}
        is_whole: dict[int, bool] = {}
        tracker = DamageTracker(self._lost_after)

        def classified(packet: av.Packet[av.VideoStream] | None) -> Iterator[tuple[int, np.ndarray | None]]:
            for picture in self._pictures(packet, tracker):
                assert picture.pts is not None
                if picture.pts in wanted:
                    images[picture.pts] = self._to_image(picture)
            is_whole.update((pts, whole) for pts, whole in tracker.settle() if pts in wanted)
            while todo and todo[0][0] in is_whole:
                pts, number = todo.popleft()
                image = images.pop(pts, None)
                yield number, image if is_whole[pts] else None

        for packet in self._packets_from(group):
            yield from classified(packet)
            if not todo:
                return
            if packet.pts is None:
                continue
            if not unread:  # the packet behind the last wanted one: it shows whether that one is damaged at its end
                break
            unread.discard(packet.pts)
        yield from classified(None)  # the decoder returns what it holds back
        for _, number in todo:  # the file ends before these frames
            yield number, None

    @cached_property
    def _lost_after(self) -> dict[int, list[int]]:
        """Timestamps of lost frames by that of the keyframe before them."""
        lost_after: dict[int, list[int]] = {}
        for number in self.index.lost:
            key = self.index.keyframes[max(int(np.searchsorted(self.index.keyframes, number)) - 1, 0)]
            lost_after.setdefault(int(self.index.pts[key]), []).append(int(self.index.pts[number]))
        return lost_after

    def _packets_from(self, group: int) -> Iterator[av.Packet[av.VideoStream]]:
        """Yield packets in decoding order from a keyframe on."""
        self.codec.flush_buffers()
        if group < 0:
            self._rewind()
        elif (packet := self.find(group)) is not None:
            yield packet
        else:
            return
        while (packet := next(self._packets, None)) is not None:  # `yield from` would close it when this is left early
            yield packet

    def reaches(self, number: int) -> bool:
        """Return True if the keyframe before a frame can be found without reading the file from its start."""
        if not self.can_seek:
            return False
        return self.find(int(groups_of(self.index, np.array([number]))[0])) is not None and self.can_seek

    def find(self, group: int) -> av.Packet[av.VideoStream] | None:
        """Read up to the keyframe of a group, and return its packet; None if the file has it no more."""
        key = int(self.index.keyframes[group])
        start = int(self.index.pts[key])
        is_behind = start <= self._newest_key
        is_far = key - int(np.searchsorted(self.index.pts, self._newest_key)) > WORTH_SEEKING
        if self.can_seek and (is_behind or is_far):
            self.container.seek(start, stream=self.stream)
            self._read_from_here()
            for packet in self._packets:
                if packet.is_keyframe and packet.pts is not None and packet.pts >= start:
                    if packet.pts == start:
                        return packet
                    break
            self.can_seek, is_behind = False, True  # the seek went too far, as happens in some containers
        if is_behind:
            self._rewind()
        return next((packet for packet in self._packets if packet.is_keyframe and packet.pts == start), None)

    def _rewind(self) -> None:
        self.close()
        self._open(self.index.path)

    def _read_from_here(self) -> None:
        self._packets = self._read_packets()
        self._newest_key = BEFORE_ALL  # pts of the newest keyframe that was read from here on

    def _read_packets(self) -> Iterator[av.Packet[av.VideoStream]]:
        for place, packet in enumerate(packets_of(self.container, self.stream)):
            if self.index.packets is not None:
                number = int(self.index.packets[place])
                packet.pts = int(self.index.pts[number]) if number >= 0 else None
                self.is_joint = is_at_joint(place, self.index.joints)
            if packet.is_keyframe and packet.pts is not None:
                self._newest_key = packet.pts
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

    def _to_image(self, picture: av.VideoFrame) -> Any:
        return self.image_of(picture, self.reformatter, (self.height, self.width))

    def image_of(self, picture: av.VideoFrame, reformatter: VideoReformatter, size: tuple[int, int]) -> np.ndarray:
        """Return a decoded picture as an upright RGB image, uint8 [H, W, 3]; `size` is that before rotation."""
        if self.index.packets is None and (picture.width, picture.height) != self.native:  # else the index has said it
            tell_of_sizes(self.index.path, self.native, (picture.width, picture.height))
        height, width = size
        interpolation = None if (picture.width, picture.height) == (width, height) else SCALER
        rgb = reformatter.reformat(picture, width, height, "rgb24", interpolation=interpolation, threads=SLICE_THREADS)
        plane: Any = rgb.planes[0]  # a view without a copy: the array keeps the picture's memory alive
        rows_HX = np.frombuffer(plane, np.uint8).reshape(rgb.height, plane.line_size)
        image_HWC = rows_HX[:, : 3 * rgb.width].reshape(rgb.height, rgb.width, 3)
        return upright(image_HWC, self.index.rotation, is_mirrored=self.index.is_mirrored)


class PairDecoder(Decoder):
    """A decoder of pairs: each frame at full size and, from the same decoded picture, at a smaller one."""

    def __init__(self, index: VideoIndex, size: tuple[int, int] | None) -> None:
        super().__init__(index)
        self._small = size if size is None or not index.rotation % 180 else (size[1], size[0])
        self._shrinker = VideoReformatter()

    def _to_image(self, picture: av.VideoFrame) -> tuple[np.ndarray, np.ndarray | None]:
        full_HWC = super()._to_image(picture)
        if self._small is None:
            return full_HWC, None
        return full_HWC, self.image_of(picture, self._shrinker, self._small)


@cache
def tell_of_sizes(path: Path, first: tuple[int, int], other: tuple[int, int]) -> None:
    """Warn, once, that the frames of a video change their size, (width, height) in pixels."""
    message = "%s: its frames change from %dx%d to %dx%d and are all brought to the size of the first"
    logger.warning(message, path, *first, *other)
