"""Records of runs and sweeps are read back as they were written, or are one message."""

import json
import os
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest

from odkd.common import reading
from odkd.common.files import write_json
from odkd.common.reading import MOST_RECORD, DamagedFileError
from odkd.runs.profiles import read_profile
from odkd.runs.records import (
    MOST_OF_SWEEP,
    MOST_VALUES,
    read_form,
    read_lines,
    read_mlflow_note,
    read_stills_note,
    read_sweep,
    write_record_of,
)
from odkd.runs.results import before_last_line, cost_of
from odkd.runs.run_file import read_record, read_summary
from odkd.runs.tracker import read_notes

JOB = {"number": 0, "overrides": ["seed=0"], "status": "finished", "run": None, "value": 0.5, "seconds": 1.0}
SWEEP = {"key": "k", "name": "s", "command": "odkd -m", "overrides": [], "varying": [], "status": "finished"}
SWEEP |= {"created": "", "seconds": 1.0, "metric": "total/miou", "jobs": [JOB]}
COST = {"processes": [{"started": "now", "seconds": 2.5}], "teacher": None}
STILLS = {"titles": ["a"], "stills": [{"file": "00.webp", "caption": "mIoU 0.5", "step": 3}]}
RECORDS = {
    "sweep.json": (SWEEP, read_sweep),
    "cost.json": (COST, cost_of),
    "stills/stills.json": (STILLS, read_stills_note),
}


@pytest.mark.parametrize("name", RECORDS)
def test_a_changed_digit_of_a_record_is_found(name: str, tmp_path: Path) -> None:
    record, read = RECORDS[name]
    path = tmp_path / name
    write_record_of(path, record)
    assert read(tmp_path) == record
    before = path.read_text()
    digits = [place for place, char in enumerate(before[: before.index('"sha256"')]) if char.isdigit()]
    assert digits
    for place in digits:
        path.write_text(before[:place] + str((int(before[place]) + 1) % 10) + before[place + 1 :])
        with pytest.raises(DamagedFileError, match=f"{path.name} is damaged"):
            read(tmp_path)


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_of_an_earlier_odkd_has_no_digest(name: str, tmp_path: Path) -> None:
    record, read = RECORDS[name]
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(record))
    assert read(tmp_path) == record


@pytest.mark.parametrize("digest", [5, [], "0" * 64, "\udc80"])
def test_a_digest_of_another_form_is_damage(digest: object, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_text(json.dumps({"a": 1, "sha256": digest}))
    with pytest.raises(DamagedFileError, match="its digest is not that of its content; move it away"):
        read_form(tmp_path, "x.json", {"a": int}, "move it away")


READERS: dict[str, Callable[[Path], object]] = {
    "run.json": read_record,
    "sweep.json": read_sweep,
    "mlflow.json": read_mlflow_note,
    "trackers.json": read_notes,
    "stills/stills.json": read_stills_note,
    "summary.json": read_summary,
    "cost.json": cost_of,
    "profile.json": read_profile,
}


@pytest.mark.parametrize("name", READERS)
def test_a_small_record_of_120_megabytes_is_refused_before_it_is_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("[]")
    os.truncate(path, 120_000_000)
    tracemalloc.start()
    try:
        with pytest.raises(DamagedFileError, match=r" more than (16777216|67108864) bytes"):
            READERS[name](tmp_path)
        assert tracemalloc.get_traced_memory()[1] < 1.1 * MOST_OF_SWEEP
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", ["run.json", "sweep.json"])
def test_values_that_take_many_times_their_bytes_are_counted_before_they_are_made(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"[" + b"[]," * (MOST_VALUES // 2 + 1) + b"0]")
    with pytest.raises(DamagedFileError, match=f"{name} has more than {MOST_VALUES} values"):
        READERS[name](tmp_path)


def test_a_record_of_another_form_is_shown_without_writing_all_of_it(tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(b"[" + b"[]," * 50_000 + b"0]")
    with pytest.raises(DamagedFileError, match=r"it is \[\[\], \[\], .*expected a record with a"):
        read_form(tmp_path, "x.json", {"a": int})


def test_a_sweep_of_100000_jobs_and_a_run_of_5000_classes_fit(tmp_path: Path) -> None:
    words = ["experiment=houyon2023/table1", "window.learn=67", "seed=99999", "optimizer.lr=0.0012345678901234"]
    job = JOB | {"number": 99999, "overrides": words, "run": f"runs/{'x' * 40}-f6941834", "value": 0.4567890123456789}
    write_record_of(tmp_path / "sweep.json", SWEEP | {"jobs": [job] * 1000})
    content = (tmp_path / "sweep.json").read_bytes()
    assert 100 * len(content) < MOST_OF_SWEEP
    assert 100 * sum(map(content.count, (b",", b"[", b"{"))) < MOST_VALUES
    scores = {f"total/iou_groundtruth{kind}/class {number}": 1 / 3 for number in range(500) for kind in range(20)}
    write_json(tmp_path / "summary.json", scores)
    assert 10 * (tmp_path / "summary.json").stat().st_size < MOST_RECORD
    assert read_summary(tmp_path) == scores


@pytest.mark.parametrize(
    ("content", "size", "told"),
    [
        (b"\n" * 10_000_000, None, "line 1 of .* is damaged"),
        (b'{"iteration": 0}\n', 2**30, "has a line of more than"),
        (b"", 2**30 + 1, "has more than 1073741824 bytes"),
        (b"{}\n" * 4, None, "has more than 3 lines"),
    ],
    ids=["breaks", "sparse", "large", "many"],
)
def test_damaged_lines_are_refused_before_the_rest_is_read(
    content: bytes, size: int | None, told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reading, "MOST_NUM_LINES", 3)
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(content)
    if size is not None:
        os.truncate(path, size)
    tracemalloc.start()
    try:
        with pytest.raises(DamagedFileError, match=told):
            read_lines(path)
        assert before_last_line(path) in (0, 9_999_999, 9)
        assert tracemalloc.get_traced_memory()[1] < 2**27
    finally:
        tracemalloc.stop()
