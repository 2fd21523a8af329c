"""odkd-prepare with damaged, huge and odd pictures and archives: one line with the file's name, and little memory."""

import bz2
import io
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from public_datasets import CLIPS, make_camvid_of_segnet, make_cdnet

from odkd.commands.prepare import main
from odkd.common.archives import read_member
from odkd.common.arrays import read_npz
from odkd.data.prepare import camvid, pictures
from odkd.data.prepare.pictures import Picture, find_pictures

START = b"\x89PNG\r\n\x1a\n"


def png(mode: str = "L", size: tuple[int, int] = (32, 24)) -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, "PNG")
    return buffer.getvalue()


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def header(width: int, height: int) -> bytes:
    """Return a PNG of that size which holds no pixels."""
    data = chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    return START + chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)) + data


DATA = png().index(b"IDAT") + 8
DAMAGED = {
    "no bytes": b"",
    "cut off": png()[: DATA + 4],
    "broken data": png()[:DATA] + b"\xff" * 8 + png()[DATA + 8 :],
    "a header of 2 bytes": START + chunk(b"IHDR", b"\0\0"),
    "no pixels": header(0, 0),
    "a header of 50000 x 50000": header(50_000, 50_000),
    "a header of 8000 x 8000": header(8000, 8000),
    "no picture": b"<html>not found</html>",
}


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_picture_is_one_message_with_its_name(tmp_path: Path, content: bytes, zipped: bool) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(content)
    if zipped:
        with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
            archive.write(path, "a.png")
        path.unlink()
    (picture,) = find_pictures(tmp_path)
    for read in (picture.load, picture.ids, lambda: picture.load("RGB")):
        with pytest.raises(ValueError, match=r"a\.png cannot be read as a picture \(.+\); download it again"):
            read()


def test_a_picture_of_a_mode_that_pillow_does_not_convert_is_one_message(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((4, 4), np.float32)).convert("LA").save(tmp_path / "ok.png")
    assert Picture(tmp_path / "ok.png").load("RGB").size == (4, 4)
    Image.new("LAB", (4, 4)).save(tmp_path / "lab.tiff")
    with pytest.raises(ValueError, match=r"lab\.tiff cannot be read as a picture"):
        Picture(tmp_path / "lab.tiff").load("L")


def edit(path: Path, change: Callable[[bytearray], None]) -> None:
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)


LOCAL, CENTRAL = b"PK\x03\x04", b"PK\x01\x02"  # where a member's header begins, in front of it and in the list


def in_headers(places: dict[bytes, int], value: int) -> Callable[[bytearray], None]:
    def change(content: bytearray) -> None:
        for mark, offset in places.items():
            content[content.index(mark) + offset] = value

    return change


def break_deflate(content: bytearray) -> None:
    begin = content.index(LOCAL) + 30 + len("a.png")
    content[begin : begin + 6] = b"\xff" * 6


FAULTS = {
    "it is encrypted": in_headers({LOCAL: 6, CENTRAL: 8}, 1),
    "it is packed with method 99": in_headers({LOCAL: 8, CENTRAL: 10}, 99),
    "it is packed with method 12": in_headers({LOCAL: 8, CENTRAL: 10}, 12),
    "Error -3 while decompressing": break_deflate,
    "zip file version": in_headers({CENTRAL: 6}, 99),
    "File is not a zip file": lambda content: content.__delitem__(slice(-30, None)),
}


@pytest.mark.parametrize("message", FAULTS)
def test_a_fault_of_an_archive_is_one_message_with_its_name(tmp_path: Path, message: str) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.png", png())
    edit(tmp_path / "all.zip", FAULTS[message])
    with pytest.raises(ValueError, match=rf"all\.zip.*{message}.*; download it again"):
        find_pictures(tmp_path)[0].load()


def test_a_member_of_an_archive_is_bounded_as_a_file_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST_BYTES", 2**16)
    with_chunk = png()[:33] + chunk(b"prVt", b"\0" * 2**20) + png()[33:]
    (tmp_path / "a.png").write_bytes(with_chunk)
    with zipfile.ZipFile(tmp_path / "all.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b.png", with_chunk)
    for picture in find_pictures(tmp_path):
        with pytest.raises(ValueError, match="has more than 65536 bytes"):
            picture.load()


