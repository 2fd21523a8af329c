"""The overlay video: colours of the panels, legend, sizes."""

from pathlib import Path

import av
import numpy as np
import pytest

from odkd.report.overlay import (
    BACKGROUND,
    DIFFERS,
    IGNORED,
    MAX_HEIGHT,
    MAX_WIDTH,
    MIN_PANEL_WIDTH,
    OverlayPainter,
    Pixels,
    write_overlay,
)

CLASSES = ["sky", "road", "car"]
PALETTE = [[70, 130, 180], [128, 64, 128], [0, 0, 142]]


def panel(painter: OverlayPainter, picture: Pixels, column: int, row: int) -> Pixels:
    top, left = painter.tops[row], painter.lefts[column]
    return picture[top : top + painter.panel_height, left : left + painter.panel_width]


def test_each_panel_shows_its_map_in_the_colours_of_the_palette() -> None:
    random = np.random.default_rng(0)
    teacher, student = random.integers(0, 3, (2, 200, 320), dtype=np.uint8)
    teacher[:20] = 255
    image = random.integers(0, 256, (200, 320, 3), dtype=np.uint8)
    painter = OverlayPainter(200, 320, classes=CLASSES, palette=PALETTE)
    picture = painter.paint(image, teacher, student, "iteration 12, night, mIoU 0.43")
    assert picture.shape == (painter.height, painter.width, 3)
    np.testing.assert_array_equal(panel(painter, picture, 0, 0), image)
    colours = np.array([*PALETTE, BACKGROUND])
    np.testing.assert_array_equal(panel(painter, picture, 1, 0), colours[np.where(teacher == 255, 3, teacher)])
    np.testing.assert_array_equal(panel(painter, picture, 0, 1), colours[student])


def test_disagreement_is_red_ignored_pixels_are_flat_grey_and_agreement_is_dark() -> None:
    teacher = np.zeros((200, 320), dtype=np.uint8)
    student = teacher.copy()
    student[:50] = 2
    teacher[40:60] = 255
    image = np.full((200, 320, 3), 255, dtype=np.uint8)
    painter = OverlayPainter(200, 320, classes=CLASSES, palette=PALETTE)
    shown = panel(painter, painter.paint(image, teacher, student, ""), 1, 1)
    np.testing.assert_array_equal(shown[:40], np.broadcast_to(DIFFERS, (40, 320, 3)))
    np.testing.assert_array_equal(shown[40:60], np.broadcast_to(IGNORED, (20, 320, 3)))
    np.testing.assert_array_equal(shown[60:], np.full((140, 320, 3), 100))  # white, darkened below IGNORED


def test_small_frames_are_enlarged_by_an_integer_factor_without_blending_classes() -> None:
    labels = np.random.default_rng(0).integers(0, 3, (128, 224), dtype=np.uint8)
    painter = OverlayPainter(128, 224, classes=CLASSES, palette=PALETTE)
    picture = painter.paint(np.zeros((128, 224, 3), dtype=np.uint8), labels, labels, "caption")
    assert (painter.panel_height, painter.panel_width) == (256, 448)
    expected = np.array(PALETTE)[labels.repeat(2, axis=0).repeat(2, axis=1)]
    np.testing.assert_array_equal(panel(painter, picture, 1, 0), expected)


@pytest.mark.parametrize("size", [(2160, 3840), (1280, 720), (100, 3000), (16, 16), (333, 479), (2000, 40)])
def test_every_size_fits_a_screen_with_even_sides_and_panels_in_proportion(size: tuple[int, int]) -> None:
    height, width = size
    painter = OverlayPainter(height, width, classes=[f"thing {i}" for i in range(150)], palette=[[1, 2, 3]] * 150)
    assert painter.width <= MAX_WIDTH
    assert painter.height <= MAX_HEIGHT
    assert painter.width % 2 == painter.height % 2 == 0
    is_narrow = painter.panel_width < MIN_PANEL_WIDTH
    assert not is_narrow or painter.panel_height > 400  # only where the height leaves no room
    assert painter.panel_width / painter.panel_height == pytest.approx(width / height, rel=0.15)
    labels = np.zeros(size, dtype=np.uint8)
    picture = painter.paint(np.zeros((*size, 3), dtype=np.uint8), labels, labels, "a caption far too long " * 20)
    assert picture.shape == (painter.height, painter.width, 3)


def test_the_legend_lists_the_classes_seen_so_far_in_the_order_of_their_ids() -> None:
    painter = OverlayPainter(8, 320, classes=CLASSES, palette=PALETTE)
    image = np.zeros((8, 320, 3), dtype=np.uint8)
    for label, expected in ((2, [2]), (255, [2]), (0, [0, 2])):
        labels = np.full((8, 320), label, dtype=np.uint8)
        painter.paint(image, labels, labels, "")
        assert painter.legend == expected


def test_a_full_legend_replaces_the_class_unseen_for_longest_and_keeps_the_other_places() -> None:
    painter = OverlayPainter(8, 320, classes=[f"a long class name {i}" for i in range(60)], palette=[[9, 9, 9]] * 60)
    image = np.zeros((8, 320, 3), dtype=np.uint8)
    for label in range(60):
        labels = np.full((8, 320), label, dtype=np.uint8)
        painter.paint(image, labels, labels, "")
        if len(painter.legend) == label:  # the first class without a free place
            break
    assert painter.legend == [label, *range(1, label)]


def test_the_video_has_one_frame_per_item_at_the_given_rate(tmp_path: Path) -> None:
    random = np.random.default_rng(0)
    labels = random.integers(0, 3, (3, 64, 96), dtype=np.uint8)
    image = np.zeros((64, 96, 3), dtype=np.uint8)
    items = ((image, labels[i], labels[0], f"frame {i}") for i in range(3))
    write_overlay(tmp_path / "overlay.mp4", frames=items, classes=CLASSES, palette=PALETTE, frame_rate=5)
    with av.open(str(tmp_path / "overlay.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        assert container.streams.video[0].average_rate == 5
    painter = OverlayPainter(64, 96, classes=CLASSES, palette=PALETTE)
    assert [frame.shape for frame in frames] == [(painter.height, painter.width, 3)] * 3
    expected = panel(painter, painter.paint(image, labels[0], labels[0], "frame 0"), 1, 0)
    difference = panel(painter, frames[0], 1, 0).astype(int) - expected
    assert np.abs(difference).mean() < 12  # lossy, but the panel has the right place and colours


def test_a_class_without_a_colour_and_an_empty_video_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="2 colours for 3 classes"):
        OverlayPainter(8, 8, classes=CLASSES, palette=PALETTE[:2])
    with pytest.raises(ValueError, match="no frame to show"):
        write_overlay(tmp_path / "x.mp4", frames=[], classes=CLASSES, palette=PALETTE, frame_rate=5)
    assert not (tmp_path / "x.mp4").exists()
