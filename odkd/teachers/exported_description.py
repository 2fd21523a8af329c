"""Description of an exported network's input and output: a small YAML file beside it, of the same name.

# net.yaml, beside net.onnx
classes: [road, sky, car]  # in order of their ids
mean: [0.485, 0.456, 0.406]  # is subtracted, in the units of scale and in channel_order
std: [0.229, 0.224, 0.225]
scale: 0..1                # or 0..255: values of black and white before mean and std; default 0..1
channel_order: rgb         # or bgr; default rgb
layout: nchw               # or nhwc, of input and output; default nchw
size: null                 # [height, width] of the input; null = any; default null
multiple_of: 32            # divides height and width of the input, padded by reflection; default 1
one_by_one: false          # true: batch norms use the statistics of the batch, so images go in alone; default false
output: logits             # or probabilities (sum to 1) or labels (class ids); the network's first output
"""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from odkd.common.names import nearest
from odkd.common.yaml_files import load_config

SCALES = {"0..1": 1.0, "0..255": 255.0}
CHOICES = {
    "scale": tuple(SCALES),
    "channel_order": ("rgb", "bgr"),
    "layout": ("nchw", "nhwc"),
    "output": ("logits", "probabilities", "labels"),
}


@dataclass(frozen=True)
class Description:
    """The checked content of the YAML file."""

    classes: list[str]
    mean: list[float]
    std: list[float]
    output: str
    scale: str = "0..1"
    channel_order: str = "rgb"
    layout: str = "nchw"
    size: list[int] | None = None
    multiple_of: int = 1
    one_by_one: bool = False


def read_description(path: Path) -> Description:
    """Read the YAML file beside an exported network.

    Raises:
        ValueError: a key is missing or unknown, or a value is not among its choices.
    """
    try:
        content: Any = OmegaConf.to_container(load_config(path), resolve=True)
    except Exception as error:
        raise ValueError(f"{path} cannot be read: {error}") from error
    known = [field.name for field in fields(Description)]
    if not isinstance(content, dict):
        raise ValueError(f"{path} holds no settings; expected {', '.join(known)}")
    if unknown := [str(key) for key in content if key not in known]:
        raise ValueError(f"{path}: no setting {unknown[0]}{nearest(unknown[0], known)} (known: {', '.join(known)})")
    if missing := [key for key in ("classes", "mean", "std", "output") if content.get(key) is None]:
        raise ValueError(f"{path} does not say {', '.join(missing)}")
    content = {key: value for key, value in content.items() if value is not None}
    described = Description(**content)
    for key, choices in CHOICES.items():
        if (value := getattr(described, key)) not in choices:
            raise ValueError(f"{path}: {key}: {value}; expected one of {', '.join(choices)}")
    names = described.classes
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or not 2 <= len(names) <= 255:
        raise ValueError(f"{path}: classes: {names}; expected a list of 2 to 255 names")
    for key in ("mean", "std"):
        numbers = getattr(described, key)
        is_triple = isinstance(numbers, list) and len(numbers) == 3 and all(type(v) in (int, float) for v in numbers)
        if not is_triple or (key == "std" and min(numbers) <= 0):
            raise ValueError(f"{path}: {key}: {numbers}; expected three numbers (std above 0)")
    sizes = [described.multiple_of, *(described.size if isinstance(described.size, list) else [1, 1])]
    if len(sizes) != 3 or not all(type(v) is int and v >= 1 for v in sizes):
        raise ValueError(
            f"{path}: size: {described.size}, multiple_of: {described.multiple_of}; "
            "expected [height, width] and a whole number, each at least 1"
        )
    return described