def test_no_more_of_a_member_is_unpacked_than_is_read() -> None:
    """zipfile unpacks pieces of bzip2 and lzma at once: 50 bytes become a megabyte."""
    for method in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w", method) as archive:
            archive.writestr("x.npy", b"\0" * 1000)
        with zipfile.ZipFile(buffer) as archive, pytest.raises(ValueError, match="expected deflate, or no packing"):
            read_member(archive, "x.npy", 10)
        with pytest.raises(ValueError, match="expected deflate, or no packing"):
            read_npz(buffer.getvalue(), "x")
    assert len(bz2.compress(b"\0" * 10**6)) < 60


def told(capsys: pytest.CaptureFixture[str], *words: object) -> str:
    with pytest.raises(SystemExit) as ending:
        main(list(map(str, words)))
    assert ending.value.code == 2
    line = capsys.readouterr().err
    assert line.count("\n") == 1
    return line


def test_cdnet_names_the_damaged_picture(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_cdnet(tmp_path / "source")
    highway = source / "dataset" / "baseline" / "highway"
    image = next((highway / "input").glob("in000002.*"))
    image.write_bytes(DAMAGED["a header of 50000 x 50000"])
    assert f"{image} cannot be read" in told(capsys, "cdnet", source, tmp_path / "made")
    image.write_bytes(png("RGB"))
    truth = highway / "groundtruth" / "gt000003.png"
    truth.write_bytes(DAMAGED["a header of 2 bytes"])
    assert f"{truth} cannot be read" in told(capsys, "cdnet", source, tmp_path / "made")


def test_camvid_names_the_damaged_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camvid, "CLIPS", CLIPS)
    source = make_camvid_of_segnet(tmp_path / "source")
    path = source / "CamVid" / "trainannot" / "0006R0_f00930.png"
    path.write_bytes(DAMAGED["broken data"])
    assert f"{path} cannot be read" in told(capsys, "camvid", source, tmp_path / "made")


def test_camvid_names_a_picture_that_is_no_frame(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("0001TP_x.png", "0001TP_x_L.png"):
        (tmp_path / name).write_bytes(png())
    assert "a picture 0001TP_x and one 0001TP_x_L;" in told(capsys, "camvid", tmp_path, tmp_path / "made")


@pytest.mark.parametrize("damage", ["cut off", "broken data", "a header of 2 bytes", "a header of 50000 x 50000"])
@pytest.mark.parametrize("place", ["images/a.jpg", "masks/a.png"])
def test_bdd100k_names_the_damaged_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], place: str, damage: str
) -> None:
    for name in ("images/a.jpg", "masks/a.png", "city/a_leftImg8bit.png", "fine/a_gtFine_labelTrainIds.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(png())
    (tmp_path / place).write_bytes(DAMAGED[damage])
    folders = ("--bdd100k-images", "images", "--bdd100k-labels", "masks", "--cityscapes-images", "city")
    words = [word if word.startswith("--") else tmp_path / word for word in (*folders, "--cityscapes-labels", "fine")]
    sizes = ("--images", 1, "--block", 1, "--size", 32, 24)
    line = told(capsys, "bdd100k-cityscapes", *words, "--to", tmp_path / "made", *sizes)
    assert f"{tmp_path / place} cannot be read as a picture" in line


def test_names_in_an_archive_steer_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in ("input/in000001.png", "groundtruth/gt000001.png"):
            archive.writestr(f"x\x1b]0;owned\x07/{name}", png())
    line = told(capsys, "cdnet", tmp_path / "all.zip", tmp_path / "made")
    assert "it has x\\x1b]0;owned\\x07;" in line


@pytest.mark.parametrize("leads_to", ["a folder", "nowhere"])
def test_a_folder_to_build_in_that_is_a_link_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], leads_to: str
) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    for name in ("lock", "precious"):
        (mine / name).touch()
    (tmp_path / "made.building").symlink_to(mine if leads_to == "a folder" else tmp_path / "gone")
    line = told(capsys, "cdnet", make_cdnet(tmp_path / "source"), tmp_path / "made")
    assert "made.building is a link" in line
    assert sorted(path.name for path in mine.iterdir()) == ["lock", "precious"]


def test_links_in_what_another_command_began_are_removed_alone(tmp_path: Path) -> None:
    mine, place = tmp_path / "mine", tmp_path / "made.building"
    for folder in (mine, place):
        folder.mkdir()
    (mine / "precious").touch()
    (place / "lock").touch()
    (place / "videos").symlink_to(mine)
    main(["cdnet", str(make_cdnet(tmp_path / "source")), str(tmp_path / "made")])
    assert [path.name for path in mine.iterdir()] == ["precious"]
    assert not (tmp_path / "made" / "videos").is_symlink()
