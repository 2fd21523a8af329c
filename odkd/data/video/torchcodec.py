"""The second decoder, torchcodec: on a GPU by its NVDEC engine, and the same pixels as PyAV at the video's own size.

At another size the pixels differ: PyAV's pictures are scaled before they become RGB, these afterwards. It does not
detect damage, beyond frames that it cannot decode.
"""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import av
import numpy as np

from odkd.common.optional import optional, version_of
from odkd.data.video.decoder import SCALER
from odkd.data.video.index import VideoIndex

USER = "dataset.decoder=torchcodec"
BATCH_BYTES = 2**28  # of frames that are decoded in one call


def name_of_torchcodec() -> str:
    """Return name, version and device, part of the key of everything made from its frames."""
    return f"torchcodec-{version_of('torchcodec') or 'not installed'} {_device()}"


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def decode_by_torchcodec(
    index: VideoIndex, numbers: np.ndarray, *, size: tuple[int, int] | None, num_threads: int
) -> Generator[tuple[int, np.ndarray | None]]:
    """Yield (frame number, image) as `decode_frames` does; None for a frame that cannot be decoded.

    Raises:
        ValueError: torchcodec or FFmpeg's shared libraries are missing, or it cannot tell the frames of this video.
    """
    if index.packets is not None or index.rotation or index.is_mirrored or index.lost:
        why = "turned or mirrored" if index.packets is None and not index.lost else "damaged, or joined from recordings"
        raise ValueError(f"{index.path} is {why}, which {USER} cannot read; set dataset.decoder=pyav")
    decoder = _open(index, num_threads)
    if len(decoder) != index.num_frames:
        raise ValueError(
            f"{index.path}: torchcodec finds {len(decoder)} frames, expected {index.num_frames}; "
            "set dataset.decoder=pyav"
        )
    at_once = max(1, BATCH_BYTES // (3 * index.height * index.width))
    for start in range(0, len(numbers), at_once):
        part = numbers[start : start + at_once].tolist()
        for number, image in zip(part, _frames(decoder, index, part), strict=True):
            yield number, image if image is None or size is None else _scaled(image, size)


def _open(index: VideoIndex, num_threads: int) -> Any:
    library = optional("torchcodec.decoders", USER)
    try:
        return library.VideoDecoder(
            str(index.path.absolute()), dimension_order="NHWC", num_ffmpeg_threads=num_threads, device=_device()
        )
    except (RuntimeError, ImportError, OSError) as error:
        reason = " ".join(str(error).split())[:120]
        raise ValueError(
            f"{USER} cannot open {index.path} ({reason} ...); it needs FFmpeg's shared libraries: "
            "install FFmpeg 4 to 9, or set dataset.decoder=pyav"
        ) from error


def _frames(decoder: Any, index: VideoIndex, numbers: list[int]) -> list[np.ndarray | None]:
    """Return the frames of these numbers; those of a batch that fails are decoded one by one."""
    try:
        found = decoder.get_frames_at(numbers)
    except RuntimeError:
        if len(numbers) == 1:
            return [None]
        return [image for number in numbers for image in _frames(decoder, index, [number])]
    expected = index.pts[numbers] * float(index.time_base)
    if not np.allclose(found.pts_seconds.numpy(), expected, rtol=0, atol=float(index.time_base) / 2 + 1e-6):
        raise ValueError(f"{index.path}: torchcodec returns frames of other times; set dataset.decoder=pyav")
    return list(found.data.cpu().numpy())


def _scaled(image_HWC: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    if image_HWC.shape[:2] == (height, width):
        return image_HWC
    picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(image_HWC), format="rgb24")
    return picture.reformat(width, height, "rgb24", interpolation=SCALER).to_ndarray()
