"""Types of settings: the annotations of a constructor define the values that its YAML keys may have.

`check_setting` checks a value against such a type, with pydantic's strict rules: true is not a number, 3.0 is not a
whole number, nan and infinity are not numbers. So types in the constructor of a new method are enough to have its
settings checked.
"""

from __future__ import annotations

import functools
import inspect
import re
import types
import typing
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath
from typing import Annotated, Any, Literal, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from pydantic import AfterValidator, ConfigDict, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError, PydanticUndefinedAnnotation, PydanticUserError

from odkd.common.missing_file import no_file
from odkd.common.names import nearest


def _existing(path: str) -> str:
    try:
        is_there = Path(path).is_file()
    except OSError as error:  # a name that is too long, for example
        raise ValueError("no such file") from error
    if not is_there:
        raise ValueError("no such file")
    return path


def _existing_or_url(path: str) -> str:
    return path if path.startswith(("http://", "https://")) else _existing(path)


PositiveInt = Annotated[int, Ge(1)]
NaturalInt = Annotated[int, Ge(0)]
PositiveFloat = Annotated[float, Gt(0)]
NonNegativeFloat = Annotated[float, Ge(0)]
Fraction = Annotated[float, Ge(0), Le(1)]
Share = Annotated[float, Gt(0), Le(1)]
ExistingFile = Annotated[str, AfterValidator(_existing)]
FileOrUrl = Annotated[str, AfterValidator(_existing_or_url)]

BOUNDS: dict[type, tuple[str, str]] = {
    Ge: ("of at least {}", "ge"),
    Gt: ("above {}", "gt"),
    Le: ("of at most {}", "le"),
    Lt: ("below {}", "lt"),
}
MOST_SHOWN = 300  # letters of a value in a message
NUMBERS: dict[Any, str] = {int: "a whole number", float: "a number"}
STRICT = ConfigDict(strict=True, allow_inf_nan=False, arbitrary_types_allowed=False)


def check_setting(key: str, value: Any, kind: Any) -> None:
    """Check the value of a setting against a type.

    Args:
        key: dotted name of the setting.
        value: plain Python, as read from YAML.
        kind: an annotation, such as `PositiveInt | None` or `Literal["teacher", "groundtruth"]`; types that pydantic
            does not know, such as classes of torch, are not checked.

    Raises:
        ValueError: the value does not fit; the message gives the value, the expected ones and the nearest choice.

    >>> check_setting("replay.capacity", 0, PositiveInt)
    Traceback (most recent call last):
    ValueError: replay.capacity=0; expected a whole number of at least 1
    """
    adapter = _adapter(kind)
    if adapter is None:
        return
    try:
        adapter.validate_python(value)
    except ValidationError:
        if "an existing file" in (expected := describe(kind)) and isinstance(value, str):
            raise ValueError(f"{key}={value}: {no_file(Path(value))}") from None
        choices = [spell(choice) for choice in _choices(kind)]
        shown = f"'{value:.80}' (a text, in quotes)" if _is_quoted_number(value) else spell(value)
        raise ValueError(f"{key}={shown}; expected {expected}{nearest(str(value), choices)}") from None


def check_arguments(function: Callable[..., Any], settings: Mapping[str, Any], prefix: str) -> None:
    """Check settings against the annotations of the parameters that they are passed to.

    Args:
        function: a class or function that YAML names.
        settings: parameter -> value; unknown parameters are not checked here, the call itself rejects them.
        prefix: prefix of the settings' dotted names, such as "replay."

    Raises:
        ValueError: a value does not fit; the first one is reported.
    """
    kinds = parameter_types(function)
    for name, value in settings.items():
        if name in kinds:
            check_setting(f"{prefix}{name}", value, kinds[name])


