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
    """Return the state dict in a file: safetensors, or a torch file that holds it directly or under `state_dict`.

    Raises:
        ValueError: it holds none, or cannot be read.
    """
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(
            f"{path} holds no weights that load safely ({type(error).__name__}); "
            "expected .safetensors, or a state dict saved by torch.save"
        ) from error
    state = content.get("state_dict", content) if isinstance(content, dict) else content
    if not (isinstance(state, dict) and all(isinstance(value, torch.Tensor) for value in state.values())):
        raise ValueError(f"{path} holds a {type(state).__name__}; expected a state dict: names and tensors")
    return state
