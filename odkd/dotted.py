"""Settings as text: dotted keys with their values, and the words of a command that set them."""

from collections.abc import Callable, Mapping
from typing import Any


def flatten(value: Any, prefix: str = "", spell: Callable[[Any], str] = str) -> dict[str, str]:
    """Dotted key -> value, spelled; an empty mapping says nothing.

    >>> flatten({"window": {"learn": 67}, "domains": {}})
    {'window.learn': '67'}
    """
    if isinstance(value, Mapping):
        flat: dict[str, str] = {}
        for key, item in value.items():
            flat |= flatten(item, f"{prefix}.{key}" if prefix else str(key), spell)
        return flat
    return {prefix: spell(value)}


def split_override(override: str) -> tuple[str, str]:
    """The key that an override sets, without what adds or takes it away, and the value.

    >>> split_override("+window.learn=20")
    ('window.learn', '20')
    """
    key, _, value = override.lstrip("+~").partition("=")
    return key, value
