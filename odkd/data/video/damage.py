"""Detection of damaged pictures from the packets that go into a decoder and the pictures that come out of it."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

# H.264 and HEVC never contain three consecutive zero bytes inside a picture's data: a run of zeros is a hole in the
# file (a lost disk sector, an unfinished download), which the decoder fills with plausible but wrong content.
HOLE = bytes(16)
CODECS_WITHOUT_ZEROS = ("h264", "hevc")
HELD_BACK = 3  # packets by which a parser delays the mark of damage that a container found


def has_hole(packet: bytes, codec: str) -> bool:
    """Return True if a packet contains zeros that no encoder wrote, apart from padding at its end."""
    return codec in CODECS_WITHOUT_ZEROS and HOLE in packet.rstrip(b"\0")


@dataclass
class _Packet:
    pts: int
    is_keyframe: bool
    is_shown: bool


class DamageTracker:
    """A classifier of pictures as intact or damaged, in decoding order.

    A picture is damaged if its packet cannot be decoded, if the decoder flags it, or if the decoder never returns it
    although it returned a later one. Pictures that build on it are damaged too: those decoded after it up to the next
    keyframe, and those shown before that keyframe. The previous packet in the file is suspect as well, because damage
    that is found at the head of one packet may have overwritten the tail of the packet before it.

    `lost_after` lists timestamps of packets known to be missing from the file, by the timestamp of the keyframe before
    them. It is unknown which pictures refer to them, so they count as decoded right after that keyframe: the complete
    group is damaged.
    """

    def __init__(self, lost_after: Mapping[int, Sequence[int]]) -> None:
        self._lost_after = lost_after
        self._waiting: deque[_Packet] = deque()  # in decoding order
        self._whole: set[int] = set()  # pts
        self._broken: set[int] = set()
        self._latest = -np.inf  # pts of the latest picture that the decoder returned
        # Before the first keyframe nothing can be decoded, so nothing is intact.
        self._keyframe_pts = -np.inf
        self._is_group_broken = self._is_group_before_broken = True

    def add_packet(self, pts: int, *, is_keyframe: bool, is_shown: bool) -> None:
        """Register a packet before it is decoded; call this in decoding order."""
        self._waiting.append(_Packet(pts, is_keyframe, is_shown))
        if is_keyframe:
            lost = self._lost_after.get(pts, ())
            self._waiting.extend(_Packet(time, is_keyframe=False, is_shown=True) for time in lost)

    def add_broken(self, pts: int) -> None:
        """Register that a packet cannot be decoded or that its picture is flagged."""
        self._broken.add(pts)

    def add_picture(self, pts: int) -> None:
        """Register a picture; call this in the order in which the decoder returns them, which is that of time."""
        self._whole.add(pts)
        self._latest = max(self._latest, pts)

    def finish(self) -> None:
        """Register that the decoder has returned all its pictures."""
        self._latest = np.inf

    def settle(self) -> Iterator[tuple[int, bool]]:
        """Yield (pts, is intact) of all shown pictures that can be classified by now, in decoding order."""
        while self._waiting and self._is_known(self._waiting[0]):
            has_next = len(self._waiting) > 1
            if not (self._is_known(self._waiting[1]) if has_next else self._latest == np.inf):
                return
            packet = self._waiting.popleft()
            if packet.is_keyframe:
                self._is_group_before_broken, self._is_group_broken = self._is_group_broken, False
                self._keyframe_pts = packet.pts
            is_fine = self._is_fine(packet) and not (has_next and self._is_suspect(self._waiting[0]))
            if packet.pts < self._keyframe_pts:  # leading picture: builds on the previous group as well
                self._is_group_before_broken |= not is_fine
                is_fine = not (self._is_group_before_broken or self._is_group_broken)
            else:
                self._is_group_broken |= not is_fine
                is_fine = not self._is_group_broken
            self._whole.discard(packet.pts)
            if packet.is_shown:
                yield packet.pts, is_fine

    def _is_known(self, packet: _Packet) -> bool:
        return not packet.is_shown or packet.pts <= self._latest or packet.pts in self._broken

    def _is_fine(self, packet: _Packet) -> bool:
        return packet.pts not in self._broken and (packet.pts in self._whole or not packet.is_shown)

    def _is_suspect(self, following: _Packet) -> bool:
        is_leading = not following.is_keyframe and following.pts < self._keyframe_pts
        return not self._is_fine(following) and not (is_leading and self._is_group_before_broken)
