"""Writing a network as TorchScript with its description beside it, as `exported.py` reads it."""

import copy
import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml
from torch import nn

from odkd.common.files import write_atomic


def write_torchscript(
    network: nn.Module,
    path: Path,
    *,
    classes: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    size: tuple[int, int],
) -> None:
    """`path` (.pt) and the YAML of the same name: logits of pictures of one size, to which others are resized.

    A traced network may hold sizes that it met as constants, so it is told to be for this size only.
    """
    content = io.BytesIO()
    traced_copy = copy.deepcopy(network).cpu().eval()
    with warnings.catch_warnings():  # torch calls TorchScript deprecated, and warns of constants: see above
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(traced_copy, torch.zeros(1, 3, *size)), content)  # type: ignore[no-untyped-call]
    write_atomic(path, content.getvalue())
    says = {"classes": list(classes), "mean": list(mean), "std": list(std), "size": list(size), "output": "logits"}
    write_atomic(path.with_suffix(".yaml"), yaml.safe_dump(says, sort_keys=False).encode())
