"""Sampling of a feature map between its pixels in plain torch, in place of mmcv's compiled operation for PointRend."""

from typing import Any

import torch
import torch.nn.functional as F


def point_sample(input: torch.Tensor, points: torch.Tensor, align_corners: bool = False, **kwargs: Any) -> torch.Tensor:
    """Sample a map at points, with zeros outside; a replacement of `mmcv.ops.point_sample` with the same arguments.

    Args:
        input: [B, C, H, W].
        points: (x, y) in 0..1 over the width and height of the map, [B, P, 2] or [B, Gh, Gw, 2].
        align_corners: 0 and 1 are the centres of the outermost pixels rather than their outer edges.
        kwargs: passed to `torch.nn.functional.grid_sample`, such as mode="nearest".

    Returns:
        [B, C, P] or [B, C, Gh, Gw].
    """
    is_list = points.dim() == 3
    grid = points.unsqueeze(2) if is_list else points
    exact = torch.promote_types(input.dtype, grid.dtype)  # half precision cannot separate neighbouring pixels
    sampled = F.grid_sample(input.to(exact), 2 * grid.to(exact) - 1, align_corners=align_corners, **kwargs)
    sampled = sampled.to(input.dtype)
    return sampled.squeeze(3) if is_list else sampled


def supply_point_sample() -> None:
    """Give mmseg's PointRend head our `point_sample` where mmcv is installed without the compiled operation."""
    from mmseg.models.decode_heads import point_head

    if point_head.point_sample is None:
        point_head.point_sample = point_sample
