"""Logits at another size, and the class of each pixel there, of big pictures in bands of rows that fit into memory.

A band has the bits of the whole. torch's kernel takes a row of the result from two rows of logits and a weight, which
it computes from the row's number and the scale. So rows of the same weight are asked for as the first rows of pictures
that are two logits high, at the scale that gives this weight. How the kernel rounds differs between processors: a
sample of the picture shows which way it is, and where none has the same bits, the picture is enlarged as a whole.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from odkd.common.argmax import largest_class

MOST_VALUES = 2**26  # logits enlarged at once, in 4 bytes each; the choice of the class takes as much again
BAND_VALUES = 2**22  # logits of a band
SAMPLE_ROWS = 256
LEAST_WIDTH = 128  # torch has another kernel for smaller results


def at_size(logits_BKHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Return logits resized bilinearly to `size` = (height, width); unchanged if they have it."""
    if logits_BKHW.shape[2:] == size:
        return logits_BKHW
    return F.interpolate(logits_BKHW.float(), size, mode="bilinear")


def classes_at_size(logits_BKHW: Tensor, size: tuple[int, int], *, most_values: int = MOST_VALUES) -> Tensor:
    """Return the class with the largest logit, uint8 [B, *size], after the logits have been resized to `size`.

    Args:
        logits_BKHW: of any memory layout.
        size: (height, width).
        most_values: logits that may be in memory at that size; if there are more, images go one by one, and on a CPU
            in bands.
    """
    num_classes, is_on_cpu = logits_BKHW.shape[1], logits_BKHW.device.type == "cpu"
    one = num_classes * size[0] * size[1]
    if len(logits_BKHW) * one <= most_values or logits_BKHW.shape[2:] == size:
        return largest_class(at_size(logits_BKHW, size))
    if one <= most_values or not is_on_cpu:
        return torch.cat([largest_class(at_size(logits_BKHW[i : i + 1], size)) for i in range(len(logits_BKHW))])
    classes_BHW = torch.empty((len(logits_BKHW), *size), dtype=torch.uint8, device=logits_BKHW.device)
    for classes_HW, logits_KHW in zip(classes_BHW, logits_BKHW, strict=True):
        logits_1KHW = logits_KHW[None].float()
        fused = _rounding(logits_1KHW, size)
        if fused is None:
            classes_HW[:] = largest_class(at_size(logits_1KHW, size))[0]
            continue
        for rows, band_NKRW in _bands(logits_1KHW, size, size[0], BAND_VALUES // (num_classes * size[1]) + 1, fused):
            classes_HW[rows] = largest_class(band_NKRW).flatten(0, 1)
    return classes_BHW


def _rounding(logits_1KHW: Tensor, size: tuple[int, int]) -> bool | None:
    """Return if the kernel rounds once where it computes a place (True) or twice; None if bands have other bits."""
    narrow = (size[0], min(size[1], LEAST_WIDTH))
    num_rows = min(size[0], _first_rows(logits_1KHW, size) + SAMPLE_ROWS)
    whole_1KRW = _resized(logits_1KHW, (num_rows, narrow[1]), _scales(logits_1KHW, size))
    for fused in (True, False):
        bands = _bands(logits_1KHW, size, num_rows, SAMPLE_ROWS, fused, width=narrow[1])
        if all(_are_equal(whole_1KRW[0, :, rows], band.transpose(0, 1).flatten(1, 2)) for rows, band in bands):
            return fused
    return None


def _are_equal(found: Tensor, expected: Tensor) -> bool:
    return bool(((found == expected) | (found.isnan() & expected.isnan())).all())


def _bands(
    logits_1KHW: Tensor, size: tuple[int, int], num_rows: int, most_rows: int, fused: bool, width: int | None = None
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield numbers of rows, int64 [N * R], and their logits [N, K, R, W], until the first `num_rows` are complete."""
    is_last = torch.channels_last if logits_1KHW.is_contiguous(memory_format=torch.channels_last) else None
    layout, width = is_last or torch.contiguous_format, width or size[1]
    (scale, across), num_first = _scales(logits_1KHW, size), min(num_rows, _first_rows(logits_1KHW, size))
    yield torch.arange(num_first), _resized(logits_1KHW, (num_first, width), (scale, across))
    places = torch.arange(num_first, num_rows).double().add(0.5).mul(scale)
    places = ((places if fused else places.float().double()) - 0.5).float()
    above = places.long().clamp(max=logits_1KHW.shape[2] - 1)
    weights, counts = torch.unique(places - above, return_counts=True)
    order = torch.argsort(places - above, stable=True)
    for weight, same in zip(weights.tolist(), torch.split(order, counts.tolist()), strict=True):
        for some in torch.split(same, most_rows):
            pairs_N2 = torch.stack([above[some], (above[some] + 1).clamp(max=logits_1KHW.shape[2] - 1)], 1)
            two_NK2W = logits_1KHW[0][:, pairs_N2].transpose(0, 1).contiguous(memory_format=layout)
            yield some + num_first, _resized(two_NK2W, (1, width), (1 + 2 * weight, across))


def _resized(logits_NKHW: Tensor, size: tuple[int, int], scales: tuple[float, float]) -> Tensor:
    """Return the first rows and columns of logits that are enlarged at these scales (pixels there for one here)."""
    wide = max(size[1], LEAST_WIDTH)
    resized: Tensor = torch.ops.aten.upsample_bilinear2d(
        logits_NKHW, [size[0], wide], False, 1 / scales[0], 1 / scales[1]
    )
    return resized[..., : size[1]]


def _scales(logits_1KHW: Tensor, size: tuple[int, int]) -> tuple[float, float]:
    """Return logits for one pixel, along height and width, as float32 has them."""
    given, wanted = torch.tensor(logits_1KHW.shape[2:]).float(), torch.tensor(size).float()
    height, width = (given / wanted).tolist()
    return height, width


def _first_rows(logits_1KHW: Tensor, size: tuple[int, int]) -> int:
    """Return the number of rows above the second row of logits, whose weights have too many digits for a scale."""
    return min(size[0], int(1.5 * size[0] / logits_1KHW.shape[2]) + 1)
