"""Classes of big pictures, chosen class by class, against those of logits that are enlarged as a whole."""

import pytest
import torch
from torch import Tensor

from odkd.common.argmax import largest_class
from odkd.evaluation import enlarge
from odkd.evaluation.enlarge import at_size, classes_at_size

SIZES = [((32, 48), (299, 77)), ((32, 40), (40, 300)), ((100, 60), (60, 200)), ((33, 47), (33, 300))]


def make_logits(num_classes: int, size: tuple[int, int], layout: torch.memory_format) -> Tensor:
    """Return logits of two images, with many near ties."""
    logits_BKHW = torch.randn(2, num_classes, *size, generator=torch.Generator().manual_seed(0)).round(decimals=1)
    return logits_BKHW.contiguous(memory_format=layout)


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
@pytest.mark.parametrize("num_classes", [1, 2, 11])
@pytest.mark.parametrize(("size", "wanted"), SIZES)
def test_the_classes_are_those_of_the_whole(
    layout: torch.memory_format, num_classes: int, size: tuple[int, int], wanted: tuple[int, int]
) -> None:
    logits_BKHW = make_logits(num_classes, size, layout)
    enlarged_BKHW = at_size(logits_BKHW, wanted)
    whole_BHW = largest_class(enlarged_BKHW)
    one = num_classes * wanted[0] * wanted[1]
    assert torch.equal(classes_at_size(logits_BKHW, wanted, most_values=one), whole_BHW)
    chosen_BHW = classes_at_size(logits_BKHW, wanted, most_values=1000)
    assert chosen_BHW.dtype == torch.uint8
    if layout == torch.contiguous_format:
        assert torch.equal(chosen_BHW, whole_BHW)
    else:  # torch rounds otherwise in this layout, so that of equal logits another may be the largest
        taken_BHW = enlarged_BKHW.gather(1, chosen_BHW[:, None].long())[:, 0]
        torch.testing.assert_close(taken_BHW, enlarged_BKHW.amax(1), rtol=0, atol=1e-5)


def test_no_more_than_a_class_is_enlarged_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def counted(logits_BKHW: Tensor, size: tuple[int, int]) -> Tensor:
        found = at_size(logits_BKHW, size)
        asked.append(found.numel())
        return found

    monkeypatch.setattr(enlarge, "at_size", counted)
    classes_at_size(make_logits(11, (64, 64), torch.channels_last), (1000, 600), most_values=1000)
    assert asked == [1000 * 600] * 22


def test_nan_counts_as_the_largest_and_the_first_of_equals_is_taken() -> None:
    logits_BKHW = torch.zeros(1, 4, 8, 8)
    logits_BKHW[0, 2, 4, 5] = torch.nan
    logits_BKHW[0, 3, 4, 5] = torch.nan
    whole_BHW = largest_class(at_size(logits_BKHW, (29, 31)))
    assert set(whole_BHW.unique().tolist()) == {0, 2}
    assert torch.equal(classes_at_size(logits_BKHW, (29, 31), most_values=10), whole_BHW)
