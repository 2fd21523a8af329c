"""Tables in GitHub's Markdown, whose cells may hold names from a data set or a setting: they stay text."""

import re
from collections.abc import Iterable, Sequence


def plain(text: str) -> str:
    r"""Return a text on one line in which Markdown finds no HTML, no link and no picture.

    >>> plain("<b>road</b>"), plain("![a](http://x)"), plain("two\nlines")
    ('&lt;b>road&lt;/b>', '![a]\\(http://x)', 'two lines')
    """
    return " ".join(text.replace("<", "&lt;").replace("](", r"]\(").split("\n"))


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(plain(cell).replace('|', chr(92) + '|') for cell in cells)} |"


def code(text: str) -> str:
    """Return a text as code within a line.

    >>> code("odkd seed=1"), code("a `b`")
    ('`odkd seed=1`', '`` a `b` ``')
    """
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence, space = "`" * (longest + 1), " " * (longest > 0)
    return f"{fence}{space}{' '.join(text.split(chr(10)))}{space}{fence}"


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    r"""Return a table.

    >>> print(markdown_table(["class", "IoU"], [["road|way", "0.9"]]))
    | class | IoU |
    |---|---|
    | road\|way | 0.9 |
    """
    return "\n".join([_row(head), "|" + "---|" * len(head), *map(_row, rows)])
