"""Faster forms of convolutions that follow a nearest-neighbour upsampling: equal results, fewer multiplications.

Upsampling repeats pixels, so several taps of the kernel meet the same pixel, and their weights can be added first: the
convolution runs on the small image. Results are equal up to rounding (1e-6 in float32, gradients too).
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

Size = tuple[int, int]


def use_fast_forms(module: nn.Module, is_wanted: bool) -> None:
    """Switch the fast forms of a module and of those in it on or off, where it has the attribute `fast_forms`."""
    for part in module.modules():
        if hasattr(part, "fast_forms"):
            part.fast_forms = is_wanted  # type: ignore[assignment]  # a plain attribute


def upsampled_conv(images_BCHW: Tensor, conv: nn.Conv2d, factor: int, *, rectify: bool = False) -> Tensor:
    """Return `conv(F.interpolate(images, scale_factor=factor, mode="nearest"))`, for a 3x3 kernel and zero padding.

    A row of the result sees at most two rows of the input: the first of the `factor` rows that a row becomes sees the
    row above, the last one the row below, and those between all see one row, and are equal. So 2x2 kernels with 9
    times as many outputs (4 for factor 2) make them all.

    Args:
        images_BCHW: before the upsampling.
        conv: 3x3, stride 1, padding 1.
        factor: 2 or more.
        rectify: follow it by a ReLU.

    Returns:
        [B, K, factor * H, factor * W], in channels-last.
    """
    with torch.autocast(images_BCHW.device.type, enabled=False):  # sums of weights are rounded once, by conv2d
        mixed = _mixing(factor).to(conv.weight)
        weight = torch.einsum("tpk,uql,ockl->tuocpq", mixed, mixed, conv.weight).flatten(0, 2)
        bias = None if conv.bias is None else conv.bias.repeat(len(mixed) ** 2)
    kinds = F.conv2d(images_BCHW, weight.contiguous(memory_format=torch.channels_last), bias, padding=1)
    return _Interleave.apply(F.relu(kinds, inplace=True) if rectify else kinds, factor)  # type: ignore[no-any-return]


@lru_cache
def _mixing(factor: int) -> Tensor:
    """Return for each kind of row which taps meet the upper and which the lower of its two input rows, 0/1 [T, 2, 3].

    The kinds: the first row, those between (factor 2 has none), the last row.
    """
    first, between, last = [[1, 0, 0], [0, 1, 1]], [[0, 0, 0], [1, 1, 1]], [[1, 1, 0], [0, 0, 1]]
    return torch.tensor([first, *([between] if factor > 2 else []), last], dtype=torch.float32)


class _Interleave(torch.autograd.Function):
    """From the kinds of pixels [B, T * T * K, H + 1, W + 1] to the image [B, K, factor * H, factor * W]."""

    @staticmethod
    def forward(ctx: Any, kinds: Tensor, factor: int) -> Tensor:
        ctx.factor, ctx.shape = factor, kinds.shape
        batch_size, channels, height, width = kinds.shape
        shape = (batch_size, channels // len(_mixing(factor)) ** 2, factor * (height - 1), factor * (width - 1))
        image = torch.empty(shape, dtype=kinds.dtype, device=kinds.device, memory_format=torch.channels_last)
        for kind, pixels, _ in _pairs(kinds, image, factor):
            pixels.copy_(kind)
        return image

    @staticmethod
    def backward(ctx: Any, image: Tensor) -> tuple[Tensor, None]:
        kinds = torch.empty(ctx.shape, dtype=image.dtype, device=image.device, memory_format=torch.channels_last)
        kinds.zero_()  # each kind leaves out a row or a column at the border
        for kind, pixels, is_first in _pairs(kinds, image, ctx.factor):
            kind.copy_(pixels) if is_first else kind.add_(pixels)
        return kinds, None


def _pairs(kinds: Tensor, image: Tensor, factor: int) -> Iterator[tuple[Tensor, Tensor, bool]]:
    """Yield pixels of one kind, the pixels of the image that equal them, and True for the first such of a kind.

    Both are views [B, K, H, W].
    """
    num_classes, height, width = image.shape[1], image.shape[2] // factor, image.shape[3] // factor
    num_kinds = len(_mixing(factor))
    for row in range(factor):
        for column in range(factor):
            down, right = int(row == factor - 1), int(column == factor - 1)
            number = num_kinds * _kind(row, factor) + _kind(column, factor)
            channels = slice(number * num_classes, (number + 1) * num_classes)
            kind = kinds[:, channels, down : down + height, right : right + width]
            yield kind, image[:, :, row::factor, column::factor], row <= 1 + down and column <= 1 + right


def _kind(row: int, factor: int) -> int:
    """Return the number of the kind of a row, in the order of `_mixing`.

    >>> [_kind(row, 2) for row in range(2)], [_kind(row, 4) for row in range(4)]
    ([0, 1], [0, 1, 1, 2])
    """
    return 0 if row == 0 else len(_mixing(factor)) - 1 if row == factor - 1 else 1


def upsampled_grids_conv(grids: Sequence[Tensor], weight_OCkl: Tensor, size: Size) -> Tensor:
    """Return the 3x3 convolution (zero padding, no bias) of small images that are upsampled to one size, concatenated.

    Each product of a weight and a cell of a grid is computed once; sums over rows, then over columns, follow.

    Args:
        grids: float32 [B, C, rows, columns] each.
        weight_OCkl: float32 [O, C * len(grids), 3, 3], in the order of `grids`.
        size: (height, width) of the result.

    Returns:
        float32 [B, O, height, width], in channels-last.
    """
    by_row, columns_Xw = [], []
    for grid_BCrs, weight in zip(grids, weight_OCkl.chunk(len(grids), dim=1), strict=True):
        rows_khr = _seen(grid_BCrs.shape[2], size[0]).to(grid_BCrs)
        columns_lws = _seen(grid_BCrs.shape[3], size[1]).to(grid_BCrs)
        products = torch.einsum("ockl,bcrs->bklrso", weight, grid_BCrs)
        by_row.append(torch.einsum("khr,bklrso->bhlso", rows_khr, products).flatten(2, 3))
        columns_Xw.append(columns_lws.permute(0, 2, 1).flatten(0, 1))
    return torch.einsum("xw,bhxo->bhwo", torch.cat(columns_Xw), torch.cat(by_row, 2)).permute(0, 3, 1, 2)


@lru_cache
def _seen(cells: int, length: int) -> Tensor:
    """Return for each of three taps which cell a pixel's neighbour lies in, 0/1 [3, length, cells]; outside: none."""
    cell_of = nearest_cells(cells, length)
    found = torch.zeros(3, length, cells)
    for tap, offset in enumerate((-1, 0, 1)):
        pixels = torch.arange(max(0, -offset), length - max(0, offset))
        found[tap, pixels, cell_of[pixels + offset]] = 1
    return found


