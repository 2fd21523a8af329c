"""Layers of a network by name, as `named_modules` has them: their outputs in a forward pass, as maps [B, C, H, W]."""

import difflib
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

NAMED = 4  # nearest layers in a message
MOST_EXTRA = 8  # tokens before those of the image: a class token and registers


def check_layers(network: nn.Module, names: Sequence[str], whose: str) -> None:
    """Check that a network has layers of these names.

    Args:
        whose: the network, for the message.

    Raises:
        ValueError: it lacks one.
    """
    known = [name for name, _ in network.named_modules() if name]
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=NAMED, cutoff=0.3) or known[:NAMED]
            raise ValueError(f"{whose} has no layer {name}; its nearest of {len(known)} are {', '.join(near)}")


class Taken:
    """The outputs of layers, collected while `tapped` is entered."""

    def __init__(self) -> None:
        self._maps: dict[str, list[Tensor]] = {}
        self.input_size = (0, 0)  # (height, width) of the network's last input

    def add(self, name: str, output: Any) -> None:
        """Add the output of a forward pass; a copy, because the layer after it may change it in place."""
        self._maps.setdefault(name, []).append(as_map(output, self.input_size, name).clone())

    def maps(self, num_images: int) -> dict[str, Tensor]:
        """Return the output of each layer for all images, [B, C, h, w]; forward passes follow each other in a batch.

        Raises:
            ValueError: there is more than one map, or none, for an image.
        """
        found = {}
        for name, maps in self._maps.items():
            if sum(map(len, maps)) != num_images:
                sizes = "+".join(str(len(one)) for one in maps)
                raise ValueError(
                    f"layer {name} gives {sizes} maps for {num_images} images; expected one each: choose a layer that "
                    "is called once for a whole image"
                )
            found[name] = torch.cat(maps) if len(maps) > 1 else maps[0]
        return found


@contextmanager
def tapped(network: nn.Module, names: Sequence[str]) -> Iterator[Taken]:
    """Collect the outputs of the named layers in the forward passes within the context.

    Raises:
        ValueError: from a forward pass: an output is no map.
    """
    taken = Taken()
    if not names:
        yield taken
        return

    def sees(_: nn.Module, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        images = [value for value in (*args, *named.values()) if isinstance(value, Tensor) and value.dim() == 4]
        if images:
            taken.input_size = (int(images[0].shape[2]), int(images[0].shape[3]))

    handles = [network.register_forward_pre_hook(sees, with_kwargs=True)]
    try:
        for name in dict.fromkeys(names):

            def keeps(_: nn.Module, __: Any, output: Any, name: str = name) -> None:
                taken.add(name, output)

            handles.append(network.get_submodule(name).register_forward_hook(keeps))
        yield taken
    finally:
        for handle in handles:
            handle.remove()


def as_map(output: Any, input_size: tuple[int, int], name: str) -> Tensor:
    """Return the output of a layer as a map [B, C, h, w]: as it is, or of the tokens [B, N, C] of an image.

    The first tensor of a tuple or a mapping counts. Tokens before those of the image, such as a class token, are left
    out.

    Raises:
        ValueError: it is neither.

    >>> as_map(torch.zeros(1, 5, 7), (32, 32), "blocks.3").shape
    torch.Size([1, 7, 2, 2])
    """
    while isinstance(output, list | tuple | Mapping) and len(output):
        output = next(iter(output.values())) if isinstance(output, Mapping) else output[0]
    if isinstance(output, Tensor) and output.is_floating_point():
        if output.dim() == 4:
            return output
        if output.dim() == 3 and (grid := _grid(output.shape[1], input_size)) is not None:
            tokens_BNC = output[:, output.shape[1] - math.prod(grid) :]
            map_BCHW: Tensor = tokens_BNC.transpose(1, 2).reshape(len(output), -1, *grid)
            return map_BCHW
    shape = list(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
    raise ValueError(
        f"layer {name} gives {shape} for images of {input_size[0]} x {input_size[1]}; expected a map [B, C, h, w], or "
        "tokens [B, h * w, C]: choose another layer"
    )


def _grid(num_tokens: int, input_size: tuple[int, int]) -> tuple[int, int] | None:
    """Return (h, w) of the tokens of an image; those before them are left out."""
    for extra in range(min(MOST_EXTRA + 1, num_tokens)):
        count = num_tokens - extra
        stride = math.sqrt(math.prod(input_size) / count)
        height, width = (max(1, round(length / stride)) for length in input_size)
        is_even = input_size[0] % height == 0 and input_size[1] % width == 0
        if height * width == count and (is_even or not extra):
            return height, width
    return None
