"""Shared parts of the plots of a run: size, fonts, the strip with the domain names, the time axis, saving.

Figures are drawn without pyplot, which keeps global state: many runs may share one process.
"""

from __future__ import annotations

import io
import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from odkd.common.files import write_atomic
from odkd.report import Array, Line, values
from odkd.report.drawing import draw

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Span = tuple[float, float, str]  # start, end (positions), domain

# Light enough for lines on top, distinct in grey print; hatched from the seventh domain on
DOMAIN_COLOURS = ("#FFFFFF", "#D3DAE3", "#F6E7C4", "#BFD8CB", "#EAD5DF", "#C4C4C4")
WIDTH_INCHES = 8.0
DOTS_PER_INCH = 150
LARGE_INCHES, LARGE_DOTS_PER_INCH = 12.0, 100  # for figures with too many classes for a page
MIN_MINUTES = 3  # length of a stream from which its time is in minutes
LETTER_INCHES = 0.068  # width of one letter of a domain's name, rounded up


def new_figure(height_inches: float, title: str, width_inches: float = WIDTH_INCHES) -> Figure:
    """Return an empty figure with automatic layout."""
    from matplotlib.figure import Figure

    is_large = max(width_inches, height_inches) > LARGE_INCHES
    dots_per_inch = LARGE_DOTS_PER_INCH if is_large else DOTS_PER_INCH
    figure = Figure(figsize=(width_inches, height_inches), dpi=dots_per_inch, layout="constrained")
    figure.suptitle(plain(title), fontsize=11, fontweight="bold")
    return figure


def plain(text: str) -> str:
    """Escape text that matplotlib would read as a formula."""
    return text.replace("$", r"\$")


def stream_figure(
    lines: Sequence[Line], title: str, panels_inches: Sequence[float]
) -> tuple[Figure, list[Axes], list[Artist]]:
    """Return a figure over the stream with a strip of domains and time on top, the panels, and legend entries.

    A stream without domains has no strip. The legend entries, for `add_legend`, explain the domains if not all of
    their names fit into the strip.
    """
    from matplotlib.ticker import MaxNLocator

    spans = domain_spans(lines)
    strip_inches = [0.2] if has_domains(lines) else []
    heights = [*strip_inches, *panels_inches]
    figure = new_figure(sum(heights) + 1.5, title)
    every = figure.subplots(len(heights), 1, squeeze=False, gridspec_kw={"height_ratios": heights}).ravel().tolist()
    panels = every[len(strip_inches) :]
    edges = position_edges(lines)
    for axes in every:
        axes.set_xlim(edges[0], edges[-1])
        axes.tick_params(labelsize=8)
        axes.xaxis.set_major_locator(MaxNLocator(9, integer=True))
        if len(lines) == 1:
            axes.set_xticks([lines[0]["position"]])
    for panel in panels[:-1]:
        panel.tick_params(labelbottom=False)
    panels[-1].set_xlabel("position in the stream (sampled frames)", fontsize=9)
    unnamed = _name_domains(every[0], panels, spans) if strip_inches else []
    _add_time(every[0], lines)
    return figure, panels, unnamed


def has_domains(lines: Sequence[Line]) -> bool:
    """True if the dataset states a domain for any part of the stream."""
    return any(line.get("domain") for line in lines)


def add_legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """Add one legend below all panels, if there are handles."""
    if handles:
        style: dict[str, Any] = {"ncols": min(len(handles), 5), "fontsize": 9, "frameon": False}
        figure.legend(handles=handles, loc="outside lower center", **style)


def position_edges(lines: Sequence[Line]) -> Array:
    """Return float64 [iterations + 1]: borders halfway between the positions of neighbouring iterations."""
    positions = np.array([line["position"] for line in lines], dtype=np.float64)
    if len(positions) == 1:
        return np.array([positions[0] - 0.5, positions[0] + 0.5])
    halfway = (positions[1:] + positions[:-1]) / 2
    return np.concatenate([[2 * positions[0] - halfway[0]], halfway, [2 * positions[-1] - halfway[-1]]])


def domain_spans(lines: Sequence[Line]) -> list[Span]:
    """Return (start, end, domain) in sampled frames; neighbours with the same domain are merged.

    A change of domain is drawn at its recorded position, or else halfway between two iterations.
    """
    edges = position_edges(lines).tolist()
    for index, (before, line) in enumerate(itertools.pairwise(lines), 1):
        began = line.get("domain_began")
        if began is not None and before["position"] < began <= line["position"]:
            edges[index] = float(began)
    spans: list[Span] = []
    for start, end, line in zip(edges[:-1], edges[1:], lines, strict=True):
        domain = line.get("domain") or ""
        merged = spans.pop()[0] if spans and spans[-1][2] == domain else start
        spans.append((merged, end, domain))
    return spans


