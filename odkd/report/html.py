"""Self-contained HTML pages: templates with figures embedded as SVG or PNG; nothing is loaded from elsewhere.

The templates escape all text, and a content security policy makes the browser block foreign scripts: markup in a
name is displayed, never executed.
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
from odkd.common.names import counted
from odkd.report.canvas import LARGE_INCHES, png_bytes, svg_bytes
from odkd.report.drawing import CSS_PIXELS_PER_INCH, Drawing

if TYPE_CHECKING:
    from jinja2 import Environment
    from matplotlib.figure import Figure

TEMPLATES = Path(__file__).parent / "templates"
MAX_SVG_BYTES = 150_000  # a larger drawing is embedded as PNG if that is smaller
MISSING = "–"
MOST_SECONDS = 1e11  # 3,000 years


@dataclass(frozen=True)
class Picture:
    """An image to embed: a data URI, alternative text, title and explanation."""

    uri: str
    alt: str
    title: str = ""
    note: str = ""
    width: int = 0  # CSS pixels; 0 = all available width


def render(template: str, context: Mapping[str, Any]) -> bytes:
    """Return a page rendered from a template in odkd/report/templates, UTF-8."""
    from markupsafe import Markup

    script = (TEMPLATES / "sort.js").read_text()
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    made = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    page = _environment().get_template(template)
    given = {"script": Markup(script), "script_digest": digest, "made": made, "missing": MISSING}
    # Unpaired surrogates (file names that are not UTF-8) cannot be encoded: shown as question marks.
    return page.render(given, **context).encode(errors="replace")


def write_page(path: Path, template: str, context: Mapping[str, Any]) -> Path:
    """Render a page into a file atomically and return its path."""
    write_atomic(path, render(template, context))
    return path


@cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    loader = FileSystemLoader(TEMPLATES)
    made = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    made.filters |= {"duration": duration, "gibibytes": gibibytes, "counted": counted}
    return made


def embed(figure: Figure, *, alt: str, title: str = "", note: str = "") -> Picture:
    """Return a figure as SVG or, if that is large, as PNG; without its title, which the page shows as caption."""
    figure.suptitle("")
    is_large = max(figure.get_size_inches()) > LARGE_INCHES  # hundreds of names, with each letter a path
    content, kind = (b"", "") if is_large else (svg_bytes(figure), "svg+xml")
    if is_large or len(content) > MAX_SVG_BYTES:
        picture = png_bytes(figure)
        if is_large or len(picture) < len(content):
            content, kind = picture, "png"
    width = round(figure.get_figwidth() * CSS_PIXELS_PER_INCH)
    return Picture(data_uri(content, kind), alt, title, note, width)


def embed_drawing(drawing: Drawing, *, alt: str, title: str = "", note: str = "") -> Picture:
    """Return a figure that is drawn already, without its title, which the page shows as caption."""
    return Picture(data_uri(drawing.png(with_title=False), "png"), alt, title, note, drawing.css_width)


def data_uri(content: bytes, kind: str) -> str:
    """Return a data URI of an image of type image/`kind`."""
    return f"data:image/{kind};base64,{base64.b64encode(content).decode()}"


def duration(seconds: float) -> str:
    """Return a time in readable units; one that no run takes is missing.

    >>> duration(0.4), duration(75), duration(7260), duration(float("inf"))
    ('0.40 s', '1 min 15 s', '2 h 1 min', '–')
    """
    if not 0 <= seconds < MOST_SECONDS:
        return MISSING
    if seconds < 60:
        return f"{seconds:.2f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def gibibytes(num_bytes: float) -> str:
    """Return a size of memory in GiB.

    >>> gibibytes(3 * 2**29)
    '1.50 GiB'
    """
    return f"{num_bytes / 2**30:.2f} GiB"
