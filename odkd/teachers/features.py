"""Features of a teacher's layers: taken while it labels, averaged to the size that is stored, in float16.

A teacher names its layers by an attribute `network`, a `torch.nn.Module` that it calls to label. If it pads frames at
the bottom and the right, its method `seen_size(frame_size)` returns the (height, width) of the frame within what the
network sees; the padding is then cut off.
"""

import logging
import math
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odkd.data.labels.features import FeatureKind
from odkd.data.labels.teacher_labels import TeacherLabels, VideoLabels
from odkd.students.layers import check_layers, tapped
from odkd.teachers import SampledFrames, Teacher

logger = logging.getLogger(__name__)
HIGHEST = torch.finfo(torch.float16).max
Shape = tuple[int, int, int]
Answer = TypeVar("Answer")


def network_of(teacher: Teacher, name: str) -> nn.Module:
    """Return the network of a teacher, called `name`.

    Raises:
        ValueError: it has none that is open.
    """
    network = getattr(teacher, "network", None)
    if not isinstance(network, nn.Module):
        raise ValueError(
            f"teacher {name} names no layers (it has no attribute network, a torch.nn.Module), so it has no features "
            "to learn from; choose another teacher, or leave out features.pairs"
        )
    return network


class FeatureTaker:
    """Asks a teacher for labels, and takes the features of its layers on the way.

    Args:
        name: of the teacher, for messages.
        kinds: that are wanted; none = the teacher is only asked.

    Raises:
        ValueError: the teacher lacks a layer.
    """

    def __init__(self, teacher: Teacher, name: str, kinds: Collection[FeatureKind]) -> None:
        self._teacher, self._kinds = teacher, list(kinds)
        self._layers = [kind.layer for kind in self._kinds]
        self._network = network_of(teacher, name) if self._kinds else None
        self._has_warned = False
        if self._network is not None:
            check_layers(self._network, self._layers, f"teacher {name}")

    def during(
        self, frames: SampledFrames, ask: Callable[[], Answer]
    ) -> tuple[Answer, list[dict[FeatureKind, np.ndarray]]]:
        """Return what `ask` returns, and the features of each frame, float16 [C, h, w]."""
        num_frames = len(frames.frame_numbers)
        if self._network is None:
            return ask(), [{} for _ in range(num_frames)]
        with tapped(self._network, self._layers) as taken:
            answer = ask()
        assert frames.images_BHWC is not None
        maps = taken.maps(num_frames)
        if missing := [layer for layer in self._layers if layer not in maps]:
            raise ValueError(f"the teacher's layer {missing[0]} is not used while it labels; choose another layer")
        height, width = frames.images_BHWC.shape[1:3]
        seen_size = getattr(self._teacher, "seen_size", None)
        seen = None if seen_size is None else seen_size((int(height), int(width)))
        found = {kind: self._stored(maps[kind.layer], kind, seen, taken.input_size) for kind in self._kinds}
        return answer, [{kind: maps_BCHW[i] for kind, maps_BCHW in found.items()} for i in range(num_frames)]

    def _stored(
        self, map_BCHW: Tensor, kind: FeatureKind, seen: tuple[int, int] | None, whole: tuple[int, int]
    ) -> np.ndarray:
        """Return a map as it is stored."""
        map_BCHW = map_BCHW.detach().float()
        if seen is not None and seen != whole:
            map_BCHW = without_padding(map_BCHW, seen, whole)
        if kind.size is not None:
            height, width = map_BCHW.shape[2:]
            if kind.size[0] > height or kind.size[1] > width:
                raise ValueError(
                    f"features.size={list(kind.size)} is larger than what layer {kind.layer} gives, "
                    f"[{height},{width}]; lower it, or set null"
                )
            map_BCHW = F.adaptive_avg_pool2d(map_BCHW, kind.size)
        if map_BCHW.isnan().any():
            raise ValueError(
                f"the teacher's layer {kind.layer} gives NaN; set teacher.precision=float32 if it is lower"
            )
        if map_BCHW.abs().max() > HIGHEST and not self._has_warned:
            logger.warning("layer %s has features beyond %g, the highest of float16; cut off", kind.layer, HIGHEST)
            self._has_warned = True
        array: np.ndarray = map_BCHW.clamp(-HIGHEST, HIGHEST).half().cpu().numpy()
        return array


