"""Pages that are one file: templates, figures as embedded SVG or PNG, nothing loaded from anywhere.

Everything is escaped by the templates, and a content security policy says the same to the browser: a name with
markup in it is shown, not run.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from odkd.common.files import write_atomic
from odkd.report.canvas import LARGE_INCHES, png_bytes, svg_bytes

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"
MAX_SVG_BYTES = 150_000  # a larger drawing is embedded as PNG, where that is smaller
CSS_PIXELS_PER_INCH = 96
MISSING = "–"


@dataclass(frozen=True)
class Picture:
    """An image to embed: a data URI, what it shows for those who do not see it, its title and explanation."""

    uri: str
    alt: str
    title: str = ""
    note: str = ""
    width: int = 0  # CSS pixels; 0 = as wide as there is room


def render(template: str, context: Mapping[str, Any]) -> bytes:
    """A page from odkd/report/templates, UTF-8."""
    from markupsafe import Markup

    script = (TEMPLATES / "sort.js").read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    page = _environment().get_template(template)
    given = {"script": Markup(script), "script_digest": digest, "made": made, "missing": MISSING}
    # Unpaired surrogates (file names that are no UTF-8) cannot be written: shown as question marks.
    return page.render(given, **context).encode(errors="replace")


def write_page(path: Path, template: str, context: Mapping[str, Any]) -> Path:
    """Renders a page into a file, whole or not at all."""
    write_atomic(path, render(template, context))
    return path


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(TEMPLATES)
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"duration": duration, "gibibytes": gibibytes}
    return made


def embed(figure: Figure, *, alt: str, title: str = "", note: str = "") -> Picture:
    """A figure without its title, which the page has in its caption, as SVG or, where that is large, PNG."""

    figure.suptitle("")
    is_large = max(figure.get_size_inches()) > LARGE_INCHES  # hundreds of names, each letter a path
    content, kind = (b"", "") if is_large else (svg_bytes(figure), "svg+xml")
    if is_large or len(content) > MAX_SVG_BYTES:
        picture = png_bytes(figure)
        if is_large or len(picture) < len(content):
            content, kind = picture, "png"
    width = round(figure.get_figwidth() * CSS_PIXELS_PER_INCH)
    return Picture(data_uri(content, kind), alt, title, note, width)


def data_uri(content: bytes, kind: str) -> str:
    """An image of type image/`kind` as an address that holds it."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def duration(seconds: float) -> str:
    """A time as people say it.

    >>> duration(0.4), duration(75), duration(7260)
    ('0.40 s', '1 min 15 s', '2 h 1 min')
    """
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def gibibytes(num_bytes: float) -> str:
    """A size in memory.

    >>> gibibytes(3 * 2**29)
    '1.50 GiB'
    """
    return f"{num_bytes / 2**30:.2f} GiB"
