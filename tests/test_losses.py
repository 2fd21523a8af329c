"""Losses against torch's own."""

import pytest
import torch
import torch.nn.functional as F  # noqa: N812

from odkd.losses import CrossEntropy


@pytest.mark.parametrize("num_classes", [2, 11, 150])
@pytest.mark.parametrize("is_weighted", [False, True])
def test_cross_entropy_and_its_gradient_equal_torchs(num_classes: int, is_weighted: bool) -> None:
    generator = torch.Generator().manual_seed(num_classes)
    logits = torch.randn(2, num_classes, 6, 5, generator=generator, requires_grad=True)
    labels = torch.randint(num_classes, (2, 6, 5), generator=generator)
    labels[0, :2] = 255
    weights = torch.rand(num_classes, generator=generator) if is_weighted else None
    ours = CrossEntropy(None if weights is None else weights.tolist())(logits, labels)
    (our_gradient,) = torch.autograd.grad(ours, logits)
    theirs = F.cross_entropy(logits, labels, weight=weights, ignore_index=255)
    (their_gradient,) = torch.autograd.grad(theirs, logits)
    torch.testing.assert_close(ours, theirs, rtol=1e-6, atol=1e-7)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("weights", [None, [1.0, 2.0]])
def test_a_batch_without_labels_has_loss_zero_and_gradient_zero(weights: list[float] | None) -> None:
    logits = torch.randn(1, 2, 3, 3, requires_grad=True)
    loss = CrossEntropy(weights)(logits, torch.full((1, 3, 3), 255))
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert logits.grad.abs().max() == 0
