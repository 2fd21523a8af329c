"""A trial of a student before it learns: what it answers is checked once, and brought to logits [B, K, H, W]."""

import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.parameter import UninitializedParameter

from odkd.common.device import autocast
from odkd.common.names import counted
from odkd.students.answer import OnlyLogits, described, is_reduced, logits_of
from odkd.students.batch_norm import allow_one_value, forget_unneeded
from odkd.students.layers import tapped


def check_sizes(student: nn.Module) -> None:
    """Refuse a student with lazy layers, which have no weights yet.

    Raises:
        ValueError: a layer gets its size from its first input.
    """
    if lazy := [name for name, weight in student.named_parameters() if isinstance(weight, UninitializedParameter)]:
        raise ValueError(
            f"the student {type(student).__name__} has layers without a size, such as {lazy[0].rpartition('.')[0]}; "
            "give them one: nn.Conv2d instead of nn.LazyConv2d"
        )


def try_student(
    student: nn.Module,
    num_classes: int,
    size: tuple[int, int],
    *,
    device: torch.device,
    precision: str = "float32",
    batch_size: int | None = 1,
) -> None:
    """Check what a student on `device` answers, evaluated and learning; its weights and statistics do not change.

    Logits in a mapping or beside other outputs, and logits of all of an image at a smaller size, are returned alone and
    at full size from now on. While it learns, a student that answers at full size in evaluation may answer smaller:
    labels are then resized. Batch norms that get one value a channel from one picture are made to take it.

    Args:
        size: (height, width) of the images.
        batch_size: of the smallest batch that it will learn from; None = it will not learn.

    Raises:
        ValueError: it fails, or it is not plain where the logits [B, K, H, W] are in its answer; it answers NaN, or
            logits that no parameter has a gradient from.
    """
    images_BCHW = _noise(1, size, device)
    allow_one_value(student)
    learning = None
    with _unchanged(student, device):
        student.eval()
        with torch.no_grad(), autocast(device, precision):
            evaluated = _answer(student, images_BCHW, "in evaluation mode")
        if batch_size is not None:
            student.train()
            # Autocast anew, because it keeps weights that it has cast without a gradient.
            with torch.enable_grad(), autocast(device, precision):
                learning = _answer(student, _noise(batch_size, size, device), "while it learns")
    forget_unneeded(student)
    logits_BKHW = _checked(evaluated, num_classes, images_BCHW, "in evaluation mode")
    if logits_BKHW.isnan().any():
        raise ValueError(
            f"the student answers {_pictures(images_BCHW)} of noise with NaN in evaluation mode, which has no class; "
            "check its code and student.weights"
        )
    is_smaller = logits_BKHW.shape[2:] != images_BCHW.shape[2:]
    is_plain = isinstance(evaluated, Tensor) and not is_smaller
    if batch_size is not None:
        learned_BKHW = _checked(learning, num_classes, _noise(batch_size, size, device), "while it learns")
        is_plain &= isinstance(learning, Tensor)
        if not learned_BKHW.requires_grad and any(weight.requires_grad for weight in student.parameters()):
            raise ValueError(
                "the student's logits have no gradient while it learns: remove detach(), torch.no_grad() and the "
                "like from its forward()"
            )
    if not is_plain:
        student.register_forward_hook(OnlyLogits(num_classes, upsamples=is_smaller))


def try_layers(
    student: nn.Module, layers: Sequence[str], size: tuple[int, int], device: torch.device
) -> dict[str, int]:
    """Return the channels of layers of a student, which does not change.

    Args:
        size: (height, width) of the images.

    Raises:
        ValueError: a layer is not used, or its output is no map.
    """
    with _unchanged(student, device), torch.no_grad(), tapped(student, layers) as taken:
        student.eval()
        student(_noise(1, size, device))
        maps = taken.maps(1)
    if missing := [layer for layer in layers if layer not in maps]:
        raise ValueError(f"layer {missing[0]} of the student is not used in a forward pass; choose another layer")
    return {layer: int(maps[layer].shape[1]) for layer in layers}


def _noise(batch_size: int, size: tuple[int, int], device: torch.device) -> Tensor:
    """Return images of noise, float32 [B, 3, H, W], without a draw from the run's random numbers."""
    return torch.rand(batch_size, 3, *size, generator=torch.Generator().manual_seed(0)).to(device)


@contextmanager
def _unchanged(student: nn.Module, device: torch.device) -> Iterator[None]:
    """Restore buffers, such as batch statistics, modes, and the random numbers of torch."""
    buffers = [
        (module, name, tensor, tensor.clone())
        for module in student.modules()
        for name, tensor in module._buffers.items()
        if tensor is not None
    ]
    modes = [(module, module.training) for module in student.modules()]
    try:
        with torch.random.fork_rng([device] if device.type == "cuda" else []):
            yield
    finally:
        for module, name, tensor, before in buffers:
            with torch.no_grad():
                module._buffers[name] = tensor.copy_(before) if tensor.shape == before.shape else before
        for module, mode in modes:
            module.training = mode


def _answer(student: nn.Module, images_BCHW: Tensor, when: str) -> object:
    try:
        return student(images_BCHW)
    except torch.OutOfMemoryError:
        raise
    except Exception as error:
        place = traceback.extract_tb(error.__traceback__)[-1]
        reason = " ".join(str(error).split())[:300]
        raise ValueError(
            f"the student {type(student).__name__} fails {when} on {_pictures(images_BCHW)}: "
            f"{type(error).__name__}: {reason} ({place.filename}, line {place.lineno}); change the student, "
            "dataset.size or stage.batch_size"
        ) from error


def _checked(answer: object, num_classes: int, images_BCHW: Tensor, when: str) -> Tensor:
    """Return the logits in an answer.

    Raises:
        ValueError: it is not plain where they are, or they have another shape or type.
    """
    batch_size, _, *size = images_BCHW.shape
    logits = logits_of(answer, num_classes)
    expected = [batch_size, num_classes, *size]
    advice = 'return the logits alone, or as {"out": logits}'
    if logits is not None and logits.dim() == 4:
        if logits.shape[1] != num_classes:
            advice = (
                f"it has {counted(logits.shape[1], 'output')} and dataset.classes has {num_classes}; give it as many "
                "outputs as the argument num_classes says"
            )
        elif tuple(logits.shape[2:]) != tuple(size) and not is_reduced(tuple(logits.shape[2:]), tuple(size)):
            advice = "return logits at the size of the images, or reduced 2, 4, 8, 16 or 32 times"
        elif len(logits) == batch_size and logits.is_floating_point() and logits.layout == torch.strided:
            return logits
    kind = "" if logits is None or logits.is_floating_point() else f" of {str(logits.dtype).removeprefix('torch.')}"
    raise ValueError(
        f"the student answers {_pictures(images_BCHW)} with {described(answer)}{kind} {when}; expected logits "
        f"[B, K, H, W] = {expected}: {advice}"
    )


def _pictures(images_BCHW: Tensor) -> str:
    return f"{counted(len(images_BCHW), 'image')} of {images_BCHW.shape[2]} x {images_BCHW.shape[3]} pixels"
