"""Exact, sparse decoding: what is decoded of a video, by how many threads, and in which order frames come.

`decoder.py` decodes them, and detects damage.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager

import av
import numpy as np

from odkd.common.threads import usable_cores
from odkd.data.video.decoder import Decoder
from odkd.data.video.groups import groups_of
from odkd.data.video.image_index import ImageIndex, Source, read_images
from odkd.data.video.index import VideoIndex
from odkd.data.video.run_ahead import run_ahead
from odkd.data.video.torchcodec import decode_by_torchcodec, name_of_torchcodec

MAX_THREADS = 8  # each holds the pictures that its decoder refers to: 0.2 GB at 3840x2160
HELD_BYTES = 256 * 2**20  # of images that wait for the consumer
PIECE_FRAMES = 64  # a piece of work for a thread; seeking costs about as much as decoding one
DECODER = "pyav-{} avcodec-{} swscale-{} area".format(
    av.__version__, *(".".join(map(str, av.library_versions[name])) for name in ("libavcodec", "libswscale"))
)


def decoder_of(source: Source) -> str:
    """Return name and versions of a source's reader, which are part of the key of everything made from its frames."""
    if isinstance(source, ImageIndex):
        return source.decoder
    return DECODER if source.library == "pyav" else name_of_torchcodec()


def decode_frames(
    index: Source,
    frame_numbers: Sequence[int] | np.ndarray,
    *,
    size: tuple[int, int] | None = None,
    num_threads: int | None = None,
) -> Generator[tuple[int, np.ndarray | None]]:
    """Yield (frame number, image) for strictly ascending frame numbers; None where the file is damaged.

    Images are uint8 RGB [H, W, 3], upright, C-contiguous, of `size` = (height, width), by default that of the video. At
    native size they equal `frame.to_ndarray(format="rgb24")` bit for bit. Of a group of pictures with wanted frames,
    the packets up to the last of them are decoded and one more; threads decode different groups. A frame is identified
    by its timestamp, or by its packet where timestamps do not order the frames.

    Args:
        num_threads: that decode; None = one for each core, at most 8.
    """
    numbers = np.asarray(frame_numbers, np.int64)
    if not len(numbers):
        return
    assert np.all(np.diff(numbers) > 0), "frame numbers must ascend"
    assert 0 <= numbers[0] <= numbers[-1] < index.num_frames, "frame numbers must be in the video"
    num_threads = num_threads or min(MAX_THREADS, usable_cores()[0])
    if isinstance(index, ImageIndex):
        yield from read_images(index, numbers, size=size, num_threads=num_threads)
        return
    if index.library == "torchcodec":
        yield from decode_by_torchcodec(index, numbers, size=size, num_threads=num_threads)
        return
    # The same pieces for any number of threads: in damaged files, images may depend on where decoding began.
    pieces, spare = pieces_of(index, numbers), [Decoder(index, size)]
    if len(pieces) > 1 and not spare[0].reaches(int(pieces[-1][0])):
        pieces = [numbers]
    num_decoders = min(num_threads, len(pieces))

    @contextmanager
    def open_worker() -> Iterator[Callable[[np.ndarray], Iterator[tuple[int, np.ndarray | None]]]]:
        try:
            opened = spare.pop()  # opening a file takes as long as decoding some frames
        except IndexError:
            opened = Decoder(index, size)
        with closing(opened) as decoder:
            yield decoder.frames

    if num_decoders == 1:
        with open_worker() as frames_of:
            for piece in pieces:
                yield from frames_of(piece)
        return
    height, width = size or (index.height, index.width)
    num_held = HELD_BYTES // (3 * height * width)
    with closing(run_ahead(pieces, open_worker, num_threads=num_decoders, num_held=num_held)) as images:
        yield from images


def pieces_of(index: VideoIndex, numbers: np.ndarray) -> list[np.ndarray]:
    """Return the frame numbers in pieces that are worth a seek: whole groups of pictures, about PIECE_FRAMES to decode.

    >>> from types import SimpleNamespace
    >>> index = SimpleNamespace(keyframes=np.array([0, 100, 110, 120]))
    >>> [piece.tolist() for piece in pieces_of(index, np.array([3, 90, 100, 111, 125]))]
    [[3, 90], [100, 111, 125]]
    """
    groups = groups_of(index, numbers)
    begins = np.flatnonzero(np.diff(groups, prepend=-2))  # of each group's numbers
    lasts = numbers[np.append(begins[1:], len(numbers)) - 1]
    keys = np.where(groups[begins] < 0, 0, index.keyframes[groups[begins]])
    num_before = np.cumsum(lasts - keys + 1) - (lasts - keys + 1)
    return np.split(numbers, begins[np.flatnonzero(np.diff(num_before // PIECE_FRAMES)) + 1])