def save(figure: Figure, path: Path) -> Path:
    """Write the figure as PNG, atomically, and return the path."""
    write_atomic(path, png_bytes(figure))
    return path


def png_bytes(figure: Figure) -> bytes:
    """Return the figure as PNG."""
    return draw(figure).png(with_title=True)


def svg_bytes(figure: Figure) -> bytes:
    """Return the figure as SVG with letters as paths; equal figures give equal bytes on every machine."""
    from matplotlib import rc_context
    from matplotlib.backends.backend_svg import FigureCanvasSVG

    if (engine := figure.get_layout_engine()) is not None:
        engine.execute(figure)
    buffer, dots_per_inch = io.BytesIO(), figure.dpi
    canvas: Any = FigureCanvasSVG(figure)
    with rc_context({"svg.hashsalt": "odkd"}):
        try:
            canvas.print_svg(buffer, metadata={"Date": None, "Creator": None})
        finally:
            figure.set_dpi(dots_per_inch)  # drawing sets it to 72
    return buffer.getvalue()


def _name_domains(strip: Axes, panels: Sequence[Axes], spans: Sequence[Span]) -> list[Artist]:
    """Shade the panels and name each span that is wide enough; return legend entries if some name did not fit."""
    from matplotlib.patches import Patch

    strip.set_yticks([])
    strip.set_xticks([])
    strip.set_ylim(0, 1)
    domains = list(dict.fromkeys(domain for _, _, domain in spans))
    inches_a_frame = (WIDTH_INCHES - 1.5) / (spans[-1][1] - spans[0][0])
    handles, named = [], set()
    for index, domain in enumerate(domains):
        ranges = [(start, end - start) for start, end, other in spans if other == domain]
        colour = DOMAIN_COLOURS[index % len(DOMAIN_COLOURS)]
        hatch = "//" * (index // len(DOMAIN_COLOURS))
        name = plain(domain or "unknown")
        strip.broken_barh(ranges, (0, 1), facecolor=colour, edgecolor="#666666", hatch=hatch, linewidth=0.6)
        for panel in panels:
            shade: dict[str, Any] = {"facecolor": colour, "alpha": 0.6, "linewidth": 0, "zorder": 0}
            panel.broken_barh(ranges, (0, 1), transform=panel.get_xaxis_transform(), **shade)
        for start, width in ranges:
            if width * inches_a_frame > LETTER_INCHES * (len(name) + 1):
                strip.text(start + width / 2, 0.46, name, ha="center", va="center", fontsize=8)
                named.add(domain)
        handles.append(Patch(facecolor=colour, edgecolor="#666666", hatch=hatch, linewidth=0.6, label=name))
    return [] if named == set(domains) else list(handles)


def _add_time(top: Axes, lines: Sequence[Line]) -> None:
    """Add the time in the stream above the uppermost axes, in minutes or for a short stream in seconds.

    It is the time of the videos, so its label says how far apart sampled frames are. Nothing is added if the time is
    unknown or does not increase.
    """
    from matplotlib.ticker import MaxNLocator

    time = values(lines, "stream/seconds")
    known = np.isfinite(time)
    positions = np.array([line["position"] for line in lines], dtype=np.float64)[known]
    time = time[known]
    if not len(time) or np.any(np.diff(time) <= 0):
        return
    sampled = _seconds_apart(time, positions)
    is_short = time[-1] < MIN_MINUTES * 60
    time = time if is_short else time / 60
    ticks = time
    if len(time) > 1:
        ticks = np.asarray(MaxNLocator(8).tick_values(time[0], time[-1]))
        ticks = ticks[(ticks >= time[0]) & (ticks <= time[-1])]
    labels = [f"{round(tick, 2):g}" for tick in ticks]
    axis = top.secondary_xaxis("top")
    axis.set_xticks(np.interp(ticks, time, positions), labels, fontsize=8)
    axis.set_xlabel(f"time in the videos ({'seconds' if is_short else 'minutes'}{sampled})", fontsize=9)


def _seconds_apart(time: Array, positions: Array) -> str:
    """Return how far apart sampled frames are in the videos, as text; "" with one iteration.

    >>> _seconds_apart(np.array([0.0, 9.0, 18.0]), np.array([0.0, 6.0, 12.0]))
    '; one sampled frame each 1.5 s'
    >>> _seconds_apart(np.array([0.0, 9.0, 10.0]), np.array([0.0, 6.0, 12.0]))
    '; one sampled frame each 0.833 s on average'
    """
    if len(time) < 2:
        return ""
    each = np.diff(time) / np.diff(positions)
    is_even = float(each.max()) < 1.02 * float(each.min())
    mean = (time[-1] - time[0]) / (positions[-1] - positions[0])
    return f"; one sampled frame each {mean:.3g} s{'' if is_even else ' on average'}"
