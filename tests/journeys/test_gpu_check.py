"""The GPU check: its time is kept, a part that fails or hangs loses nothing of others, figures are missed by name."""

import json
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest
import torch
from gpu.loop import Case
from gpu.parts.labelling import covered
from gpu.parts.repeat import NO_KERNEL
from gpu.parts.speed import compare
from gpu.parts.tests import FILES, read_report
from gpu.plan import NAMES, PARTS, SPARE_SECONDS, waves
from gpu.report import Outcome, complaints, page, write_report
from gpu.result import Figure, Result, read_result
from gpu.run_parts import Job, run_parts
from gpu.wheels import install, read_names, requirements_of
from paths import ROOT

# A part that is called as the real ones are: python FILE PART DEVICE FOLDER SHARED SECONDS
STAND_IN = """
import json, sys, time
from pathlib import Path
from gpu.result import Result
part, folder = sys.argv[1], Path(sys.argv[3])
result = Result(folder / "result.json", is_dry=False)
result.figure("loop over bare network", 1.2 if part == "speed" else 1.0, at_most=1.1)
if part == "memory":
    print("the GPU fell off the bus", file=sys.stderr)
    sys.exit(3)
if part == "mckd":
    time.sleep(60)
"""


@pytest.fixture
def job(tmp_path: Path) -> Job:
    (tmp_path / "part.py").write_text(STAND_IN)
    return Job("cpu", tmp_path / "out", (sys.executable, str(tmp_path / "part.py")), cores=2)


