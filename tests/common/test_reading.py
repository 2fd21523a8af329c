"""Files of others: only regular ones are opened, sizes are checked first, and damage is one line."""

import errno
import io
import os
import socket
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from odkd.common import folders
from odkd.common.arrays import read_npz
from odkd.common.ending import one_line
from odkd.common.errors import ADVICE, line_of
from odkd.common.folders import walk
from odkd.common.pictures import open_picture
from odkd.common.reading import DamagedFileError, NoRegularFileError, check_unpacked, open_file, read_bytes, read_json
from odkd.common.yaml_files import load_config, load_yaml

FORM = {"name": str, "scores": dict[str, float | None], "sweep?": {"key": str}}


def make_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(path.name)


@pytest.mark.parametrize(
    ("make", "kind"),
    [(os.mkfifo, "a pipe"), (make_socket, "a socket"), (Path.mkdir, "a folder")],
    ids=["pipe", "socket", "folder"],
)
def test_what_is_no_regular_file_is_refused_at_once(make, kind, tmp_path, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.chdir(tmp_path)
    make(tmp_path / "x")
    with pytest.raises(NoRegularFileError, match=f"x is {kind}; expected a file"):
        open_file(tmp_path / "x")


def test_a_device_that_never_ends_is_refused() -> None:
    with pytest.raises(ValueError, match="/dev/zero is a device"):
        read_bytes(Path("/dev/zero"))


def test_a_file_of_a_terabyte_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with (tmp_path / "run.json").open("wb") as file:
        file.truncate(2**40)
    with pytest.raises(DamagedFileError, match=r"run\.json has more than \d+ bytes"):
        read_json(tmp_path / "run.json")


def test_a_file_without_a_known_size_is_read_whole() -> None:
    assert read_bytes(Path("/proc/self/status")).startswith(b"Name:")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("null", "it is null; expected a record with name, scores, sweep"),
        ("{", "it holds no JSON"),
        ("[" * 100_000, "it holds no JSON"),
        ('{"name": 5, "scores": {}}', "name=5; expected text"),
        ('{"scores": {}}', "it has no name"),
        ('{"name": "a", "scores": {"x": "y"}}', "expected a table"),
        ('{"name": "a", "scores": {}, "sweep": []}', "sweep is \\[\\]"),
    ],
)
def test_a_record_of_another_form_is_one_line_with_file_fault_and_advice(text: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text(text)
    with pytest.raises(DamagedFileError, match=rf"a\.json is damaged: .*{told}.*; delete it") as caught:
        read_json(tmp_path / "a.json", FORM, advice="delete it")
    assert "\n" not in str(caught.value)


def test_aliases_that_unfold_to_a_billion_values_are_refused(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1]"] + [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]
    (tmp_path / "bomb.yaml").write_text("\n".join(lines))
    for read in (load_yaml, load_config):
        with pytest.raises(DamagedFileError, match=r"bomb\.yaml holds .*e\+09 values, with its aliases"):
            read(tmp_path / "bomb.yaml")


@pytest.mark.parametrize("text", ["a: &a [*a]", "[" * 5000, "a: {b: [" * 200, "\t- x: ]", "\x00"])
def test_yaml_that_refers_to_itself_is_too_deep_or_none_is_one_line(text: str, tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text(text)
    with pytest.raises(DamagedFileError, match=r"a\.yaml(, line \d+)?: not valid YAML: ") as caught:
        load_config(tmp_path / "a.yaml")
    assert "\n" not in str(caught.value)


def test_links_to_each_other_do_not_make_a_walk_endless(tmp_path: Path) -> None:
    for name in "abc":
        (tmp_path / name).mkdir()
        (tmp_path / name / f"{name}.png").touch()
        for number, other in enumerate((".", "..", "../a", "../b", "../c")):
            (tmp_path / name / f"link{number}").symlink_to(other)
    (tmp_path / "loop").symlink_to("loop")
    found = [str(folder.relative_to(tmp_path)) for folder, _ in walk(tmp_path)]
    assert len(found) == len(set(found)) == 1 + 3 + 6 + 6  # each order of a, b and c once
    assert sorted(files for folder, files in walk(tmp_path) if folder == tmp_path / "a") == [["a.png"]]


def test_a_walk_of_too_many_folders_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "MOST_FOLDERS", 3)
    for number in range(5):
        (tmp_path / str(number)).mkdir()
    with pytest.raises(ValueError, match="more than 3 folders, counting those that links lead to"):
        list(walk(tmp_path))


def test_arrays_that_unpack_to_more_than_a_label_map_are_refused_before_they_are() -> None:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, seg=np.zeros((30_000, 30_000), np.uint8))  # 900 MB in 0.9 MB
    with pytest.raises(ValueError, match=r"seg is uint8 \[30000, 30000\]; expected at most"):
        read_npz(buffer.getvalue(), "seg")


@pytest.mark.parametrize("shape", ["(99999999999999,)", "(-1, 5)", "(4294967296, 4294967296)"])
def test_a_header_that_claims_terabytes_allocates_nothing(shape: str) -> None:
    header = f"{{'descr': '<i8', 'fortran_order': False, 'shape': {shape}}}".ljust(117).encode() + b"\n"
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("seg.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)
    with pytest.raises(ValueError, match="expected at most"):
        read_npz(buffer.getvalue(), "seg")


def test_a_picture_of_50000_by_50000_pixels_is_refused_before_it_is_decoded() -> None:
    buffer = io.BytesIO()
    Image.new("1", (50_000, 1)).save(buffer, "PNG")
    content = buffer.getvalue()
    huge = content[:20] + (50_000).to_bytes(4, "big") + content[24:29]
    content = huge + zlib.crc32(huge[12:29]).to_bytes(4, "big") + content[33:]
    with pytest.raises((ValueError, Image.DecompressionBombError), match="pixels"):
        open_picture(content)


def test_a_format_that_another_program_would_read_is_none(tmp_path: Path) -> None:
    (tmp_path / "0.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n")
    with pytest.raises(OSError, match="cannot identify"):
        open_picture(tmp_path / "0.png")


def test_a_compressed_archive_in_place_of_weights_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(10**7))
    with pytest.raises(DamagedFileError, match="is a compressed archive"):
        check_unpacked(tmp_path / "w.pt")


@pytest.mark.parametrize("number", [*ADVICE, errno.ENXIO])
def test_what_the_system_refuses_is_one_line_with_advice(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    line = line_of(OSError(number, os.strerror(number), "outputs/runs/x\ny"))
    assert line is not None
    assert "\n" not in line
    assert os.strerror(number) in line
    assert "; " in line
    with pytest.raises(SystemExit) as caught, one_line("odkd-labels"):
        raise OSError(number, os.strerror(number), "x")
    assert caught.value.code == 1
    assert capsys.readouterr().err.startswith("odkd-labels: ")


def test_a_fault_of_odkd_stays_a_traceback_and_deep_nesting_does_not() -> None:
    with pytest.raises(KeyError), one_line("odkd-labels"):
        raise KeyError("x")
    assert "nested too deeply" in str(line_of(RecursionError()))
