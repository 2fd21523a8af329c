"""Small, fast networks that learn online: any nn.Module from images [B, 3, H, W] to logits [B, K, H, W].

One file a network, with its `num_classes` as a named argument, and one YAML a student.
"""

from pathlib import Path

import torch
from torch import nn


def load_weights(student: nn.Module, path: Path) -> None:
    """Start from weights in a file: safetensors, or a torch file of a state dict that loads with `weights_only=True`.

    Raises:
        ValueError: no such file, or weights that do not fit.
    """
    if not path.is_file():
        raise ValueError(f"no student weights {path}: set student.weights to a file, or to null for a random start")
    try:
        student.load_state_dict(read_weights(path))
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit this student: {str(error)[:500]}") from error


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The state dict in a file: safetensors, or what `torch.load(weights_only=True)` takes, bare or as `state_dict`."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    content = torch.load(path, map_location="cpu", weights_only=True)
    state: dict[str, torch.Tensor] = content.get("state_dict", content)
    return state
