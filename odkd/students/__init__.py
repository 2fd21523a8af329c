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
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        state = load_file(path)
    else:
        content = torch.load(path, map_location="cpu", weights_only=True)
        state = content.get("state_dict", content)
    try:
        student.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit this student: {str(error)[:500]}") from error