def without_padding(map_BCHW: Tensor, seen: tuple[int, int], whole: tuple[int, int]) -> Tensor:
    """Return the part of a map that shows the frame, of `seen` pixels at the upper left of `whole`; bilinear.

    >>> without_padding(torch.arange(4.0).view(1, 1, 1, 4), (32, 96), (32, 128)).flatten().tolist()
    [0.0, 1.0, 2.0]
    """
    shares = [part / length for part, length in zip(seen, whole, strict=True)]
    size = [max(1, round(length * share)) for length, share in zip(map_BCHW.shape[2:], shares, strict=True)]
    theta = torch.tensor([[shares[1], 0, shares[1] - 1], [0, shares[0], shares[0] - 1]], device=map_BCHW.device)
    grid = F.affine_grid(theta[None].expand(len(map_BCHW), 2, 3), [*map_BCHW.shape[:2], *size], align_corners=False)
    return F.grid_sample(map_BCHW, grid, mode="bilinear", padding_mode="border", align_corners=False)


def shapes_of(
    teacher: Teacher, name: str, kinds: Collection[FeatureKind], size: tuple[int, int]
) -> dict[FeatureKind, Shape]:
    """Return the shape (C, h, w) of each kind of features, for frames of (height, width) pixels: it is tried once."""
    black = SampledFrames("", [0], np.zeros((1, *size, 3), np.uint8), None, sample_numbers=[0])
    _, (found,) = FeatureTaker(teacher, name, kinds).during(black, lambda: teacher.label(black))
    return {kind: (array.shape[0], array.shape[1], array.shape[2]) for kind, array in found.items()}


def shapes_by_size(
    labels: TeacherLabels, teacher: Teacher, videos: Sequence[VideoLabels]
) -> dict[str, Mapping[FeatureKind, Shape]]:
    """Return the shapes of the features of videos, by the size of their frames: "720x1280"."""
    found: dict[str, Mapping[FeatureKind, Shape]] = {}
    for video in videos:
        size = frame_size(video)
        if (text := "x".join(map(str, size))) not in found:
            found[text] = shapes_of(teacher, labels.teacher.name, labels.features, size)
    return found


def frame_size(video: VideoLabels) -> tuple[int, int]:
    """Return (height, width) of the frames of a video as its teacher receives them."""
    height, width = video.manifest["identity"]["size"]
    return int(height), int(width)


def tell_sizes(labels: TeacherLabels, teacher: Teacher) -> None:
    """Log how much the features that are missing will take on the disk.

    Raises:
        ValueError: the disk has less.
    """
    missing = {video.number: len(labels.missing_rows(video)) for video in labels.videos}
    videos = [video for video in labels.videos if missing[video.number]]
    shapes, total = shapes_by_size(labels, teacher, videos), 0
    for size, kinds in shapes.items():
        num_frames = sum(missing[video.number] for video in videos if "x".join(map(str, frame_size(video))) == size)
        for kind, shape in kinds.items():
            num_bytes = num_frames * math.prod(shape) * 2
            total += num_bytes
            factors = " x ".join(map(str, (num_frames, *shape)))
            logger.info("features of %s: %s x 2 bytes = %s", kind.layer, factors, in_words(num_bytes))
    folder = next(path for path in (labels.folder.absolute(), *labels.folder.absolute().parents) if path.exists())
    check_space(total, shutil.disk_usage(folder).free, folder)


def check_space(wanted: int, free: int, folder: Path) -> None:
    """Check that a disk has room for features; warn if they would take more than half of it.

    Raises:
        ValueError: it has not.
    """
    what = f"the features take {in_words(wanted)}, and {folder} has {in_words(free)} free"
    if wanted > free:
        raise ValueError(f"{what}; set features.size=[height,width] to average them, or paths.labels to another disk")
    if wanted > free / 2:
        logger.warning("%s", what)


def in_words(num_bytes: int) -> str:
    """Return a number of bytes to read.

    >>> in_words(2_500_000), in_words(3_000_000_000)
    ('2.5 MB', '3.0 GB')
    """
    return f"{num_bytes / 1e9:.1f} GB" if num_bytes >= 10**9 else f"{num_bytes / 1e6:.1f} MB"
