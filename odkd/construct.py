"""From a config node to the object that it names."""

import colorsys
import importlib.util
import inspect
import traceback
from collections.abc import Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from odkd.checks import is_allowed


def resolve(target: str, allowed: list[str]) -> Any:
    """The class or function that a `_target_` names, if it really lives in a package that YAML may name.

    Raises:
        ValueError: it is not there, or it is something that an allowed module merely imported.
    """
    try:
        found = _find(target)
    except (ModuleNotFoundError, AttributeError) as error:
        raise ValueError(f"_target_: {target} is not there: {error}") from error
    except Exception as error:  # in the user's own file
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = "" if isinstance(error, SyntaxError) else f" ({place.filename}, line {place.lineno})"
        raise ValueError(f"_target_: {target} cannot be imported: {type(error).__name__}: {error}{where}") from error
    if not is_allowed(f"{getattr(found, '__module__', '')}.", allowed):
        raise ValueError(f"_target_: {target} is {found!r}, which YAML may not name")
    return found


def _find(target: str) -> Any:
    """What a dotted name stands for: a module, a class, something in a class. Hydra's own helper logs what fails."""
    name, *rest = target.split(".")
    found: Any = importlib.import_module(name)
    for part in rest:
        name = f"{name}.{part}"
        is_package = hasattr(found, "__path__")
        if is_package and not hasattr(found, part) and importlib.util.find_spec(name) is not None:
            importlib.import_module(name)
        found = getattr(found, part)
    return found


def construct(node: DictConfig, leave_out: tuple[str, ...], offered: Mapping[str, Any], allowed: list[str]) -> Any:
    """Call `_target_` with the node's keys (but those of `leave_out`) and with what it asks for of `offered`.

    A key that the config sets wins over an offer of that name.

    Raises:
        ValueError: a key that the constructor does not take, or a value that it refuses.
    """
    settings = {str(key): node[key] for key in node if key not in leave_out}
    parameters = inspect.signature(resolve(node._target_, allowed)).parameters
    chosen = {name: value for name, value in offered.items() if name in parameters and settings.get(name) is None}
    unknown = [key for key in settings if key != "_target_" and key not in parameters]
    if unknown:
        raise ValueError(f"{node._target_} takes no {', '.join(unknown)}; it takes {', '.join(parameters)}")
    try:
        return instantiate(OmegaConf.create(settings), _convert_="all", **chosen)
    except InstantiationException as error:
        cause = error.__cause__
        if isinstance(cause, ValueError | TypeError | KeyError):
            raise ValueError(f"{node._target_}: {cause}") from error
        raise


def dataset_palette(dataset: DictConfig) -> list[list[int]]:
    """[R, G, B] a class: the dataset's own colours, or default ones."""
    chosen = dataset.palette
    return [list(colour) for colour in chosen] if chosen else default_palette(len(dataset.classes))


def default_palette(num_classes: int) -> list[list[int]]:
    """Colours that differ: hues a golden angle apart, in three brightnesses."""
    hues = [(0.618034 * i) % 1 for i in range(num_classes)]
    brightness = [(0.95, 0.75, 0.55)[i % 3] for i in range(num_classes)]
    return [[round(255 * v) for v in colorsys.hsv_to_rgb(h, 0.65, b)] for h, b in zip(hues, brightness, strict=True)]
