"""Patterns for the files of a dataset, such as "leftImg8bit/{split}/{city}/{image}_leftImg8bit.png".

A word in braces stands for any text within the name of one folder or file; `{image}` may also span folders. `*` stands
for any text within a name that other patterns do not use. The same words fill the pattern of an image's label map.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

WORD = re.compile(r"\{(\w+)\}")


def words_of(pattern: str) -> set[str]:
    """Return the words in braces.

    >>> sorted(words_of("{split}/{image}.jpg"))
    ['image', 'split']
    """
    return set(WORD.findall(pattern))


def fill(pattern: str, words: Mapping[str, str]) -> str:
    """Replace the known words of a pattern; the rest stay.

    >>> fill("labels/{split}/{image}.png", {"image": "a/0"})
    'labels/{split}/a/0.png'
    """
    return WORD.sub(lambda found: words.get(found[1], found[0]), pattern)


def find_files(root: Path, pattern: str) -> Iterator[tuple[str, dict[str, str]]]:
    """Yield (name below root with "/", {word: text}) of the files that match, in no particular order.

    Hidden files and folders are skipped, links to folders are followed unless they lead to a folder above them.
    """
    regex = compiled(pattern)
    fixed, _, _ = re.split(r"[{*]", pattern, maxsplit=1)[0].rpartition("/")
    for folder, folders, files in os.walk(root / fixed, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".") and not _leads_back(Path(folder) / name)]
        below = Path(folder).relative_to(root).as_posix()
        for file in files:
            name = file if below == "." else f"{below}/{file}"
            if not file.startswith(".") and (found := regex.fullmatch(name)):
                yield name, found.groupdict()


def _leads_back(folder: Path) -> bool:
    return folder.is_symlink() and folder.parent.resolve().is_relative_to(folder.resolve())


def compiled(pattern: str) -> re.Pattern[str]:
    """Return the regular expression for a pattern; its groups are the words.

    >>> compiled("images/{image}.*").fullmatch("images/a/b.0.jpg").groupdict()
    {'image': 'a/b.0'}
    """
    known: set[str] = set()
    parts: list[str] = []
    for part in re.split(r"(\{\w+\}|\*)", pattern):
        word = WORD.fullmatch(part)
        if part == "*":
            parts.append("[^/]*")
        elif word is None:
            parts.append(re.escape(part))
        elif word[1] in known:
            parts.append(f"(?P={word[1]})")
        else:
            known.add(word[1])
            parts.append(f"(?P<{word[1]}>{'.+' if word[1] == 'image' else '[^/]+'})")
    return re.compile("".join(parts), re.DOTALL)  # a name may contain a line break
