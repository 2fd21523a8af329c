"""Fit: where an image lies in the frame, and that its label map is fitted alike."""

import numpy as np
import pytest
from image_folders import ids
from PIL import Image

from odkd.data.video.fit import FITS, Fit, fit_label, fit_picture, placement


def test_placements_of_worked_cases() -> None:
    def seen(fit: Fit, source: tuple[int, int]) -> tuple[tuple[float, ...], slice, slice]:
        place = placement(source, shape=(40, 80), size=(40, 80), fit=fit)
        return place.box, place.rows, place.columns

    assert seen("stretch", (30, 90)) == ((0, 0, 90, 30), slice(0, 40), slice(0, 80))
    assert seen("crop", (30, 90)) == ((15, 0, 75, 30), slice(0, 40), slice(0, 80))  # 60 of 90 columns
    assert seen("crop", (100, 80)) == ((0, 30, 80, 70), slice(0, 40), slice(0, 80))  # 40 of 100 rows
    assert seen("pad", (100, 80))[1:] == (slice(0, 40), slice(24, 56))  # 32 columns wide
    assert seen("pad", (20, 80))[1:] == (slice(10, 30), slice(0, 80))
    # The same part is visible at another size.
    half = placement((30, 90), shape=(40, 80), size=(20, 40), fit="crop")
    assert half.box == (15, 0, 75, 30)


@pytest.mark.parametrize("fit", FITS)
@pytest.mark.parametrize("source", [(24, 40), (40, 24), (32, 32), (7, 90)])
def test_fitted_image_and_label_map_agree(fit: Fit, source: tuple[int, int]) -> None:
    """Fit an image whose grey values encode its labels; both must agree except at the edges of its blocks."""
    size = (64, 64)
    blocks_HW = np.kron(ids(*source, below=2), np.ones((16, 16), np.uint8))
    place = placement((blocks_HW.shape[0], blocks_HW.shape[1]), shape=size, size=size, fit=fit)
    label_HW = fit_label(blocks_HW, place, size)
    picture = Image.fromarray(blocks_HW * 255).convert("RGB").resize(blocks_HW.shape[::-1])
    image_HW = fit_picture(picture, place, size)[..., 0].astype(int)
    is_bar_HW = label_HW == 255
    assert is_bar_HW.any() == (fit == "pad" and source != (32, 32))
    assert (image_HW[is_bar_HW] == 0).all()
    sure_HW = ~is_bar_HW & ((image_HW < 60) | (image_HW > 195))
    assert sure_HW.any()
    agree = (image_HW[sure_HW] > 127) == (label_HW[sure_HW] == 1)
    assert agree.mean() > 0.97
