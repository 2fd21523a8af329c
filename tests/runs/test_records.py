"""Records of runs and sweeps are read back as they were written, or are one message."""

import json
from pathlib import Path

import pytest

from odkd.common.reading import DamagedFileError
from odkd.runs.records import read_form, read_stills_note, read_sweep, write_record_of
from odkd.runs.results import cost_of

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
