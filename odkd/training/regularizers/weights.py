"""A student's trainable weights, their gradients and a distance between them, as vectors [P] of float32.

P is the number of trainable weights. With one vector, a penalty takes a few kernels instead of a few per layer.
"""

from collections.abc import Callable, Iterable, Iterator

import torch
from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from odkd.training.regularizers import Update


def trainable(student: nn.Module) -> list[nn.Parameter]:
    return [parameter for parameter in student.parameters() if parameter.requires_grad]


def weight_vector(student: nn.Module) -> Tensor:
    """Return a copy [P] of the weights that backpropagates to them."""
    return _vector(trainable(student))


def gradient_vector(student: nn.Module) -> Tensor:
    """Return the `.grad` of the weights [P]; 0 for a weight without one."""
    return _vector(torch.zeros_like(p) if p.grad is None else p.grad for p in trainable(student))


def squared_distance(weights_P: Tensor, anchor_P: Tensor, importance_P: Tensor) -> Tensor:
    """Return sum_i importance_i (weight_i - anchor_i)^2, a scalar.

    >>> squared_distance(torch.tensor([3.0, 1.0]), torch.tensor([1.0, 1.0]), torch.tensor([0.5, 9.0]))
    tensor(2.)
    """
    return (importance_P * (weights_P - anchor_P).square()).sum()


def gradients_of_frames(
    student: nn.Module, update: Update, objective: Callable[[Tensor, Tensor], Tensor], *, has_dropout: bool = False
) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield for each frame of the pass the gradient [P] of `objective(logits_1KHW, labels_1HW)`, and labels_1HW.

    The student is in eval mode: batch norm uses its running statistics, if it has any, unchanged, and there is no
    dropout unless `has_dropout`.
    Computed in float32 whatever the run's precision: in float16 such gradients would be 0 without a scaler.
    """
    weights, was_training = trainable(student), student.training
    student.eval()
    for dropout in (module for module in student.modules() if isinstance(module, _DropoutNd)):
        dropout.train(has_dropout)
    for images_1CHW, labels_1HW in update.frames_of_pass():
        value = objective(student(images_1CHW), labels_1HW)
        yield _vector(torch.autograd.grad(value, weights, materialize_grads=True)), labels_1HW
    student.train(was_training)


def _vector(tensors: Iterable[Tensor]) -> Tensor:
    return torch.cat([tensor.reshape(-1).float() for tensor in tensors])
