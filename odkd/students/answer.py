"""What a student answers: logits [B, K, H, W], or a form of which it is plain where they are in it."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

KEYS = ("out", "logits")  # of torchvision's and of transformers' answers
REDUCTIONS = (2, 4, 8, 16, 32)  # by which networks leave their logits smaller than the image


def logits_of(answer: Any, num_classes: int) -> Tensor | None:
    """Return the logits in an answer; None where it is not plain which tensor they are.

    A mapping has them as "out" or "logits". Otherwise they are the only tensor [B, K, h, w] of the answer: a second
    one may be an auxiliary head or the main one, because networks differ in which they return first.
    """
    if isinstance(answer, Tensor):
        return answer
    if isinstance(answer, Mapping):
        named = next((answer[key] for key in KEYS if isinstance(answer.get(key), Tensor)), None)
        return named if named is not None else logits_of(list(answer.values()), num_classes)
    if not isinstance(answer, Sequence):
        return None
    found = [item for item in answer if isinstance(item, Tensor) and item.dim() == 4 and item.shape[1] == num_classes]
    return found[0] if len(found) == 1 else None


def is_reduced(size: tuple[int, ...], full: tuple[int, ...]) -> bool:
    """Return True if `size` = (height, width) is that of all of an image, reduced 2 to 32 times.

    >>> is_reduced((24, 41), (96, 161)), is_reduced((92, 156), (96, 160))  # the latter has lost its border
    (True, False)
    """
    return any(
        all(small in (whole // by, -(-whole // by)) for small, whole in zip(size, full, strict=True))
        for by in REDUCTIONS
    )


def described(answer: Any) -> str:
    """Return the form of an answer, for messages.

    >>> described({"out": [], "aux": None})
    'a dict of out: a list, aux: a NoneType'
    """
    if isinstance(answer, Tensor):
        return str(list(answer.shape))
    kind = f"a {type(answer).__name__}"
    if isinstance(answer, Mapping):
        return f"{kind} of {', '.join(f'{key}: {described(item)}' for key, item in list(answer.items())[:6])}"
    if isinstance(answer, list | tuple):
        return f"{kind} of {', '.join(described(item) for item in answer[:6])}" if answer else kind
    return kind


class OnlyLogits:
    """A forward hook that returns the logits in each answer of a student, at the size of the images.

    Args:
        upsamples: in training mode, too; in evaluation mode it always does.
    """

    def __init__(self, num_classes: int, *, upsamples: bool) -> None:
        self._num_classes, self._upsamples = num_classes, upsamples

    def __call__(self, student: nn.Module, inputs: tuple[Any, ...], answer: Any) -> Tensor:
        logits_BKHW = logits_of(answer, self._num_classes)
        if logits_BKHW is None:
            raise ValueError(f"a student answered {described(answer)}; expected logits [B, {self._num_classes}, H, W]")
        size = inputs[0].shape[2:]
        if logits_BKHW.shape[2:] == size or (student.training and not self._upsamples):
            return logits_BKHW
        return F.interpolate(logits_BKHW, size, mode="bilinear", align_corners=False)
