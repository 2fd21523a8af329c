"""Students: small, fast networks that learn online. Any nn.Module from images [B, 3, H, W] to logits [B, K, H, W].

One module per network, whose constructor has an argument `num_classes`, and one YAML file per student.
"""

from pathlib import Path

import torch
from torch import nn


def load_weights(student: nn.Module, path: Path) -> None:
    """Load weights from a file: safetensors, or a torch file of a state dict that loads with `weights_only=True`.

    Raises:
        ValueError: the file does not exist, or the weights do not fit.
    """
    if not path.is_file():
        raise ValueError(f"no student weights {path}: set student.weights to a file, or to null for a random start")
    try:
        student.load_state_dict(read_weights(path))
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit this student: {str(error)[:500]}") from error


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the state dict in a file: safetensors, or a torch file that holds it directly or under `state_dict`."""
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    content = torch.load(path, map_location="cpu", weights_only=True)
    state: dict[str, torch.Tensor] = content.get("state_dict", content)
    return state
