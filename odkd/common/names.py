"""Names in messages: the nearest known name, and names shortened to fit."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """Return "; did you mean X?" with the known name most similar to `name`, or an empty string."""
    spelled = {one.lower(): one for one in known}  # capitals make no difference
    found = difflib.get_close_matches(name.lower(), list(spelled), n=1, cutoff=cutoff)
    return f"; did you mean {spelled[found[0]]}?" if found else ""


def shorten(name: str, num_letters: int) -> str:
    """Cut a name that is too long: shorten("pavement", 5) is "pave…"."""
    return name if len(name) <= num_letters else name[: num_letters - 1] + "…"
