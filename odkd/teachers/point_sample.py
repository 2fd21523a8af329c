"""Values of a feature map between its pixels, on torch alone: what PointRend needs of mmcv's compiled operations."""

from typing import Any

import torch
import torch.nn.functional as F


def point_sample(input: torch.Tensor, points: torch.Tensor, align_corners: bool = False, **kwargs: Any) -> torch.Tensor:
    """Sample a map at points, zero outside; named and called as `mmcv.ops.point_sample`, which it stands in for.

    Args:
        input: [B, C, H, W].
        points: (x, y) in 0..1 over the width and height of the map, [B, P, 2] or [B, Gh, Gw, 2].
        align_corners: whether 0 and 1 are the centres of the outermost pixels rather than their outer edges.
        kwargs: of `torch.nn.functional.grid_sample`, such as mode="nearest".

    Returns:
        [B, C, P] or [B, C, Gh, Gw].
    """
    is_list = points.dim() == 3
    grid = points.unsqueeze(2) if is_list else points
    exact = torch.promote_types(input.dtype, grid.dtype)  # half precision would not tell neighbouring pixels apart
    sampled = F.grid_sample(input.to(exact), 2 * grid.to(exact) - 1, align_corners=align_corners, **kwargs)
    sampled = sampled.to(input.dtype)
    return sampled.squeeze(3) if is_list else sampled


def supply_point_sample() -> None:
    """Give mmseg's PointRend head our `point_sample`, only where mmcv was installed without its compiled one."""
    from mmseg.models.decode_heads import point_head

    if point_head.point_sample is None:
        point_head.point_sample = point_sample
