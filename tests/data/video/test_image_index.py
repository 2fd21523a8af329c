"""The index of a collection of images: order, pixels, digest and cache."""

import os
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from image_folders import colours, save
from PIL import Image

from odkd.data.video import image_index
from odkd.data.video.decode import decode_frames
from odkd.data.video.fit import Fit
from odkd.data.video.image_index import ImageIndex, index_images, read_picture


def indexed(tmp_path: Path, files: Sequence[str], fit: Fit = "stretch", size: tuple[int, int] = (32, 32)) -> ImageIndex:
    return index_images(tmp_path, "all", files, size=size, fit=fit, cache=tmp_path / "cache")


def test_images_are_read_in_natural_order_with_the_pixels_of_pillow(tmp_path: Path) -> None:
    save(tmp_path / "10.png", colours(32, 32, 1))
    save(tmp_path / "9.png", colours(32, 32, 2))
    index = indexed(tmp_path, ["10.png", "9.png"])
    assert index.names == ("9.png", "10.png")  # natural order
    found = dict(decode_frames(index, [0, 1]))
    assert found[0] is not None
    assert (found[0] == colours(32, 32, 2)).all()
    assert index.sizes == ((32, 32), (32, 32))


def test_orientation_transparency_and_16_bit_depth_are_handled(tmp_path: Path) -> None:
    picture_HWC = colours(48, 32)
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise makes the image upright
    stored = np.ascontiguousarray(np.rot90(picture_HWC))
    Image.fromarray(stored).save(tmp_path / "turned.png", exif=exif)
    Image.fromarray(np.dstack([picture_HWC, np.full((48, 32), 7, np.uint8)])).save(tmp_path / "alpha.png")
    deep_HW = picture_HWC[..., 0].astype(np.uint16) << 8
    Image.fromarray(deep_HW).save(tmp_path / "deep.png")
    index = indexed(tmp_path, ["alpha.png", "deep.png", "turned.png"], size=(48, 32))
    assert index.sizes == ((48, 32),) * 3
    alpha, deep, turned = (image for _, image in decode_frames(index, [0, 1, 2]))
    assert (turned == picture_HWC).all()
    assert (alpha == picture_HWC).all()
    assert deep is not None
    assert (deep[..., 0] == picture_HWC[..., 0]).all()


def test_the_digest_depends_only_on_names_contents_and_the_visible_part(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        save(tmp_path / folder / "0.png", colours(32, 40, 1))
        save(tmp_path / folder / "1.png", colours(32, 40, 2))
    cache = tmp_path / "cache"

    def digest(folder: str, files: Sequence[str], fit: Fit = "crop", size: tuple[int, int] = (32, 32)) -> str:
        return index_images(tmp_path / folder, "all", files, size=size, fit=fit, cache=cache).digest

    first = digest("a", ["0.png", "1.png"])
    assert first == digest("b", ["1.png", "0.png"])  # the folder does not matter
    assert first == digest("a", ["0.png", "1.png"], size=(64, 64))  # the same part is visible at another size
    assert first != digest("a", ["0.png", "1.png"], size=(32, 64))
    assert first != digest("a", ["0.png", "1.png"], fit="pad")
    assert first != digest("a", ["0.png"])
    save(tmp_path / "a" / "1.png", colours(32, 40, 3))
    assert first != digest("a", ["0.png", "1.png"])


def test_the_index_of_a_collection_is_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "0.png", colours(32, 32))
    first = indexed(tmp_path, ["0.png"])
    monkeypatch.setattr("odkd.data.video.image_index._facts", None)
    assert indexed(tmp_path, ["0.png"]) == first


def test_links_to_images_that_are_away_are_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    save(tmp_path / "0.png", colours(32, 32))
    (tmp_path / "1.png").symlink_to("/nowhere/1.png")
    os.mkfifo(tmp_path / "2.png")
    assert indexed(tmp_path, ["0.png", "1.png", "2.png"]).names == ("0.png",)
    assert f"left out: 2 of 3 images of all are no files, such as {tmp_path / '1.png'}" in caplog.text
    with pytest.raises(ValueError, match="1 of 1 image of all are no files"):
        indexed(tmp_path, ["1.png"])


def test_no_flipped_bit_of_a_png_changes_a_pixel_without_a_word(tmp_path: Path) -> None:
    """Pillow decodes some such files to other pixels; their checksums are verified, too."""
    path = tmp_path / "frame.png"
    save(path, np.kron(colours(8, 12, 1), np.ones((4, 4, 1), np.uint8)))
    content, whole = path.read_bytes(), np.asarray(read_picture(path))
    num_damaged = 0
    for place in range(len(content)):
        path.write_bytes(content[:place] + bytes([content[place] ^ 1 << place % 8]) + content[place + 1 :])
        try:
            found = np.asarray(read_picture(path))
        except ValueError:
            num_damaged += 1
        else:
            np.testing.assert_array_equal(found, whole)
    assert num_damaged > 0.9 * len(content)


@pytest.mark.parametrize(
    "values_HW",
    [
        np.arange(2**16, dtype=np.uint16).reshape(256, 256),
        np.array([[-1, 0, 255, 256], [65535, 65536, 2**31 - 1, -(2**31)]], np.int32),
        np.array([[-300.5, 0, 255.9, 256], [65535.9, 1e6, 1e18, -1e18]], np.float32),
    ],
    ids=["16 bits", "32 bits", "floats"],
)
def test_high_bytes_are_those_of_all_values_at_once(values_HW: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    expected_HW = (values_HW.astype(np.int64) >> 8).clip(0, 255).astype(np.uint8)
    for at_once in (3, 2**18):
        monkeypatch.setattr(image_index, "AT_ONCE", at_once)
        np.testing.assert_array_equal(image_index._high_bytes(values_HW), expected_HW)


def test_a_deep_picture_takes_no_8_bytes_a_pixel() -> None:
    values_HW = np.zeros((2000, 1000), np.uint16)
    tracemalloc.start()
    image_index._high_bytes(values_HW)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2 * 2**21 + 3 * 8 * 2**18
