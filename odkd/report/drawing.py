"""Figures of a run as images: each is drawn once, with its title for plots/ and without it for the page."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

if TYPE_CHECKING:
    from matplotlib.figure import Figure

CSS_PIXELS_PER_INCH = 96
COMPRESSION = 4  # of PNG, 1 to 9: 6 takes 1.7 times as long for 3% smaller files


@dataclass(frozen=True)
class Drawing:
    """A drawn figure.

    Args:
        pixels_HWC: uint8 [height, width, 3].
        title_rows: uppermost rows, which hold the title.
        dots_per_inch: its resolution.
        title: the title as text.
    """

    pixels_HWC: NDArray[np.uint8]
    title_rows: int
    dots_per_inch: float
    title: str

    def png(self, *, with_title: bool) -> bytes:
        """Return it as PNG."""
        buffer = io.BytesIO()
        rows = self.pixels_HWC[0 if with_title else self.title_rows :]
        resolution = (self.dots_per_inch, self.dots_per_inch)
        Image.fromarray(rows).save(buffer, format="png", dpi=resolution, compress_level=COMPRESSION)
        return buffer.getvalue()

    @property
    def css_width(self) -> int:
        """Its width on a page at its own size, CSS pixels."""
        return round(int(self.pixels_HWC.shape[1]) / self.dots_per_inch * CSS_PIXELS_PER_INCH)


def draw(figure: Figure) -> Drawing:
    """Draw a figure. (`figure.savefig` would draw everything twice, which is slow with 150 classes.)"""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)  # Any: its methods are untyped
    canvas.draw()
    pixels_HWC = np.asarray(canvas.buffer_rgba())[..., :3].copy()
    title: Any = getattr(figure, "_suptitle", None)
    text = "" if title is None else title.get_text()
    bottom = title.get_window_extent(canvas.get_renderer()).y0 if text else pixels_HWC.shape[0]
    return Drawing(pixels_HWC, max(0, int(pixels_HWC.shape[0] - bottom)), figure.dpi, text.replace(r"\$", "$"))
