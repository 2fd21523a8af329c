"""Export of a network as TorchScript, with the description beside it that `exported.py` reads."""

import copy
import io
import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
import yaml
from torch import nn

from odkd.common.files import write_atomic
from odkd.students.equal_forms import use_fast_forms


def write_torchscript(
    network: nn.Module,
    path: Path,
    *,
    classes: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    size: tuple[int, int],
) -> None:
    """Write `path` (.pt) and the YAML file of the same name; the network gives logits for images of one size.

    Tracing may store sizes as constants, so the description names `size`, to which the reader resizes all images.

    Args:
        network: images [B, 3, H, W] to logits [B, K, H, W].
        path: of the TorchScript file.
        classes: names, in the order of the ids.
        mean, std: of RGB in 0..1.
        size: (height, width) in pixels.
    """
    content = io.BytesIO()
    traced_copy = copy.deepcopy(network).cpu().eval()
    use_fast_forms(traced_copy, False)  # TorchScript cannot store a Python function
    with warnings.catch_warnings():  # torch calls TorchScript deprecated and warns about the constants
        warnings.simplefilter("ignore")
        torch.jit.save(torch.jit.trace(traced_copy, torch.zeros(1, 3, *size)), content)  # type: ignore[no-untyped-call]
    write_atomic(path, content.getvalue())
    description = {
        "classes": list(classes),
        "mean": list(mean),
        "std": list(std),
        "size": list(size),
        "output": "logits",
    }
    write_atomic(path.with_suffix(".yaml"), yaml.safe_dump(description, sort_keys=False).encode())
