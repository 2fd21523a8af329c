"""Point sampling: bilinear interpolation with zeros around the map, also in half precision."""

import numpy as np
import pytest
import torch

from odkd.teachers.point_sample import point_sample


@pytest.mark.parametrize("align_corners", [False, True])
def test_point_sample_is_bilinear_interpolation_with_zeros_around(align_corners: bool) -> None:
    generator = np.random.default_rng(0)
    maps = generator.normal(size=(2, 3, 5, 7))
    points = np.concatenate([generator.uniform(-0.2, 1.2, (2, 60, 2)), np.array([[[0, 0], [1, 1], [0.5, 1]]] * 2)], 1)

    def value(b: int, c: int, row: int, column: int) -> float:
        return float(maps[b, c, row, column]) if 0 <= row < 5 and 0 <= column < 7 else 0.0

    expected = np.zeros((2, 3, 63))
    for b, c, p in np.ndindex(expected.shape):
        x, y = points[b, p]
        column, row = (x * 6, y * 4) if align_corners else (x * 7 - 0.5, y * 5 - 0.5)
        left, top = int(np.floor(column)), int(np.floor(row))
        right, down = column - left, row - top
        upper = value(b, c, top, left) * (1 - right) + value(b, c, top, left + 1) * right
        lower = value(b, c, top + 1, left) * (1 - right) + value(b, c, top + 1, left + 1) * right
        expected[b, c, p] = upper * (1 - down) + lower * down
    ours = point_sample(torch.from_numpy(maps), torch.from_numpy(points), align_corners=align_corners)
    np.testing.assert_allclose(ours, expected, atol=1e-12)
    grid = point_sample(torch.from_numpy(maps), torch.from_numpy(points[:, :60]).view(2, 6, 10, 2), align_corners)
    np.testing.assert_allclose(grid.reshape(2, 3, 60), expected[:, :, :60], atol=1e-12)


def test_point_sample_finds_the_pixel_of_a_wide_map_in_half_precision() -> None:
    ramp = torch.arange(200.0).to(torch.bfloat16).expand(1, 1, 1, 200)
    points = torch.tensor([[[(137 + 0.5) / 200, 0.5]]])
    sampled = point_sample(ramp, points)
    assert sampled.dtype == torch.bfloat16
    assert sampled.item() == 137
