"""References in settings: `${group.key}` takes another setting's value, `${oc.env:NAME}` calls what makes one.

Settings of somebody else may do the first at most, and never the second, which reads the environment or makes objects.
"""

import re
from collections.abc import Mapping
from typing import Any

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
