"""Build the object that a config node names, if YAML may name it."""

import importlib.util
import inspect
import pkgutil
import sys
import traceback
from collections.abc import Iterable, Mapping
from typing import Any

from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from odkd.common.errors import is_mistake
from odkd.common.names import nearest
from odkd.common.optional import EXTRAS, how_to_install
from odkd.common.references import config_of
from odkd.common.renamed import current_target
from odkd.common.settings import check_arguments
from odkd.config.roles import check_name, is_users, targets

OFFERED = (  # what odkd passes to a constructor that has a parameter of this name, unless YAML sets it
    *("num_classes", "classes", "device", "seed", "window"),
    *("student", "params", "optimizer", "num_epochs", "std", "weights_folder", "folder", "outputs"),
    "members",
)


NAMED = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)


def resolve(target: str, allowed: list[str], place: str) -> Any:
    """Return the class or function that the `_target_` of a place names, such as replay.

    Raises:
        ValueError: it does not exist, or the place may not name it, even if an allowed module imports it.
    """
    from odkd.config.interfaces import check_role  # it imports torch, which reading settings does not need

    target = current_target(target)
    check_name(target, place, allowed)
    try:
        found = _find(target)
    except (ModuleNotFoundError, AttributeError) as error:
        if (library := str(error.name).partition(".")[0]) in EXTRAS and isinstance(error, ModuleNotFoundError):
            raise ValueError(f"_target_: {target} needs {library}: {how_to_install(library)}") from error
        raise ValueError(f"_target_: {target} is not there: {error}{_nearest(target)}") from error
    except Exception as error:  # in a user-defined file
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = "" if isinstance(error, SyntaxError) else f" ({frame.filename}, line {frame.lineno})"
        raise ValueError(f"_target_: {target} cannot be imported: {type(error).__name__}: {error}{where}") from error
    if not callable(found):
        what = "a module" if inspect.ismodule(found) else f"a {type(found).__name__}"
        inside = _classes_in(found)
        advice = f", such as {target}.{inside[0]}" if inside else ""
        raise ValueError(f"_target_: {target} is {what}; expected a class or a function{advice}")
    check_role(found, target, place, allowed)
    return found


def _nearest(target: str) -> str:
    """Return "; did you mean X?" for the first part of a name that is not there: a module, a class or a function."""
    name, *rest = target.split(".")
    for part in rest:
        try:
            _find(f"{name}.{part}")
        except (ModuleNotFoundError, AttributeError):
            package = sys.modules.get(name)
            inside = [module.name for module in pkgutil.iter_modules(getattr(package, "__path__", ()))]
            return nearest(part, _classes_in(package)) or nearest(part, inside)
        name = f"{name}.{part}"
    return ""


def _classes_in(module: Any) -> list[str]:
    """Return the names of the classes and functions that a module defines."""
    if not inspect.ismodule(module):
        return []
    inside = f"{module.__name__}."
    own = [
        name
        for name, value in vars(module).items()
        if f"{getattr(value, '__module__', None)}.".startswith(inside) and callable(value)
    ]
    return [name for name in own if not name.startswith("_")]


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


def construct(
    node: DictConfig, leave_out: tuple[str, ...], offered: Mapping[str, Any], allowed: list[str], place: str
) -> Any:
    """Call `_target_` with the node's keys, except `leave_out`, and with those of `offered` that it has parameters for.

    A key that the config sets is preferred to an offer of the same name. Whatever the node names, at any depth, is
    checked before anything is called.

    Args:
        place: dotted key of the node, such as replay: its role.

    Raises:
        ValueError: a key that the constructor does not take, a value that it or its annotation refuses, or an object
            that lacks what its place needs.
    """
    from odkd.config.interfaces import check_part

    settings = {str(key): _plain(node[key]) for key in node if key not in leave_out}
    settings["_target_"] = current_target(node._target_)
    named = targets(config_of({place: settings}))  # the place itself, and those inside
    called = {inside: resolve(target, allowed, inside) for inside, target in named.items()}[place]
    parameters = inspect.signature(called).parameters
    chosen = {name: value for name, value in offered.items() if name in parameters and settings.get(name) is None}
    check_keys(called, node._target_, settings, place)
    given = {key: value for key, value in settings.items() if not (value is None and key in chosen)}
    check_arguments(called, given, f"{place}.")
    is_flat = len(named) == 1 and not is_users(settings["_target_"])
    try:
        if is_flat:  # Hydra would only look for nested nodes, and check once more who may be called, in 2 ms
            built = called(**{key: value for key, value in given.items() if key != "_target_"}, **chosen)
        else:
            # Hydra builds nested nodes and calls nothing itself: it would turn offered dataclasses into dictionaries.
            built = instantiate(config_of(settings), _convert_="all", _partial_=True)(**chosen)
    except (InstantiationException, ImportError, ValueError, TypeError, KeyError, OSError) as error:
        cause = error.__cause__ if isinstance(error, InstantiationException) else error
        if cause is not None and is_mistake(cause):
            raise cause from error.__cause__
        if isinstance(cause, ImportError):
            how = how_to_install(cause.name) if cause.name else "install it"
            raise ValueError(f"{settings['_target_']} needs what cannot be imported ({cause}): {how}") from error
        if isinstance(cause, OSError) and cause.errno is None:  # no connection, such as for initial weights
            reason = " ".join(str(cause).split())[:300]
            raise ValueError(f"{settings['_target_']}: {type(cause).__name__}: {reason}") from error
        if isinstance(cause, ValueError | TypeError | KeyError):
            raise ValueError(f"{settings['_target_']}: {cause}") from error
        raise
    check_part(built, place, node._target_)
    return built


def _plain(value: Any) -> Any:
    return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value


def check_keys(target: Any, name: str, keys: Iterable[str], group: str) -> None:
    """Check that a class or function, called `name` in YAML, takes the keys of a config node, and lacks none.

    Raises:
        ValueError: the first unknown key, or the first parameter without a value.
    """
    try:
        parameters = inspect.signature(target).parameters
    except (ValueError, TypeError) as error:  # some classes of C extensions have no signature
        raise ValueError(f"_target_: {name} cannot be called from YAML: {error}") from error
    where, given = f"{group}." if group else "", [key for key in keys if key != "_target_"]
    if unknown := [key for key in given if key not in parameters]:
        takes = [key for key, parameter in parameters.items() if parameter.kind in NAMED and key not in OFFERED]
        raise ValueError(
            f"{where}{unknown[0]}: {name} takes no {unknown[0]}{nearest(unknown[0], takes)}; "
            f"it takes {', '.join(takes) or 'no settings'}"
        )
    for key, parameter in parameters.items():
        is_set = key in given or key in OFFERED or parameter.default is not parameter.empty
        if parameter.kind in NAMED and not is_set:
            raise ValueError(
                f"{where}{key} is missing, and {name} needs it; "
                f"leave ~{where}{key} out of the command, or add `{key}:` to your YAML file"
            )
