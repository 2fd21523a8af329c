"""A student's trainable weights, and gradients with respect to them, as one vector [P] of float32.

P is the number of trainable weights. One vector makes a penalty a handful of kernels instead of some per layer.
"""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn

from odkd.training.regularizers import Update


def trainable(student: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in student.parameters() if parameter.requires_grad]


def weight_vector(student: nn.Module) -> Tensor:
    """A copy [P] that backpropagates to the weights."""
    return _vector(trainable(student))


def gradient_vector(student: nn.Module) -> Tensor:
    """`.grad` of the weights [P]; 0 where a weight has none."""
    return _vector(torch.zeros_like(p) if p.grad is None else p.grad for p in trainable(student))


def gradients_of_frames(
    student: nn.Module, update: Update, objective: Callable[[Tensor, Tensor], Tensor]
) -> Iterator[tuple[Tensor, Tensor]]:
    """For each frame of the pass: the gradient [P] of `objective(logits_1KHW, labels_1HW)`, and labels_1HW.

    As at evaluation: no dropout, and batch norm neither uses nor updates the statistics of one frame if it has
    others. In float32 whatever the run's precision: in float16 such gradients would be 0 without a scaler.
    """
    weights, was_training = trainable(student), student.training
    student.eval()
    for images_1CHW, labels_1HW in update.frames_of_pass():
        value = objective(student(images_1CHW), labels_1HW)
        yield _vector(torch.autograd.grad(value, weights, materialize_grads=True)), labels_1HW
    student.train(was_training)


def _vector(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1).float() for tensor in tensors])
