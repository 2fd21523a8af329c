"""What a student costs on any machine: parameters, and floating point operations as torch counts them."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from odkd.students.equal_forms import use_fast_forms


@dataclass(frozen=True)
class Parameters:
    """Numbers of parameters, and the bytes of parameters and buffers.

    Args:
        all: with those that are frozen.
        learned: without them.
        num_bytes: of the network as it is.
    """

    all: int
    learned: int
    num_bytes: int


@dataclass(frozen=True)
class Flops:
    """Floating point operations for one image; a multiplication with its addition counts 2.

    torch counts convolutions, matrix products and attention. The rest is left out: activations, norms, resizing.

    Args:
        evaluate: of a forward pass.
        learn: of a forward and a backward pass.
    """

    evaluate: int
    learn: int


def count_parameters(network: nn.Module) -> Parameters:
    """Return the parameters of a network; one that is used twice counts once."""
    weights, buffers = list(network.parameters()), list(network.buffers())
    num_bytes = sum(tensor.numel() * tensor.element_size() for tensor in (*weights, *buffers))
    learned = sum(weight.numel() for weight in weights if weight.requires_grad)
    return Parameters(sum(weight.numel() for weight in weights), learned, num_bytes)


def count_flops(network: nn.Module, size: tuple[int, int], batch_size: int) -> Flops:
    """Return the operations of a network in the form in which its paper describes it, without faster forms.

    Args:
        network: a student; it does not change.
        size: (height, width) of the images.
        batch_size: images that it learns from at once; some networks cannot learn from one.
    """
    plain = copy.deepcopy(network).cpu().float()
    use_fast_forms(plain, False)
    images_BCHW = torch.rand(batch_size, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.random.fork_rng([]), sdpa_kernel(SDPBackend.MATH):  # the other forms of attention are not all counted
        plain.eval()
        with torch.no_grad(), FlopCounterMode(display=False) as evaluated:
            plain(images_BCHW[:1])
        plain.train()
        formulas = {torch.ops.aten.convolution_backward: _convolution_backward}
        with torch.enable_grad(), FlopCounterMode(display=False, custom_mapping=formulas) as learned:
            logits_BKHW = plain(images_BCHW)
            if logits_BKHW.requires_grad:
                logits_BKHW.sum().backward()
    return Flops(evaluated.get_total_flops(), learned.get_total_flops() // batch_size)


def _convolution_backward(
    answer: Sequence[int], images: Sequence[int], weight: Sequence[int], *rest: Any, **_: Any
) -> int:
    """Return the operations of a convolution's gradients, from shapes; each takes those of the convolution itself.

    torch's own formula does not divide by the groups: it counts a depthwise convolution as if it were a full one.
    """
    is_transposed, (needs_images, needs_weight, _) = rest[4], rest[7]
    places = images[2:] if is_transposed else answer[2:]
    count: int = 2 * (needs_images + needs_weight) * images[0] * math.prod(places) * math.prod(weight)
    return count
