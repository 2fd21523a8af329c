"""Adaptive average pooling whose gradient has the same bits each time, on GPUs too."""

import torch
import torch.nn.functional as F
from torch import Tensor


def grid_means(images_BCHW: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the means over the cells of a grid of rows x columns: `F.adaptive_avg_pool2d`.

    On a GPU torch adds up that function's gradient in a random order where cells overlap (a side that is no multiple of
    the grid). Where a run is to be deterministic the means are two matrix products instead, equal up to rounding.
    """
    if images_BCHW.is_cuda and torch.are_deterministic_algorithms_enabled():
        return grid_means_by_products(images_BCHW, grid)
    return F.adaptive_avg_pool2d(images_BCHW, grid)


def grid_means_by_products(images_BCHW: Tensor, grid: tuple[int, int]) -> Tensor:
    """Return the means over the cells of a grid, computed in float32 as rows @ image @ columns."""
    height, width = images_BCHW.shape[2:]
    with torch.autocast(images_BCHW.device.type, enabled=False):
        columns_WN = _cells(width, grid[1], images_BCHW.device).T
        means = _cells(height, grid[0], images_BCHW.device) @ (images_BCHW.float() @ columns_WN)
    return means.to(images_BCHW.dtype)


def _cells(length: int, num_cells: int, device: torch.device) -> Tensor:
    """Return the share of each pixel in each cell: float32 [cells, length]; cells that share a pixel overlap.

    >>> _cells(3, 2, torch.device("cpu"))
    tensor([[0.5000, 0.5000, 0.0000],
            [0.0000, 0.5000, 0.5000]])
    """
    pixels_L, cells_N1 = torch.arange(length, device=device), torch.arange(num_cells, device=device)[:, None]
    first_N1 = cells_N1 * length // num_cells
    end_N1 = -(-(cells_N1 + 1) * length // num_cells)
    return ((pixels_L >= first_N1) & (pixels_L < end_N1)) / (end_N1 - first_N1)