def test_each_part_ends_in_its_own_way_and_what_does_not_fit_is_skipped_by_name(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient = [part if part.name != "mckd" else type(part)("mckd", "?", 0.1, 1.5) for part in PARTS]
    monkeypatch.setattr("gpu.plan.PARTS", tuple(impatient))
    told: list[list[str]] = []
    began = time.monotonic()
    outcomes = run_parts(
        ["videos", "speed", "memory", "mckd", "tests"],
        job,
        seconds=SPARE_SECONDS + 29,
        tell=lambda now: told.append([outcome.name for outcome in now]),
    )
    assert time.monotonic() - began < 25  # the hanging part was ended
    assert {outcome.name: outcome.status for outcome in outcomes} == {
        "videos": "passed",
        "speed": "missed",
        "memory": "failed",
        "mckd": "timeout",
        "tests": "skipped",
    }
    assert told[-1] == [outcome.name for outcome in outcomes]
    lines = complaints(outcomes)
    assert lines[0] == "speed: loop over bare network: 1.200, expected at most 1.100"
    assert lines[1] == "memory failed: ended with exit code 3: the GPU fell off the bus"
    assert lines[2].startswith("mckd timed out: ended after 2 s")
    assert outcomes[3].found["figures"][0].value == 1.0  # what it had found before
    assert "raise --minutes" in outcomes[4].reason


def test_the_parts_of_a_whole_check_fit_into_its_eight_minutes() -> None:
    by_wave = [max(part.least for part in wave) for wave in waves(NAMES)]
    assert sum(by_wave) <= 8 * 60 - SPARE_SECONDS
    assert [part.name for part in PARTS if part.wave is not None] == ["videos", "waits", "repeat", "agreement"]
    assert all((ROOT / "scripts" / "gpu" / "parts" / f"{name}.py").is_file() for name in NAMES)


@pytest.mark.parametrize(
    ("value", "bounds", "is_ok"),
    [
        (1.1, {"at_most": 1.1}, True),
        (1.11, {"at_most": 1.1}, False),
        (None, {"at_most": 1.1}, False),
        (float("nan"), {"at_most": 1.1}, False),
        (0.5, {"at_least": 0.9}, False),
        (0.0, {"at_most": 0}, True),
        (7.0, {}, None),
    ],
)
def test_a_figure_is_held_to_its_bound(
    tmp_path: Path, value: float | None, bounds: dict[str, float], is_ok: bool | None
) -> None:
    result = Result(tmp_path / "result.json", is_dry=False)
    result.figure("it", value, **bounds)  # type: ignore[arg-type]
    (read,) = read_result(tmp_path / "result.json")["figures"]
    assert read.is_ok is is_ok


def test_a_dry_run_judges_no_times_and_says_so(tmp_path: Path) -> None:
    result = Result(tmp_path / "result.json", is_dry=True)
    result.figure("loop over bare network", 9.0, at_most=1.1, needs_gpu=True)
    result.figure("files with other bits", 1, at_most=0)
    assert [figure.is_ok for figure in result.figures] == [None, False]
    found = read_result(tmp_path / "result.json")
    text = page({"device": "cpu"}, [Outcome("speed", "how fast?", "missed", 1.0, found=found)], is_dry=True)
    assert "A dry run on the CPU, not a measurement" in text
    assert "| loop over bare network | 9 | at most 1.100 |  | not judged on a CPU |" in text
    assert "| files with other bits | 1 | at most 0 | MISSED |  |" in text
    assert "* speed: files with other bits: 1, expected at most 0" in text


def test_the_report_is_a_page_and_json_of_the_same_content(tmp_path: Path) -> None:
    found = {"figures": [Figure("it", 2.0, "s", "at most 1", False)], "tables": {"t": [{"a": 1}]}, "notes": ["n"]}
    write_report(tmp_path, {"device": "cuda"}, [Outcome("memory", "?", "missed", 3.0, found=found)], is_dry=False)
    content = json.loads((tmp_path / "gpu.json").read_text())
    assert content["complaints"] == ["memory: it: 2 s, expected at most 1"]
    assert content["parts"]["memory"]["tables"] == {"t": [{"a": 1}]}
    assert "dry run" not in (tmp_path / "gpu.md").read_text()


def test_an_iteration_is_compared_with_the_bare_network_before_and_after_it() -> None:
    row = compare(Case((2, 2), 10, 10, 2), [2.4, 4.4], [(1.0, 1.0), (1.0, 1.0), (3.0, 3.0)])
    assert row["loop over bare"] == pytest.approx((1.2 + 1.1) / 2)
    assert row["outside ms a frame"] == pytest.approx(1000 * 0.4 / 20)


def test_the_share_of_a_busy_gpu_counts_overlapping_kernels_once() -> None:
    assert covered([(5, 6), (0, 2), (1, 3)]) == 4
    assert covered([]) == 0


def test_operations_without_a_deterministic_kernel_are_found_in_a_log() -> None:
    line = "UserWarning: adaptive_avg_pool2d_backward_cuda does not have a deterministic implementation, but you set"
    assert NO_KERNEL.findall(line) == ["adaptive_avg_pool2d_backward_cuda"]


def test_failed_tests_are_read_by_name(tmp_path: Path) -> None:
    cases = "".join(
        f'<testcase classname="tests.a" name="{name}">{inside}</testcase>'
        for name, inside in {"good": "", "bad": "<failure/>", "absent": "<skipped/>"}.items()
    )
    (tmp_path / "junit.xml").write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    assert read_report(tmp_path / "junit.xml") == ({"passed": 1, "failed": 1, "skipped": 1}, ["tests.a::bad"])
    assert all((ROOT / file).exists() for file in FILES)


def test_lists_of_packages_are_read_however_pip_prints_them(tmp_path: Path) -> None:
    text = "Package    Version\n---------- -------\nhf_xet     1.1\nnumpy==2.5.2\ntorch\n"
    assert dict(read_names(text)) == {"package": "Version", "hf-xet": "1.1", "numpy": "2.5.2", "torch": ""}
    wheel = tmp_path / "a-1-py3-none-any.whl"
    with zipfile.ZipFile(wheel, "w") as content:
        content.writestr(
            "a-1.dist-info/METADATA", "Name: a\nRequires-Dist: b>=2\nRequires-Dist: c; extra == 'x'\n\ntext"
        )
    assert requirements_of(wheel) == ["b>=2", "c; extra == 'x'"]


@pytest.mark.slow
def test_wheels_are_installed_without_a_network_beside_the_packages_that_are_there(tmp_path: Path) -> None:
    about = "odkd_carried-1.0.dist-info"
    with zipfile.ZipFile(tmp_path / "odkd_carried-1.0-py3-none-any.whl", "w") as wheel:
        wheel.writestr("odkd_carried.py", "answer = 42\n")
        wheel.writestr(f"{about}/METADATA", "Metadata-Version: 2.1\nName: odkd-carried\nVersion: 1.0\n")
        wheel.writestr(f"{about}/WHEEL", "Wheel-Version: 1.0\nGenerator: t\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{about}/RECORD", f"odkd_carried.py,,\n{about}/METADATA,,\n{about}/WHEEL,,\n{about}/RECORD,,\n")
    python = install(tmp_path, tmp_path / "venv")
    code = "import odkd_carried, torch; print(odkd_carried.answer, torch.__version__)"
    done = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True, cwd=tmp_path)
    assert done.stdout.split() == ["42", torch.__version__]


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_dry_run_passes_on_the_cpu_and_says_that_it_is_one(tmp_path: Path) -> None:
    command = [sys.executable, "scripts/gpu_check.py", "--device=cpu", "--minutes=14", f"--outputs={tmp_path}"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "dry run on the CPU passed" in done.stdout
    content = json.loads((tmp_path / "gpu.json").read_text())
    assert content["is_dry_run"]
    assert {name: part["status"] for name, part in content["parts"].items()} == dict.fromkeys(NAMES, "passed")
    judged = [figure for part in content["parts"].values() for figure in part["figures"] if figure["is_ok"]]
    assert len(judged) >= 10  # bits, waits, agreement, tests
