"""Logits from channels-last memory, where the classes of a pixel lie side by side, to one plane for each class.

torch's softmax and cross-entropy want planes. On CPUs torch's own copy into planes takes longer than the loss, because
it is not vectorised. `channel_shuffle` of channels-last images is: it transposes one matrix per pixel. Here each row of
an image is such a "pixel", and its W x K logits are the matrix.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

DTYPES = (torch.float32, torch.bfloat16)


def has_fast_planes(logits_BKHW: Tensor) -> bool:
    """Return True if logits are in a CPU's memory channels-last, and in no other layout."""
    return (
        logits_BKHW.device.type == "cpu"
        and logits_BKHW.dtype in DTYPES
        and logits_BKHW.numel() > 0
        and not logits_BKHW.is_contiguous()
        and logits_BKHW.is_contiguous(memory_format=torch.channels_last)
    )


def class_rows(logits_BKHW: Tensor) -> Tensor:
    """Return channels-last logits as rows of classes: [B, H, K, W], contiguous."""
    batch, num_classes, height, width = logits_BKHW.shape
    rows = logits_BKHW.permute(0, 2, 3, 1).reshape(1, batch * height, 1, width * num_classes).permute(0, 3, 1, 2)
    return F.channel_shuffle(rows, width).permute(0, 2, 3, 1).reshape(batch, height, num_classes, width)


def float_planes(logits_BKHW: Tensor) -> Tensor:
    """Return logits as float32 (float64 unchanged), in planes if they are channels-last in a CPU's memory.

    `F.cross_entropy` returns the same bits for them, and so do its gradients.
    """
    if logits_BKHW.dtype == torch.float64:
        return logits_BKHW
    if not has_fast_planes(logits_BKHW):
        return logits_BKHW.float()
    planes_BKHW: Tensor = _FloatPlanes.apply(logits_BKHW)
    return planes_BKHW


class _FloatPlanes(torch.autograd.Function):
    """The copy; its gradients have the values and the layout of those of torch's own copy."""

    @staticmethod
    def forward(ctx: Any, logits_BKHW: Tensor) -> Tensor:
        ctx.dtype = logits_BKHW.dtype
        planes_BKHW = class_rows(logits_BKHW).permute(0, 2, 1, 3)
        return planes_BKHW.to(torch.float32, memory_format=torch.contiguous_format, copy=True)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0].to(ctx.dtype)
