"""Classes of big pictures, chosen in bands, against those of logits that are enlarged as a whole."""

from typing import Any

import pytest
import torch
from torch import Tensor

from odkd.common.argmax import largest_class
from odkd.evaluation import enlarge
from odkd.evaluation.enlarge import at_size, classes_at_size

SIZES = [((32, 48), (299, 77)), ((32, 40), (40, 300)), ((100, 60), (60, 200)), ((33, 47), (33, 300))]


def logits(num_images: int, num_classes: int, size: tuple[int, int], layout: str) -> Tensor:
    """Return logits with many near ties, stored by class, by pixel, or as a part of larger ones."""
    height, width = size
    generator = torch.Generator().manual_seed(0)
    larger = torch.randn(num_images, num_classes, height + 3, width + 5, generator=generator).round(decimals=1)
    if layout != "planes":
        larger = larger.contiguous(memory_format=torch.channels_last)
    part = larger[:, :, 1:-2, 2:-3]
    memory = torch.contiguous_format if layout == "planes" else torch.channels_last
    return part if layout == "part" else part.contiguous(memory_format=memory)


@pytest.mark.parametrize("layout", ["planes", "rows", "part"])
@pytest.mark.parametrize("num_classes", [2, 3, 11, 19])
@pytest.mark.parametrize(("size", "wanted"), SIZES)
def test_bands_choose_the_classes_of_the_whole(
    layout: str, num_classes: int, size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    logits_BKHW = logits(2, num_classes, size, layout)
    whole_BHW = largest_class(at_size(logits_BKHW, wanted))
    assert torch.equal(classes_at_size(logits_BKHW, wanted, most_values=1000), whole_BHW)
    one = num_classes * wanted[0] * wanted[1]
    assert torch.equal(classes_at_size(logits_BKHW, wanted, most_values=one), whole_BHW)


def test_no_band_is_large(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []
    resized = enlarge._resized

    def counted(*arguments: Any) -> Tensor:
        found = resized(*arguments)
        asked.append(found.numel())
        return found

    monkeypatch.setattr(enlarge, "_resized", counted)
    monkeypatch.setattr(enlarge, "BAND_VALUES", 2**14)
    logits_BKHW = logits(1, 11, (64, 64), "rows")
    classes_at_size(logits_BKHW, (1000, 600), most_values=1000)
    assert enlarge._rounding(logits_BKHW, (1000, 600)) is not None  # so that there were bands
    assert max(asked) < 11 * 1000 * 600 / 15


def test_nan_counts_as_the_largest_in_a_band_too() -> None:
    logits_BKHW = logits(1, 11, (32, 48), "rows")
    logits_BKHW[0, 3, 4, 5] = torch.nan
    whole_BHW = largest_class(at_size(logits_BKHW, (299, 77)))
    assert torch.equal(classes_at_size(logits_BKHW, (299, 77), most_values=1000), whole_BHW)


def test_where_bands_have_other_bits_the_picture_is_enlarged_as_a_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    logits_BKHW = logits(1, 11, (32, 48), "rows")
    monkeypatch.setattr(enlarge, "_are_equal", lambda *_: False)
    whole_BHW = largest_class(at_size(logits_BKHW, (299, 77)))
    assert enlarge._rounding(logits_BKHW, (299, 77)) is None
    assert torch.equal(classes_at_size(logits_BKHW, (299, 77), most_values=1000), whole_BHW)
