"""Overlay video of a run for a browser: frame, teacher, student and where the two differ."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from odkd.common.ignore import IGNORE
from odkd.common.names import counted, shorten
from odkd.data.video.encode import VideoWriter

Pixels = NDArray[np.uint8]

DIFFERS = (255, 60, 40)
IGNORED = (150, 150, 150)
BRIGHTNESS = 100  # highest value of the grey image where teacher and student agree: darker than IGNORED
DIFFERS_CODE = BRIGHTNESS + 1
BACKGROUND, TEXT, DIMMED = (20, 20, 22), (235, 235, 235), (105, 105, 110)

MIN_PANEL_WIDTH = 320  # pixels; smaller frames are enlarged, so that the text above them is readable
MAX_WIDTH, MAX_HEIGHT = 1920, 1080  # pixels of the video
ROW_HEIGHT = 24  # pixels of a line of text: the caption, a panel's title, a row of the legend
FONT_SIZE = 15
SWATCH = 14  # pixels
GAP = 4  # pixels between panels and around them
MAX_LEGEND_ROWS = 3


def write_overlay(
    path: Path,
    *,
    frames: Iterable[tuple[Pixels, Pixels, Pixels, str]],
    classes: Sequence[str],
    palette: Sequence[Sequence[int]],
    frame_rate: float,
) -> None:
    """Encode one image per item of `frames`, in turn, to an H.264 mp4.

    Args:
        path: of the video.
        frames: (image_HWC uint8 RGB, teacher_HW uint8, student_HW uint8, caption) of one size; 255 = ignore.
        classes, palette: names and RGB colours in the order of the class ids.
        frame_rate: frames per second of the video.

    Raises:
        ValueError: no frames, or a class without a colour.
    """
    items = iter(frames)
    first = next(items, None)
    if first is None:
        raise ValueError(f"{path.name}: got no frame to show; expected at least one evaluated frame")
    painter = OverlayPainter(*first[1].shape, classes=classes, palette=palette)
    with VideoWriter(path, width=painter.width, height=painter.height, frame_rate=frame_rate, crf=26) as writer:
        writer.write(painter.paint(*first))
        for item in items:
            writer.write(painter.paint(*item))


class OverlayPainter:
    """A painter for frames of one size; it keeps the places of classes in the legend, so that names do not jump."""

    def __init__(
        self,
        height: int,
        width: int,
        *,
        classes: Sequence[str],
        palette: Sequence[Sequence[int]],
        titles: tuple[str, str] = ("teacher", "student"),
    ) -> None:
        if len(palette) < len(classes):
            raise ValueError(
                f"dataset.palette has {counted(len(palette), 'colour')} for {counted(len(classes), 'class')}; "
                "give each class a colour"
            )
        self._classes = [shorten(name, 24) for name in classes]
        self._colours = np.full((256, 3), BACKGROUND, dtype=np.uint8)  # of each class id
        self._colours[: len(palette)] = np.asarray(palette, dtype=np.uint8)
        self._agreement_colours = np.full((256, 3), IGNORED, dtype=np.uint8)  # of each code in `disagreement`
        self._agreement_colours[:DIFFERS_CODE] = np.arange(DIFFERS_CODE)[:, None]
        self._agreement_colours[DIFFERS_CODE] = DIFFERS
        self._font = ImageFont.load_default(size=FONT_SIZE)

        room_height = (MAX_HEIGHT - (3 + MAX_LEGEND_ROWS) * ROW_HEIGHT - 3 * GAP) / 2
        largest_scale = min((MAX_WIDTH - 3 * GAP) / 2 / width, room_height / height)
        scale = min(largest_scale, max(1, math.ceil(MIN_PANEL_WIDTH / width)))
        scale = math.floor(scale) if scale >= 1 else scale  # otherwise enlarged pixels would differ in size
        self.panel_width, self.panel_height = max(1, int(width * scale)), max(1, int(height * scale))
        self.lefts = (GAP, 2 * GAP + self.panel_width)
        self.tops = (2 * ROW_HEIGHT, 3 * ROW_HEIGHT + GAP + self.panel_height)

        self.width = (2 * self.panel_width + 3 * GAP + 1) // 2 * 2  # H.264's 4:2:0 colour needs even sizes
        self._place_width = SWATCH + 20 + max(math.ceil(self._font.getlength(name)) for name in self._classes)
        self._places_a_row = max(1, (self.width - GAP) // self._place_width)
        num_rows = min(MAX_LEGEND_ROWS, math.ceil(len(classes) / self._places_a_row))
        self._legend_top = self.tops[1] + self.panel_height + GAP
        self.height = (self._legend_top + num_rows * ROW_HEIGHT + GAP + 1) // 2 * 2
        self.legend: list[int] = []  # class ids in the order of their places
        self._num_places = num_rows * self._places_a_row
        self._occurring: list[int] = []
        self._last_seen: dict[int, int] = {}  # class id -> number of the frame
        self._num_frames = 0

        self._canvas = Image.new("RGB", (self.width, self.height), BACKGROUND)
        self._draw = ImageDraw.Draw(self._canvas)
        for column, row, title in ((0, 0, "frame"), (1, 0, titles[0]), (0, 1, titles[1])):
            end = self._write(self.lefts[column], self.tops[row] - ROW_HEIGHT, title)
            if column == 1:
                self._write(end, self.tops[row] - ROW_HEIGHT, "no label", swatch=BACKGROUND)

    def paint(self, image_HWC: Pixels, teacher_HW: Pixels, student_HW: Pixels, caption: str) -> Pixels:
        """Return the painted image of one frame, uint8 [height, width, 3]."""
        image = Image.fromarray(image_HWC)
        codes_HW = disagreement(np.asarray(image.convert("L")), teacher_HW, student_HW)
        self._paste(0, 0, image)
        self._paste(1, 0, teacher_HW, self._colours)
        self._paste(0, 1, student_HW, self._colours)
        self._paste(1, 1, codes_HW, self._agreement_colours)

        self._clear(0, ROW_HEIGHT)
        self._write(GAP, 0, caption)
        num_scored = np.count_nonzero(codes_HW != IGNORE)
        num_different = np.count_nonzero(codes_HW == DIFFERS_CODE)
        share = f"{num_different / num_scored:.1%}" if num_scored else "undefined"
        left, top = self.lefts[1], self.tops[1] - ROW_HEIGHT
        self._clear(top, ROW_HEIGHT - GAP, left)
        left = self._write(left, top, f"disagreement {share}", swatch=DIFFERS)
        self._write(left, top, "ignored", swatch=IGNORED)
        self._update_legend(np.bincount(np.concatenate([teacher_HW, student_HW]).ravel(), minlength=256))
        return np.array(self._canvas)

    def _paste(self, column: int, row: int, panel: Image.Image | Pixels, colours: Pixels | None = None) -> None:
        """Paste a panel; labels are resized by nearest neighbour before colouring, so that classes do not blend."""
        picture = Image.fromarray(panel) if isinstance(panel, np.ndarray) else panel
        size = (self.panel_width, self.panel_height)
        if picture.size != size:
            smooth, nearest = Image.Resampling.BILINEAR, Image.Resampling.NEAREST
            picture = picture.resize(size, smooth if colours is None else nearest, reducing_gap=2)
        if colours is not None:
            picture = Image.fromarray(np.take(colours, np.asarray(picture), axis=0))
        self._canvas.paste(picture, (self.lefts[column], self.tops[row]))

    def _update_legend(self, counts: NDArray[np.int64]) -> None:
        """Add new classes to the legend, in place of the class unseen for longest if it is full; dim absent classes."""
        occurring = [index for index in np.flatnonzero(counts).tolist() if index < len(self._classes)]
        self._num_frames += 1
        self._last_seen.update(dict.fromkeys(occurring, self._num_frames))
        if occurring == self._occurring:
            return
        for index in sorted(set(occurring) - set(self.legend), key=lambda index: -counts[index]):
            oldest = min(self.legend, key=self._last_seen.__getitem__, default=index)
            if len(self.legend) < self._num_places:
                self.legend.append(index)
            elif self._last_seen[oldest] < self._num_frames:
                self.legend[self.legend.index(oldest)] = index
        if len(self._classes) <= self._num_places:
            self.legend.sort()
        self._occurring = occurring
        self._clear(self._legend_top, self.height - self._legend_top)
        for place, index in enumerate(self.legend):
            row, column = divmod(place, self._places_a_row)
            left, top = GAP + column * self._place_width, self._legend_top + row * ROW_HEIGHT
            colour = tuple(self._colours[index].tolist())
            self._write(left, top, self._classes[index], swatch=colour, is_dimmed=index not in occurring)

    def _write(
        self,
        left: int,
        top: int,
        text: str,
        *,
        swatch: tuple[int, ...] | None = None,
        is_dimmed: bool = False,
    ) -> int:
        """Write one line, shortened to fit, after a swatch if given; return the left edge for the next text."""
        if swatch is not None:
            box = (left, top + 5, left + SWATCH, top + 5 + SWATCH)
            fill, outline = (None, swatch) if is_dimmed else (swatch, DIMMED)
            self._draw.rectangle(box, fill=fill, outline=outline)
            left += SWATCH + 6
        while len(text) > 1 and left + self._font.getlength(text) > self.width:
            text = shorten(text, len(text) - 1)
        fill = DIMMED if is_dimmed else TEXT
        self._draw.text((left, top + ROW_HEIGHT / 2), text, fill=fill, font=self._font, anchor="lm")
        return left + math.ceil(self._font.getlength(text)) + 12

    def _clear(self, top: int, height: int, left: int = 0) -> None:
        self._draw.rectangle((left, top, self.width, top + height - 1), fill=BACKGROUND)


def disagreement(grey_HW: Pixels, teacher_HW: Pixels, student_HW: Pixels) -> Pixels:
    """Return a code per pixel, uint8 [H, W]: darkened grey, DIFFERS_CODE, or 255 where a map ignores it.

    >>> disagreement(*(np.array([row], dtype=np.uint8) for row in ([255, 255, 0], [1, 1, 255], [1, 2, 2])))
    array([[100, 101, 255]], dtype=uint8)
    """
    codes_HW: Pixels = (grey_HW * np.float32(BRIGHTNESS / 255)).round().astype(np.uint8)
    codes_HW[teacher_HW != student_HW] = DIFFERS_CODE
    codes_HW[(teacher_HW == IGNORE) | (student_HW == IGNORE)] = IGNORE
    return codes_HW
