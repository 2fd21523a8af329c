"""References in settings: `${group.key}` takes another setting's value, `${oc.env:NAME}` calls what makes one.

Settings of somebody else may do the first at most, and never the second, which reads the environment or makes objects.
"""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # its import takes time, and help needs none of it
    from omegaconf import DictConfig

PLAIN = re.compile(r"\$\{(\.*[\w-]+(?:\.[\w-]+|\[[\w-]+\])*)\}", re.ASCII)


def first_reference(value: Any) -> str | None:
    """Return the first text in plain settings that refers to something, at any depth, keys included; None if none does.

    >>> first_reference({"a": [1, "x"], "b": {"${seed}": 2}}), first_reference({"a": "$1"})
    ('${seed}', None)
    """
    if isinstance(value, Mapping):
        found = (first_reference(part) for item in value.items() for part in item)
    elif isinstance(value, (list, tuple)):
        found = (first_reference(part) for part in value)
    else:
        return value if isinstance(value, str) and "${" in value else None
    return next((text for text in found if text is not None), None)


def refers_plainly(text: str) -> bool:
    """True if all that a text refers to are other settings, and none of Hydra's own.

    A $ that begins no reference may begin one when the text is put beside another; with a backslash in it, when the
    text is read as an override. So neither is plain.

    >>> [refers_plainly(text) for text in ("${paths.outputs}/a", "${.b[c]}", "no", "")]
    [True, True, True, True]
    >>> [refers_plainly(text) for text in ("${oc.env:HOME}", "${..hydra.mode}", "${a${b}}", "$${a}{oc.env:HOME}")]
    [False, False, False, False]
    >>> [refers_plainly(text) for text in (r"$\\{oc.env\\:HOME\\}", "$", "costs $5")]
    [False, False, False]
    """
    names = PLAIN.findall(text)
    rest = PLAIN.sub("", text)
    return "$" not in rest and not any("hydra" in re.split(r"[.\[\]]+", name) for name in names)


def escaped(text: str) -> str:
    """Return a text in which ${ is no reference: a backslash before it, and those before that doubled.

    >>> escaped("a ${b}")
    'a \\\\${b}'
    """
    return re.sub(r"(\\*)\$\{", lambda found: found[1] * 2 + r"\${", text)


def config_of(settings: Mapping[str, Any]) -> "DictConfig":
    """Return plain settings as a config in which each text is what it was: it was looked up before, and is not again.

    >>> config_of({"file": "${b}.onnx"}).file
    '${b}.onnx'
    """
    from omegaconf import OmegaConf

    made: DictConfig = OmegaConf.create(_escaped_in(settings))
    return made


def _escaped_in(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _escaped_in(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_escaped_in(item) for item in value]
    return escaped(value) if isinstance(value, str) else value
