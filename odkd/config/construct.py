"""Build the object that a config node names, if YAML may name it."""

import importlib.util
import inspect
import traceback
from collections.abc import Iterable, Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from odkd.common.errors import is_mistake
from odkd.common.optional import EXTRAS, how_to_install
from odkd.common.renamed import current_target
from odkd.common.settings import check_arguments

OFFERED = (  # what odkd passes to a constructor that has a parameter of this name, unless YAML sets it
    *("num_classes", "classes", "device", "seed", "window"),
    *("student", "params", "optimizer", "num_epochs", "std", "weights_folder", "folder"),
)


def resolve(target: str, allowed: list[str]) -> Any:
    """Return the class or function that a `_target_` names.

    Raises:
        ValueError: it does not exist, or it is defined in a package that YAML may not name, even if an allowed module
            imports it.
    """
    target = current_target(target)
    try:
        found = _find(target)
    except (ModuleNotFoundError, AttributeError) as error:
        if (library := str(error.name).partition(".")[0]) in EXTRAS and isinstance(error, ModuleNotFoundError):
            raise ValueError(f"_target_: {target} needs {library}: {how_to_install(library)}") from error
        raise ValueError(f"_target_: {target} is not there: {error}") from error
    except Exception as error:  # in a user-defined file
        place = traceback.extract_tb(error.__traceback__)[-1]
        where = "" if isinstance(error, SyntaxError) else f" ({place.filename}, line {place.lineno})"
        raise ValueError(f"_target_: {target} cannot be imported: {type(error).__name__}: {error}{where}") from error
    if not is_allowed(f"{getattr(found, '__module__', '')}.", allowed):
        raise ValueError(f"_target_: {target} is {found!r}, which YAML may not name")
    return found


def _find(target: str) -> Any:
    """Return the module, class or attribute with a dotted name. (Hydra's own helper logs failures.)"""
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
    """Call `_target_` with the node's keys, except `leave_out`, and with those of `offered` that it has parameters for.

    A key that the config sets is preferred to an offer of the same name.

    Raises:
        ValueError: a key that the constructor does not take, or a value that it or its annotation refuses.
    """
    settings = {str(key): node[key] for key in node if key not in leave_out}
    settings["_target_"] = current_target(node._target_)
    parameters = inspect.signature(resolve(node._target_, allowed)).parameters
    chosen = {name: value for name, value in offered.items() if name in parameters and settings.get(name) is None}
    unknown = [key for key in settings if key != "_target_" and key not in parameters]
    if unknown:
        raise ValueError(f"{node._target_} takes no {', '.join(unknown)}; it takes {', '.join(parameters)}")
    group = node._get_full_key(None)  # "replay" for a node of a complete config
    plain: Any = OmegaConf.to_container(OmegaConf.create(settings), resolve=True)
    given = {key: value for key, value in plain.items() if not (value is None and key in chosen)}
    check_arguments(resolve(settings["_target_"], allowed), given, f"{group}." if group else "")
    try:
        # Hydra builds nested nodes and calls nothing itself: it would turn offered dataclasses into dictionaries.
        factory = instantiate(OmegaConf.create(settings), _convert_="all", _partial_=True)
        return factory(**chosen)
    except (InstantiationException, ValueError, TypeError, KeyError) as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) else error
        if cause is not None and is_mistake(cause):
            raise cause from error.__cause__
        if isinstance(cause, ValueError | TypeError | KeyError):
            raise ValueError(f"{settings['_target_']}: {cause}") from error
        raise


ALLOWED_TARGETS = ("odkd.", "torch.optim.", "torch.nn.", "segmentation_models_pytorch.")


def check_targets(cfg: DictConfig, allowed: list[str]) -> None:
    """Check that YAML names only classes of odkd, of its libraries, and of the packages in `allow_targets`."""
    for target in targets(cfg):
        if not is_allowed(target, allowed):
            raise ValueError(
                f"_target_: {target} is not allowed; YAML may name {', '.join([*ALLOWED_TARGETS, *allowed])}... "
                f"Add its package with 'allow_targets=[{target.split('.')[0]}]' if you trust it"
            )


def targets(cfg: DictConfig) -> list[str]:
    """Return every `_target_` of a config."""
    return list(_targets(OmegaConf.to_container(cfg, resolve=True)))


def is_allowed(target: str, allowed: list[str]) -> bool:
    """Return True if a dotted name is in odkd, one of its libraries, or one of the packages `allowed`."""
    return target.startswith((*ALLOWED_TARGETS, *(f"{name.rstrip('.')}." for name in allowed)))


def _targets(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        if "_target_" in value:
            yield str(value["_target_"])
        for item in value.values():
            yield from _targets(item)
    elif isinstance(value, list):
        for item in value:
            yield from _targets(item)
