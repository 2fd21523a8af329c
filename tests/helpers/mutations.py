"""Damaged and odd inputs, each determined by a number: bytes, JSON values, settings, names."""

import copy
import json
from collections.abc import Iterator
from random import Random
from typing import Any

ODD: list[Any] = [  # values where something else is expected
    *(None, True, False, 0, -1, 1, 10**30, -(10**30), 0.5, 1e300, -1e300, float("nan"), float("inf"), 10**400),
    *("", " ", "abc", "a" * 300, "../x", "a/b", "/dev/zero", "\x00", "a\nb", "é☃", "${nope}", "${seed}", "???", "1"),
    *([], [1], [None], [[1]], [1e9, 1e9], ["a", "a"], {}, {"a": 1}, {"_target_": "os.system"}, {1: {2: [3]}}, [[[]]]),
]


def odd(random: Random) -> Any:
    """Return a value that is not expected."""
    return copy.deepcopy(random.choice(ODD))


def damaged(content: bytes, random: Random) -> bytes:
    """Return bytes with one to a few kinds of damage."""
    kinds = [_cut, _flip, _fill, _insert, _repeat, _drop, _numbers, _empty]
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        content = random.choice(kinds)(content, random)
    return content


def damaged_json(content: bytes, random: Random) -> bytes:
    """Return a JSON text with another value somewhere, a missing or additional key, or damaged bytes."""
    if random.random() < 0.3:
        return random.choice((damaged(content, random), b"null", b"[]", b"5", b'"a"', b"{}", b"[" * 9999, b"\xff\xfe"))
    value = json.loads(content)
    return json.dumps(changed(value, random)).encode()


def changed(value: Any, random: Random) -> Any:
    """Return a plain value in which one to three values differ, are missing, or are new."""
    for _ in range(random.choice((1, 1, 2, 3))):
        places = list(_places(value))
        if not places:
            return odd(random)
        place, key = random.choice(places)
        if random.random() < 0.2 and isinstance(place, dict):
            del place[key]
        elif random.random() < 0.1 and isinstance(place, dict):
            place[random.choice(("new", "", "\x00", "a" * 300))] = odd(random)
        else:
            place[key] = odd(random)
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Yield each container with each of its keys; of long lists the first ones."""
    items = value.items() if isinstance(value, dict) else enumerate(value[:8]) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from _places(inner)


def _cut(content: bytes, random: Random) -> bytes:
    return content[: random.randrange(len(content) + 1)]


def _empty(content: bytes, random: Random) -> bytes:
    return b"" if random.random() < 0.2 else _flip(content, random)


def _flip(content: bytes, random: Random) -> bytes:
    changed_bytes = bytearray(content)
    for _ in range(random.choice((1, 2, 8, 64)) if content else 0):
        changed_bytes[random.randrange(len(content))] ^= 1 << random.randrange(8)
    return bytes(changed_bytes)


def _fill(content: bytes, random: Random) -> bytes:
    start = random.randrange(len(content) + 1)
    length = random.choice((1, 4, 16, 512))
    return content[:start] + bytes([random.choice((0, 255, 127))]) * length + content[start + length :]


def _insert(content: bytes, random: Random) -> bytes:
    start = random.randrange(len(content) + 1)
    return content[:start] + random.randbytes(random.choice((1, 3, 100))) + content[start:]


def _repeat(content: bytes, random: Random) -> bytes:
    start = random.randrange(len(content) + 1)
    return content[:start] + content[start : start + 200] * random.choice((2, 3, 50)) + content[start:]


def _drop(content: bytes, random: Random) -> bytes:
    start = random.randrange(len(content) + 1)
    return content[:start] + content[start + random.choice((1, 2, 4, 100)) :]


def _numbers(content: bytes, random: Random) -> bytes:
    """Overwrite four or eight bytes near the start by a large number: sizes stand there."""
    start = random.randrange(min(len(content), 200) + 1)
    number = random.choice((2**31 - 1, 2**32 - 1, 10**5, 10**9, 0)).to_bytes(4, random.choice(("little", "big")))
    return content[:start] + number + content[start + 4 :]
