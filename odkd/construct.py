"""From a config node to the object that it names, and to the plain values that identify it."""

import colorsys
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf

from odkd.files import file_digest


def construct(node: DictConfig, leave_out: tuple[str, ...], offered: Mapping[str, Any]) -> Any:
    """Call `_target_` with the node's keys (but those of `leave_out`) and with what it asks for of `offered`.

    A key that the config sets wins over an offer of that name.

    Raises:
        ValueError: a key that the constructor does not take.
    """
    settings = {str(key): node[key] for key in node if key not in leave_out}
    parameters = inspect.signature(get_class(node._target_)).parameters
    chosen = {name: value for name, value in offered.items() if name in parameters and settings.get(name) is None}
    unknown = [key for key in settings if key != "_target_" and key not in parameters]
    if unknown:
        raise ValueError(f"{node._target_} takes no {', '.join(unknown)}; it takes {', '.join(parameters)}")
    return instantiate(OmegaConf.create(settings), _convert_="all", **chosen)


def named_by_content(value: Any, cache: Path) -> Any:
    """`value` with the name of each existing file replaced by the digest of its content."""
    if isinstance(value, Mapping):
        return {str(key): named_by_content(item, cache) for key, item in value.items()}
    if isinstance(value, list):
        return [named_by_content(item, cache) for item in value]
    if isinstance(value, str) and Path(value).suffix and Path(value).is_file():
        return f"sha256:{file_digest(Path(value), cache)}"
    return value


def default_palette(num_classes: int) -> list[list[int]]:
    """Colours that differ: hues a golden angle apart, in three brightnesses."""
    hues = [(0.618034 * i) % 1 for i in range(num_classes)]
    brightness = [(0.95, 0.75, 0.55)[i % 3] for i in range(num_classes)]
    return [[round(255 * v) for v in colorsys.hsv_to_rgb(h, 0.65, b)] for h, b in zip(hues, brightness, strict=True)]
