"""Logits copied into planes: the same values, losses and gradients as by torch's own, slower copy."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from odkd.common.layout import float_planes, has_fast_planes
from odkd.students.tinynet import TinyNet


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize(
    "shape", [(1, 19, 36, 48), (2, 3, 7, 5), (1, 2, 1, 9), (1, 2, 9, 1), (3, 1, 4, 4), (1, 5, 1, 1)]
)
def test_planes_hold_the_same_logits(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    logits = torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(dtype)
    for stored in (logits, logits.contiguous(memory_format=torch.channels_last), logits.flip(3).flip(3)):
        planes = float_planes(stored)
        assert planes.dtype == torch.float32
        assert torch.equal(planes, logits.float())
        assert planes.is_contiguous() or not has_fast_planes(stored)


def test_float64_stays_as_it_is() -> None:
    logits = torch.randn(1, 3, 4, 5, dtype=torch.float64)
    assert float_planes(logits) is logits


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_a_step_of_a_channels_last_student_keeps_its_bits(precision: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(1, 3, 45, 62, generator=generator).contiguous(memory_format=torch.channels_last)
    labels = torch.randint(0, 19, (1, 45, 62), generator=generator)
    found = []
    for copy in (float_planes, torch.Tensor.float):
        torch.manual_seed(0)
        student: nn.Module = TinyNet(19).to(memory_format=torch.channels_last)
        with torch.autocast("cpu", precision, enabled=precision != torch.float32):
            logits = student(images)
        assert has_fast_planes(logits)
        loss = F.cross_entropy(copy(logits), labels, reduction="sum")
        loss.backward()  # type: ignore[no-untyped-call]
        found.append([loss, *(weight.grad for weight in student.parameters())])
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(*found, strict=True))


def test_planes_can_be_differentiated_twice() -> None:
    logits = torch.randn(1, 3, 4, 8, dtype=torch.float32).contiguous(memory_format=torch.channels_last)
    logits.requires_grad_()
    (first,) = torch.autograd.grad((float_planes(logits) ** 3).sum(), logits, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), logits)
    torch.testing.assert_close(second, 6 * logits)
