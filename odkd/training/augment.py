"""Augmentation: images, label maps and soft labels of a batch are flipped, scaled, cropped and mixed together.

It runs on the device, after normalisation. All random numbers of a batch come from one named generator, which depends
on the run's seed and on the numbers of past passes and batches, so that a resumed run draws the same.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from odkd.common.device import upload
from odkd.common.ignore import IGNORE
from odkd.common.seeds import named_generator
from odkd.common.settings import Fraction, NonNegativeFloat
from odkd.training.losses import SoftLabels
from odkd.training.losses.soft import resize_labels

Batch = tuple[Tensor, Tensor, SoftLabels | None]  # images, label maps and soft labels


class Geometry(NamedTuple):
    """Map from the pixels of a crop to places in its frame, in pixels of the frame; tensors are float64 [B].

    Pixel (row i, column j) of a crop of `size` shows ((i + 0.5 + top) / scale, (j + 0.5 + left) / scale); mirrored
    crops count columns from the right.
    """

    size: tuple[int, int]
    scale_B: Tensor
    top_B: Tensor
    left_B: Tensor
    is_mirrored_B: Tensor

    def places(self, shape: tuple[int, int], index: int, stride: tuple[float, float]) -> tuple[Tensor, Tensor]:
        """Return the rows and columns, float64, that a crop of a map shows, in pixels of the map.

        Args:
            shape: (height, width) of the crop, in pixels of the map.
            index: of the frame in the batch.
            stride: pixels of the frame per pixel of the map, vertical and horizontal.
        """
        rows, columns = (
            ((torch.arange(shape[axis], dtype=torch.float64) + 0.5) * self.size[axis] / shape[axis] + offset_B[index])
            / (self.scale_B[index] * stride[axis])
            for axis, offset_B in enumerate((self.top_B, self.left_B))
        )
        return rows, columns.flip(0) if self.is_mirrored_B[index] else columns


class Augmentation:
    """Random flip, scale, crop, brightness and contrast, drawn for each frame of a batch.

    Args:
        flip: probability of a horizontal flip.
        scale: [lowest, highest] factor, drawn uniformly. A frame larger than the crop is cropped at random; around a
            smaller one, labels are 255 and normalised images 0 (the mean colour).
        crop: [height, width] of the result, pixels; None = the size of the frame.
        brightness: largest offset, positive or negative, added to pixel values in 0..1.
        contrast: largest relative change of the distances from a frame's mean colour; below 1.
        class_mix: probability that half of the classes of the frame before are pasted over a frame, with their labels
            (Olsson et al., WACV 2021); that frame is the one before it in the batch, for the first one the last one of
            the batch before. The first batch of a pass has none before it.
        std: of the images' normalisation; None = pixel values are in 0..1.

    Raises:
        ValueError: scale, crop or contrast is out of range.
    """

    def __init__(
        self,
        *,
        flip: Fraction,
        scale: Sequence[float],
        crop: Sequence[int] | None,
        brightness: NonNegativeFloat,
        contrast: NonNegativeFloat,
        class_mix: Fraction = 0.0,
        seed: int,
        std: Sequence[float] | None = None,
    ) -> None:
        if len(scale) != 2 or not 0 < scale[0] <= scale[1] < float("inf"):
            raise ValueError(f"augmentation.scale={list(scale)}; expected [lowest, highest] above 0, such as [0.5, 2]")
        if crop is not None and (len(crop) != 2 or min(crop) < 1):
            raise ValueError(f"augmentation.crop={list(crop)}; expected [height, width] in pixels, or null")
        if contrast >= 1:
            raise ValueError(f"augmentation.contrast={contrast}; expected a number of at least 0 and below 1")
        self._flip, self._scale, self._crop = flip, (float(scale[0]), float(scale[1])), crop
        self._brightness, self._contrast, self._seed = brightness, contrast, seed
        self.class_mix = class_mix
        self._before: Batch | None = None  # the last frame of the batch before, as it was before it was mixed
        self._std = list(std) if std is not None else [1.0, 1.0, 1.0]
        self._is_geometric = flip > 0 or self._scale != (1.0, 1.0) or crop is not None
        self.is_off = not (self._is_geometric or brightness or contrast or class_mix)

    def __call__(
        self, images_BCHW: Tensor, labels_BHW: Tensor, soft: SoftLabels | None, *, names: Sequence[object]
    ) -> tuple[Tensor, Tensor, SoftLabels | None]:
        """Return the augmented batch; `names` identify it and seed the draws."""
        generator = named_generator(self._seed, "augmentation", *names)
        draws_6B = torch.rand(6, len(images_BCHW), generator=generator, dtype=torch.float64)
        if self._is_geometric:
            height, width = images_BCHW.shape[2:]
            geometry = self._geometry(draws_6B, (height, width))
            is_channels_last = not images_BCHW.is_contiguous()
            images_BCHW = torch.stack([show(image, geometry, i) for i, image in enumerate(images_BCHW)])
            if is_channels_last:
                images_BCHW = images_BCHW.contiguous(memory_format=torch.channels_last)
            labels_BHW = _nearest_maps(labels_BHW[:, None], geometry, (height, width), IGNORE)[:, 0]
            if soft is not None:
                maps = zip(soft, (IGNORE, 0), strict=True)
                soft = SoftLabels(*(_nearest_maps(part, geometry, (height, width), fill) for part, fill in maps))
        batch = self._colour(images_BCHW, draws_6B), labels_BHW, soft
        return self._mix(batch, generator, begins_pass=names[-1] == 0) if self.class_mix else batch

    def follow(self, maps_BCHW: Tensor, frame: Sequence[int], *, names: Sequence[object]) -> Tensor:
        """Return maps of the frames of a batch, moved as its images are by the same `names`; 0 outside a frame.

        Args:
            maps_BCHW: of any size.
            frame: (height, width) of the images before augmentation.
        """
        if not self._is_geometric:
            return maps_BCHW
        generator = named_generator(self._seed, "augmentation", *names)
        draws_6B = torch.rand(6, len(maps_BCHW), generator=generator, dtype=torch.float64)
        size = (frame[0], frame[1])
        return _nearest_maps(maps_BCHW, self._geometry(draws_6B, size), size, 0)

    def _geometry(self, draws: Tensor, frame: tuple[int, int]) -> Geometry:
        size = frame if self._crop is None else (int(self._crop[0]), int(self._crop[1]))
        lowest, highest = self._scale
        scale_B = lowest + (highest - lowest) * draws[1]
        # The offset of a frame smaller than the crop is negative: it is placed at random within the crop.
        top_B, left_B = (((frame[a] * scale_B - size[a]) * draws[2 + a]).round() for a in (0, 1))
        return Geometry(size, scale_B, top_B, left_B, draws[0] < self._flip)

    def _colour(self, images_BCHW: Tensor, draws: Tensor) -> Tensor:
        if not (self._brightness or self._contrast):
            return images_BCHW
        shift_B, stretch_B = self._brightness * (2 * draws[4] - 1), 1 + self._contrast * (2 * draws[5] - 1)
        shift_BC = shift_B[:, None] / torch.tensor(self._std, dtype=torch.float64)
        shift_BC11, stretch_B111 = (
            _like(part, images_BCHW)[..., None, None] for part in (shift_BC, stretch_B[:, None])
        )
        mean_BC11 = images_BCHW.mean((2, 3), keepdim=True)
        return (images_BCHW - mean_BC11) * stretch_B111 + mean_BC11 + shift_BC11

    def _mix(self, batch: Batch, generator: torch.Generator, *, begins_pass: bool) -> Batch:
        """Return a batch with classes of other frames pasted over its frames."""
        draws_B = torch.rand(len(batch[0]), generator=generator, dtype=torch.float64).tolist()
        before = None if begins_pass else self._before
        frames = [_frame(batch, index) for index in range(len(batch[0]))]
        self._before = frames[-1]
        mixed = []
        for frame, draw in zip(frames, draws_B, strict=True):
            is_mixed = draw < self.class_mix and before is not None and before[0].shape == frame[0].shape
            mixed.append(_pasted(frame, before, generator) if is_mixed and before is not None else frame)
            before = frame
        images_BCHW, labels_BHW = torch.cat([frame[0] for frame in mixed]), torch.cat([frame[1] for frame in mixed])
        if not batch[0].is_contiguous():
            images_BCHW = images_BCHW.contiguous(memory_format=torch.channels_last)
        soft = [frame[2] for frame in mixed if frame[2] is not None]
        return images_BCHW, labels_BHW, SoftLabels(*map(torch.cat, zip(*soft, strict=True))) if soft else None


def _frame(batch: Batch, index: int) -> Batch:
    """Return a frame of a batch as a batch of one."""
    images_BCHW, labels_BHW, soft = batch
    own = slice(index, index + 1)
    return images_BCHW[own], labels_BHW[own], None if soft is None else SoftLabels(*(part[own] for part in soft))


def _pasted(frame: Batch, other: Batch, generator: torch.Generator) -> Batch:
    """Return a frame over which half of the classes of another one, rounded up, are pasted; batches of one."""
    classes = other[1][other[1] != IGNORE].unique()  # type: ignore[no-untyped-call]
    order = torch.randperm(len(classes), generator=generator)[: -(-len(classes) // 2)]
    is_pasted_BHW = torch.isin(other[1], classes[upload(order, classes.device)])
    images_BCHW = torch.where(is_pasted_BHW[:, None], other[0], frame[0])
    labels_BHW = torch.where(is_pasted_BHW, other[1], frame[1])
    if frame[2] is None or other[2] is None:
        return images_BCHW, labels_BHW, None
    small_B1HW = resize_labels(is_pasted_BHW, frame[2].classes_BkHW.shape[2:])[:, None]
    pairs = zip(other[2], frame[2], strict=True)
    return images_BCHW, labels_BHW, SoftLabels(*(torch.where(small_B1HW, new, old) for new, old in pairs))


def show(image_CHW: Tensor, geometry: Geometry, index: int) -> Tensor:
    """Return the crop of a frame: bilinear, 0 outside, and exact where pixels fall on pixels."""
    height, width = image_CHW.shape[1:]
    for axis, places, length in zip(
        (1, 2), geometry.places(geometry.size, index, (1, 1)), (height, width), strict=True
    ):
        centres = places - 0.5
        before = centres.floor()
        weight = _like(centres - before, image_CHW)
        is_inside = _like((places >= 0) & (places < length), image_CHW)
        at = [upload((before + step).clamp(0, length - 1).long(), image_CHW.device) for step in (0, 1)]
        shape = (-1, 1) if axis == 1 else (-1,)
        first, second = (image_CHW.index_select(axis, index_N) for index_N in at)
        image_CHW = torch.lerp(first, second, weight.reshape(shape)) * is_inside.reshape(shape)
    return image_CHW


def _like(values: Tensor, image: Tensor) -> Tensor:
    """Return values of the CPU in the type and on the device of an image."""
    return upload(values.to(image.dtype), image.device)


def _nearest_maps(maps_BNHW: Tensor, geometry: Geometry, frame: tuple[int, int], fill: int) -> Tensor:
    """Return the crops of maps [B, N, h, w] of frames: each pixel takes the value under its centre, outside `fill`."""
    height, width = maps_BNHW.shape[2:]
    stride = (frame[0] / height, frame[1] / width)
    shape = (max(1, round(geometry.size[0] / stride[0])), max(1, round(geometry.size[1] / stride[1])))
    shown = []
    for i, map_NHW in enumerate(maps_BNHW):
        rows, columns = (upload(part.floor().long(), maps_BNHW.device) for part in geometry.places(shape, i, stride))
        is_inside_HW = ((rows >= 0) & (rows < height))[:, None] & (columns >= 0) & (columns < width)
        picked_NHW = map_NHW[:, rows.clamp(0, height - 1)[:, None], columns.clamp(0, width - 1)]
        shown.append(picked_NHW.masked_fill(~is_inside_HW, fill))
    return torch.stack(shown)