@functools.cache
def parameter_types(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the annotation of each parameter of a class or function, as far as it can be resolved."""
    target = function.__init__ if inspect.isclass(function) else function
    names = vars(inspect.getmodule(target)) if inspect.getmodule(target) else {}
    found: dict[str, Any] = {}
    for name, text in getattr(target, "__annotations__", {}).items():
        if name == "return":
            continue
        try:
            found[name] = eval(text, dict(names)) if isinstance(text, str) else text
        except (NameError, AttributeError, TypeError):  # imported for the type checker only, so not a type of a setting
            continue
    return found


def check_rgb(key: str, value: Any) -> None:
    """Check a mean or standard deviation, by which images are normalized.

    Args:
        key: name of the setting, which ends with mean or std.
        value: should be three numbers for RGB in 0..1.

    Raises:
        ValueError: it is something else, such as numbers for RGB in 0..255.
    """
    is_triple = isinstance(value, list) and len(value) == 3 and all(type(v) in (int, float) for v in value)
    if not is_triple or (key.endswith("std") and min(value) <= 0):
        raise ValueError(f"{key}={value}; expected three numbers, RGB in 0..1 (std above 0)")
    if max(map(abs, value)) > 1:
        raise ValueError(f"{key}={value}; expected RGB in 0..1: divide numbers for 0..255 by 255")


def describe(kind: Any) -> str:
    """Return the values that a type allows, in words for a message.

    >>> describe(PositiveInt | Literal["auto"] | None)
    'a whole number of at least 1, or auto or null'
    """
    arms = list(_arms(kind))
    words = [spell(choice) for choice in _choices(kind)]
    numbers = [_one(arm) for arm in arms if arm is not type(None) and get_origin(arm) is not Literal]
    if type(None) in arms:
        words.append("null")
    if not numbers:
        return f"one of {', '.join(words)}"
    others = " or ".join(words)
    return " or ".join(numbers) + (f", or {others}" if others else "")


def spell(value: Any) -> str:
    """Return a value as written in YAML."""
    if value is None:
        return "null"
    text = str(value).lower() if isinstance(value, bool) else str(value)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}..."


def _is_quoted_number(value: Any) -> bool:
    """True for a text that YAML would read as a number or a boolean if it were not in quotes."""
    return isinstance(value, str) and re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?|true|false", value.lower()) is not None


def _one(kind: Any) -> str:
    if get_origin(kind) is Annotated:
        base, *marks = get_args(kind)
        if any(isinstance(mark, AfterValidator) and mark.func in (_existing, _existing_or_url) for mark in marks):
            return "an existing file"
        bounds = [
            words.format(getattr(mark, name))
            for mark in marks
            for type_, (words, name) in BOUNDS.items()
            if isinstance(mark, type_)
        ]
        return " ".join([_one(base), " and ".join(bounds)]).strip()
    if kind in NUMBERS:
        return NUMBERS[kind]
    if kind is bool:
        return "true or false"
    if kind is str:
        return "text"
    if get_args(kind) and get_origin(kind) is not dict:
        item = _one(get_args(kind)[0])
        several = "names" if item == "text" else item.removeprefix("a ").replace("number", "numbers")
        return f"a list of {several}"
    return "a table" if get_origin(kind) is dict else str(kind)


def _arms(kind: Any) -> typing.Iterator[Any]:
    """Yield the alternatives of a type."""
    if get_origin(kind) in (typing.Union, types.UnionType):
        for arm in get_args(kind):
            yield from _arms(arm)
    else:
        yield kind


def _choices(kind: Any) -> list[Any]:
    return [choice for arm in _arms(kind) if get_origin(arm) is Literal for choice in get_args(arm)]


def _as_yaml(kind: Any) -> Any:
    """Return the type as YAML can spell it: a path is text, a tuple is a list."""
    if inspect.isclass(kind) and issubclass(kind, PurePath):
        return str
    if get_origin(kind) in (typing.Union, types.UnionType):
        return typing.Union[tuple(_as_yaml(arm) for arm in get_args(kind))]  # noqa: UP007 - built, not written
    if kind is tuple or get_origin(kind) is tuple:
        return list
    return kind


def _adapter(kind: Any) -> TypeAdapter[Any] | None:
    try:
        return _known_adapter(kind)
    except TypeError:  # it has no hash
        return _new_adapter(kind)


@functools.lru_cache(2048)  # to make one takes 100 times as long as to use it
def _known_adapter(kind: Any) -> TypeAdapter[Any] | None:
    return _new_adapter(kind)


def _new_adapter(kind: Any) -> TypeAdapter[Any] | None:
    try:
        return TypeAdapter(_as_yaml(kind), config=STRICT)
    except (PydanticSchemaGenerationError, PydanticUndefinedAnnotation):
        return None
    except PydanticUserError:  # a dataclass or model has its own pydantic configuration
        return None
