"""Words in messages: the nearest known name, names shortened to fit, numbers with their nouns."""

import difflib
import re
import unicodedata
from collections.abc import Iterable, Mapping
from typing import TypeVar

N = TypeVar("N")
HIDDEN = ("Cc", "Cf", "Cs", "Zl", "Zp")  # Unicode's kinds of what is no letter: controls, formats, surrogates, breaks
KEPT = "\n\t\u200c\u200d\xad"  # joiners are part of words and emoji; a soft hyphen is harmless


def nearest(name: object, known: Iterable[str], cutoff: float = 0.5) -> str:
    """Return "; did you mean X?" with the known name most similar to `name`, or an empty string."""
    spelled = {one.lower(): one for one in known}  # capitals make no difference
    found = difflib.get_close_matches(str(name).lower(), list(spelled), n=1, cutoff=cutoff)
    return f"; did you mean {spelled[found[0]]}?" if found else ""


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, in the plural unless the number is 1.

    >>> counted(1, "sampled frame"), counted(0, "run"), counted(2, "class"), counted(3, "batch"), counted(2, "epoch")
    ('1 sampled frame', '0 runs', '2 classes', '3 batches', '2 epochs')
    """
    return f"{number} {noun if number == 1 else plural(noun)}"


def is_plain(name: str) -> bool:
    """True for a name that a folder may have: letters, digits, spaces and . + - _, with none of . + - in front.

    >>> is_plain("mir 2.0"), is_plain("../mir"), is_plain("")
    (True, False, False)
    """
    return re.fullmatch(r"\w[\w .+-]*", name) is not None


def visible(text: str) -> str:
    r"""Return a text whose control characters are written out, but for line breaks: a terminal would obey them.

    So are bytes of a name that are no text, and what turns the direction of writing. Other texts remain as they are.

    >>> visible("a\x1b]0;b\x07\nc"), visible("caf\xe9 \u65e5\u672c\u3000\u8a9e") == "caf\xe9 \u65e5\u672c\u3000\u8a9e"
    ('a\\x1b]0;b\\x07\nc', True)
    """
    if text.isprintable():
        return text
    return "".join(
        letter if letter in KEPT or unicodedata.category(letter) not in HIDDEN else repr(letter)[1:-1]
        for letter in text
    )


def plural(noun: str) -> str:
    """Return the plural of a noun, or of the last word of a phrase that ends with it."""
    if noun.endswith(("s", "x", "tch", "sh")):
        return f"{noun}es"
    if noun.endswith("y") and noun[-2:-1] not in "aeiou":
        return f"{noun[:-1]}ies"
    return f"{noun}s"


def shorten(name: str, num_letters: int) -> str:
    """Cut a name that is too long: shorten("pavement", 5) is "pave…"."""
    return name if len(name) <= num_letters else name[: num_letters - 1] + "…"


def number_named(metric: str, prefix: str, numbers: Mapping[str, N], owner: str) -> N:
    """Return the number that a table's metric, `prefix` and a name, stands for.

    Args:
        owner: of the numbers, for the message.

    Raises:
        ValueError: there is no such number.
    """
    name = metric.removeprefix(prefix)
    if name not in numbers:
        known = ", ".join(f"{prefix}{one}" for one in numbers)
        raise ValueError(f"{metric}: {owner} has no such number{nearest(name, numbers)} (known: {known})")
    return numbers[name]