def nearest_cells(cells: int, length: int) -> Tensor:
    """Return the cell of each pixel as `F.interpolate` (nearest) upsamples `cells` to `length`, int64 [length].

    >>> nearest_cells(2, 5)
    tensor([0, 0, 0, 1, 1])
    """
    numbers = torch.arange(cells, dtype=torch.float32)
    return F.interpolate(numbers[None, None], size=length, mode="nearest")[0, 0].long()


def upsampled_batch_norm(grid_BCrs: Tensor, weight_C: Tensor, bias_C: Tensor, size: Size, eps: float) -> Tensor:
    """Return a small image, normalized by the batch statistics of itself upsampled to `size`, float32 [B, C, r, s]."""
    counts = [torch.bincount(nearest_cells(n, m), minlength=n) for n, m in zip(grid_BCrs.shape[2:], size, strict=True)]
    share_rs = (counts[0][:, None] * counts[1]).to(grid_BCrs) / (size[0] * size[1] * len(grid_BCrs))
    mean_C = (grid_BCrs * share_rs).sum((0, 2, 3), keepdim=True)
    centred = grid_BCrs - mean_C
    variance_C = (centred.square() * share_rs).sum((0, 2, 3), keepdim=True)
    scale = weight_C[:, None, None] * torch.rsqrt(variance_C + eps)
    return centred * scale + bias_C[:, None, None]
