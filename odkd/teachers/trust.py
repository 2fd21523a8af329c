"""Files that are programs: they run only if the command line says that the user trusts them (`teacher.trust=true`)."""

from collections.abc import Iterator, Mapping
from typing import Any

CHOOSING = ("type", "scope", "custom_imports", "custom_hooks", "default_scope", "init_cfg")  # keys of mmengine


def check_trust(file: object, what: str, *, trust: bool) -> None:
    """Check that a file that is code is trusted.

    Args:
        file: its path, for the message.
        what: what it is, such as "a TorchScript file".

    Raises:
        ValueError: it is not.
    """
    if not trust:
        raise ValueError(
            f"{file} is {what}: a program that can do anything you can do; add teacher.trust=true to the command if "
            "you trust where it comes from"
        )


def code_in(options: Mapping[str, Any]) -> str | None:
    """Return the first option that may have mmengine or a network read a file, or choose what runs; None without one.

    A text may name a class, a module, a file with pickled objects, or an address, under any key that some network
    takes. So only numbers and truth values are plain, and the words that say how an image is cut into windows.

    >>> code_in({"test_pipeline.1.scale": [1024, 512], "model.decode_head.type": "os.system"})
    'model.decode_head.type=os.system'
    """
    for key, value in _leaves(options, ""):
        names = key.split(".")
        is_number = value is None or isinstance(value, int | float)
        is_word = names[-1] == "mode" and value in ("slide", "whole")
        if not (is_number or is_word) or any(name.startswith("_") or name in CHOOSING for name in names):
            return f"{key}={value}"
    return None


def _leaves(value: Any, place: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, Mapping):
        for key, item in value.items():
            yield from _leaves(item, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list | tuple):
        for number, item in enumerate(value):
            yield from _leaves(item, f"{place}.{number}")
    else:
        yield place, value
