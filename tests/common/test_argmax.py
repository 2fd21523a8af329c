"""The fast arg-max against `torch.max`, of which it must not differ by one pixel."""

import pytest
import torch
from torch import Tensor

from odkd.common.argmax import largest_class, plainly
from odkd.common.layout import DTYPES

SHAPES = [
    (1, 1, 3, 5),
    (1, 2, 1, 1),
    (2, 19, 9, 7),
    (3, 11, 32, 40),
    (1, 256, 13, 11),
    (2, 180, 1, 2560),
    (1, 19, 45, 60),
]


def in_layout(logits_BKHW: Tensor, layout: str) -> Tensor:
    """Return the same logits, stored by class, by pixel, or as a part of a larger tensor."""
    if layout == "planes":
        return logits_BKHW.contiguous()
    if layout == "rows":
        return logits_BKHW.contiguous(memory_format=torch.channels_last)
    larger = torch.nn.functional.pad(logits_BKHW, (1, 2, 3, 1))
    return larger[:, :, 3:-1, 1:-2]


@pytest.mark.parametrize("layout", ["planes", "rows", "part"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16, torch.float64])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_every_pixel_has_the_class_that_torch_max_finds(
    shape: tuple[int, ...], dtype: torch.dtype, layout: str
) -> None:
    generator = torch.Generator().manual_seed(0)
    smooth = torch.randn(shape, generator=generator)
    many_ties = torch.randint(-1, 2, shape, generator=generator).float()
    infinite = torch.where(many_ties > 0, smooth, -torch.inf)
    infinite = torch.where(torch.rand(shape, generator=generator) < 0.05, torch.inf, infinite)
    for logits in (smooth, many_ties * 0.0, many_ties, infinite):
        stored = in_layout(logits.to(dtype), layout)
        found = largest_class(stored)
        assert found.dtype == torch.uint8
        assert found.is_contiguous()
        assert torch.equal(found, plainly(stored))


@pytest.mark.parametrize("layout", ["planes", "rows"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_pixel_with_nan_has_the_first_class_that_is_nan(dtype: torch.dtype, layout: str) -> None:
    logits = torch.randn(2, 7, 40, 64, generator=torch.Generator().manual_seed(0))
    logits[0, 2, 1, 1] = logits[0, 5, 1, 1] = logits[1, 0, 39, 63] = logits[1, 6, 39, 63] = torch.nan
    logits[1, 3, 0, 0] = torch.inf
    logits[1, 4, 0, 0] = torch.nan
    found = largest_class(in_layout(logits.to(dtype), layout))
    assert (found[0, 1, 1], found[1, 39, 63], found[1, 0, 0]) == (2, 0, 4)
    assert torch.equal(found, plainly(logits.to(dtype)))


@pytest.mark.parametrize("layout", ["planes", "rows"])
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_whole_images_do_not_take_the_slow_way(
    dtype: torch.dtype, layout: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow: list[int] = []

    def count(logits: Tensor) -> Tensor:
        slow.append(logits.numel() // logits.shape[1])
        return plainly(logits)

    monkeypatch.setattr("odkd.common.argmax.plainly", count)
    logits = in_layout(torch.randn(1, 5, 101, 103).to(dtype), layout)
    assert torch.equal(largest_class(logits), plainly(logits))
    assert not slow


def test_a_student_that_learns_may_be_asked_too() -> None:
    logits = torch.randn(1, 3, 8, 8, requires_grad=True)
    assert not largest_class(logits).requires_grad
    with torch.inference_mode():
        assert torch.equal(largest_class(logits * 1), plainly(logits))
