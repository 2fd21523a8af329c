"""Other ways to decode chosen frames of a video: bare PyAV, OpenCV, torchcodec and decord2, as their documents show."""

import importlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import av
import numpy as np

from odkd.data.video.index import VideoIndex

Decode = Callable[[VideoIndex, Sequence[int]], list[np.ndarray]]  # uint8 RGB [H, W, 3] of each number


def needed_groups(index: VideoIndex, numbers: Sequence[int], *, with_images: bool = True) -> list[np.ndarray]:
    """Decode each group of pictures with a wanted frame up to the last one: what the structure of the file demands."""
    images = []
    groups = np.searchsorted(index.keyframes, numbers, side="right") - 1
    with av.open(str(index.path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        at = -2
        for group in np.unique(groups):
            wanted = {int(index.pts[number]) for number, of in zip(numbers, groups, strict=True) if of == group}
            last = max(wanted)
            if group != at + 1:
                container.seek(int(index.pts[index.keyframes[group]]), stream=stream)
            at = group
            for frame in container.decode(stream):
                if frame.pts in wanted:
                    images.append(frame.to_ndarray(format="rgb24") if with_images else np.empty(0))
                if frame.pts is not None and frame.pts >= last:
                    at = -2  # the rest of the group was not read
                    break
    return images


def every_frame(index: VideoIndex, numbers: Sequence[int]) -> list[np.ndarray]:
    """Decode from the start of the file to the last wanted frame with PyAV: the plainest way."""
    wanted, last = set(numbers), max(numbers)
    images = []
    with av.open(str(index.path)) as container:
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        for number, frame in enumerate(container.decode(stream)):
            if number in wanted:
                images.append(frame.to_ndarray(format="rgb24"))
            if number == last:
                break
    return images


def opencv(index: VideoIndex, numbers: Sequence[int]) -> list[np.ndarray]:
    """Grab every frame with OpenCV and retrieve those that are wanted: faster than its seeks, and exact."""
    cv2 = importlib.import_module("cv2")
    capture, images, wanted = cv2.VideoCapture(str(index.path)), [], set(numbers)
    for number in range(max(numbers) + 1):
        capture.grab()
        if number in wanted:
            images.append(cv2.cvtColor(capture.retrieve()[1], cv2.COLOR_BGR2RGB))
    capture.release()
    return images


def torchcodec(index: VideoIndex, numbers: Sequence[int]) -> list[np.ndarray]:
    """Decode with torchcodec, which seeks by its own index."""
    decoders = importlib.import_module("torchcodec.decoders")
    decoder = decoders.VideoDecoder(str(index.path), dimension_order="NHWC", num_ffmpeg_threads=0)
    return [image.numpy() for image in decoder.get_frames_at(list(numbers)).data]


def decord2(index: VideoIndex, numbers: Sequence[int]) -> list[np.ndarray]:
    """Decode with decord2."""
    decord = importlib.import_module("decord")
    return list(decord.VideoReader(str(index.path)).get_batch(list(numbers)).asnumpy())


def working(index: VideoIndex) -> dict[str, Decode]:
    """Return the ways that can decode the first frame here, by name."""
    found: dict[str, Decode] = {"bare PyAV from the start": every_frame}
    for name, decode in {"OpenCV": opencv, "torchcodec": torchcodec, "decord2": decord2}.items():
        with suppress(ImportError, RuntimeError, OSError):  # torchcodec needs FFmpeg's shared libraries
            decode(index, [0])
            found[name] = decode
    return found


def check_same(name: str, theirs: Sequence[np.ndarray], ours: Sequence[np.ndarray], path: Path) -> None:
    """Check that another decoder has returned the same frames; its conversion to RGB may round in another way.

    Raises:
        RuntimeError: it returned others.
    """
    if len(theirs) != len(ours):
        raise RuntimeError(f"{name} returned {len(theirs)} frames of {path}; expected {len(ours)}")
    for number, (their, our) in enumerate(zip(theirs, ours, strict=True)):
        difference = float(np.abs(their.astype(np.int16) - our).mean())
        if difference > 2:  # grey levels; the next frame of the generated video differs by more than 10
            raise RuntimeError(
                f"{name} returned another frame of {path} at place {number} ({difference:.1f} grey levels)"
            )
