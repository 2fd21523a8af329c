"""Names: the nearest known one, and lists of them in messages."""

import difflib
from collections.abc import Iterable


def nearest(name: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """ "; did you mean X?" for the known name most like `name`, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"; did you mean {found[0]}?" if found else ""


def shorten(name: str, num_letters: int) -> str:
    """Cuts what is too long for its place: shorten("pavement", 5) is "pave…"."""
    return name if len(name) <= num_letters else name[: num_letters - 1] + "…"
