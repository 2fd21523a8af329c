"""Whatever a file, a setting or a name holds: each input ends in time, in memory, in success or in one line.

A few inputs of each kind by default, more with the mark `slow`, all with ODKD_FUZZ=whole: the counts are written to
build/faults/fuzz.json. An input of its own: ODKD_FUZZ_ONLY="run folders:17".
"""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from fuzz_kinds import Originals, kinds
from fuzzing import Counts, fuzz
from hypothesis import given, settings
from hypothesis import strategies as st

from odkd.common.files import write_atomic
from odkd.common.reading import DamagedFileError, parse_json
from odkd.runs.records import RUN

COUNTS = Path(__file__).parents[2] / "build" / "faults" / "fuzz.json"
QUICK, SLOW, WHOLE = 3, 25, 700  # inputs of a kind
WHOLE_OF = {  # of these, which are slower, or have fewer
    **dict.fromkeys(("run folders", "students of a run", "label stores", "sweeps", "names of files"), 250),
    "YAML files of a group": 100,
    "values of settings": 5400,  # each key with each odd value
}
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text() | st.sampled_from(sorted(RUN)), inner),
)


@pytest.fixture(scope="module")
def originals(tmp_path_factory: pytest.TempPathFactory) -> Originals:
    return Originals(tmp_path_factory.mktemp("originals"))


def run_all(originals: Originals, folder: Path, number_of: dict[str, int] | int, first: int = 0) -> dict[str, Counts]:
    found = {}
    for name, prepare in kinds(originals).items():
        number = number_of if isinstance(number_of, int) else number_of.get(name, WHOLE)
        found[name] = fuzz(prepare, range(first, first + number), folder / name.replace(" ", "_"))
        assert found[name].inputs == number
    return found


def findings(found: dict[str, Counts]) -> str:
    return "\n".join(f"{name}: {line}" for name, counts in found.items() for line in counts.findings)


def test_a_few_damaged_inputs_of_each_kind_end_in_success_or_one_line(originals: Originals, tmp_path: Path) -> None:
    assert not findings(run_all(originals, tmp_path, QUICK))


@pytest.mark.slow
def test_more_damaged_inputs_of_each_kind_end_in_success_or_one_line(originals: Originals, tmp_path: Path) -> None:
    assert not findings(run_all(originals, tmp_path, SLOW, first=10_000))


@pytest.mark.long
@pytest.mark.timeout(7200)
@pytest.mark.skipif(os.environ.get("ODKD_FUZZ") != "whole", reason="ODKD_FUZZ=whole runs all inputs")
def test_all_damaged_inputs_end_in_success_or_one_line(originals: Originals, tmp_path: Path) -> None:
    found = run_all(originals, tmp_path, WHOLE_OF)
    records = {name: counts.record() for name, counts in found.items()}
    write_atomic(COUNTS, (json.dumps(records, indent=1) + "\n").encode())
    assert sum(record["inputs"] for record in records.values()) >= 10_000
    assert not findings(found)


@given(JSON_VALUES)
@settings(max_examples=60, deadline=None)
@pytest.mark.slow
def test_any_json_value_is_a_run_record_or_one_line(value: object) -> None:
    told = ""
    try:
        parse_json(json.dumps(value), RUN, what="run.json")
    except DamagedFileError as error:
        told = str(error)
    assert "\n" not in told
    assert not told or told.startswith("run.json is damaged: ")


def test_the_engine_finds_tracebacks_hangs_memory_crashes_code_and_files_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fuzzing.SECONDS", 1)

    def prepare(number: int, _: Path) -> Callable[[], None]:
        def read() -> None:
            if number == 0:
                raise KeyError("x")
            if number == 1:
                __import__("time").sleep(60)
            if number == 2:
                bytearray(2**33)
            if number == 3:
                os._exit(9)
            if number == 4:
                os.system("true")
            if number == 5:
                (tmp_path / "elsewhere").write_text("x")
            if number == 6:
                parse_json("[", RUN, what="a")

        return read

    counts = fuzz(prepare, range(8), tmp_path / "place")
    outcomes = ["traceback", "hang", "memory", "crash", "code", "elsewhere", "refused", "success"]
    assert counts.outcomes == dict.fromkeys(outcomes, 1)
