"""Notes of the cache: what is believed, and what is made anew."""

import logging
from pathlib import Path

import pytest

from odkd.common.notes import file_digest, read_note, remembered, write_note


def test_a_note_is_made_once(tmp_path: Path) -> None:
    made: list[int] = []

    def make() -> dict[str, object]:
        made.append(1)
        return {"pts": [1, 2, 3], "name": "é", "none": None}

    first = remembered(tmp_path / "a" / "note", make)
    assert remembered(tmp_path / "a" / "note", make) == first == {"pts": [1, 2, 3], "name": "é", "none": None}
    assert len(made) == 1


def test_every_changed_bit_and_every_cut_of_a_note_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    note = tmp_path / "note"
    write_note(note, {"digest": "abc", "frames": [1, 2]})
    content = note.read_bytes()
    for place in range(len(content)):
        for bit in range(8):
            note.write_bytes(content[:place] + bytes([content[place] ^ 1 << bit]) + content[place + 1 :])
            assert read_note(note) is None, (place, bit)
        note.write_bytes(content[:place])
        assert read_note(note) is None, place
    note.write_bytes(content + b" ")
    assert read_note(note) is None
    assert caplog.records[0].getMessage() == f"{note} is damaged; its value is made anew"


@pytest.mark.parametrize("content", [b"", b"0" * 63, b"0" * 64, b"\xff\x00", b"[1, 2]", b"null"])
def test_the_digest_of_a_file_is_that_of_its_bytes_whatever_its_note_says(
    tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    file, cache = tmp_path / "weights.pth", tmp_path / "cache"
    file.write_bytes(b"weights")
    digest = file_digest(file, cache)
    (note,) = (cache / "digests").iterdir()
    note.write_bytes(content)
    assert file_digest(file, cache) == digest
    is_old = content in (b"0" * 64, b"[1, 2]", b"null")  # an earlier odkd wrote such notes
    assert caplog.records[-1].levelno == (logging.DEBUG if is_old else logging.WARNING)
    caplog.clear()
    assert file_digest(file, cache) == digest
    assert not caplog.records
