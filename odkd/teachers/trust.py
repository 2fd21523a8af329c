"""Files that are programs: they run only if the command line says that the user trusts them (`teacher.trust=true`)."""

from collections.abc import Iterator, Mapping
from typing import Any


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
    """Return the first option that has mmengine import a module or call a function of any package; None without one.

    mmengine looks up a `type` among the classes of mmsegmentation, and if it has dots, in all that Python can import.

    >>> code_in({"test_pipeline.1.scale": [1024, 512], "model.decode_head.type": "os.system"})
    'model.decode_head.type=os.system'
    """
    for key, value in _leaves(options, ""):
        names = key.split(".")
        is_lookup = names[-1] in ("type", "scope", "_scope_") and not str(value).isidentifier()
        if is_lookup or {"custom_imports", "custom_hooks", "default_scope", "_base_", "init_cfg"} & set(names):
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
