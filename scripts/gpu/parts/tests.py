"""The default tests that compute with tensors, on this device: ODKD_TEST_DEVICE tells their helpers."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from gpu.place import Place
from gpu.result import Result
from gpu.run_parts import ROOT

# The device of their learners and runs is that of ODKD_TEST_DEVICE; all other tests are the CPU's business.
FILES = (
    "tests/training/test_devices.py",
    "tests/training/test_on_gpu.py",
    "tests/stages/test_online.py",
    "tests/stages/test_mckd.py",
)
FILES_DRY = FILES[:2]
# These compare with numbers that the test computes on the CPU, bit by bit.
LEFT_OUT = "not twin and not recomputed"
MOST_NAMED = 40


def measure(place: Place, result: Result) -> None:
    """Run the tests and add what failed by name."""
    report = place.folder / "junit.xml"
    files = FILES_DRY if place.is_dry else FILES
    options = [
        "-q",
        "-p",
        "no:cacheprovider",
        "--no-header",
        f"--junitxml={report}",
        "--basetemp",
        str(place.folder / "tmp"),
    ]
    has_xdist = not place.is_dry and (os.cpu_count() or 1) >= 8
    command = [sys.executable, "-m", "pytest", *options, *(["-n", "4"] if has_xdist else []), "-k", LEFT_OUT, *files]
    environment = os.environ | {"ODKD_TEST_DEVICE": str(place.device)}
    subprocess.run(command, cwd=ROOT, env=environment, check=False)
    counts, failed = read_report(report)
    result.row("tests", **counts)
    for name in failed[:MOST_NAMED]:
        result.row("failed tests", name=name)
    result.figure("tests that failed", len(failed) if counts["passed"] or failed else None, at_most=0)


def read_report(path: Path) -> tuple[dict[str, int], list[str]]:
    """Return the numbers of tests passed, failed and skipped, and the names of those that failed."""
    counts = {"passed": 0, "failed": 0, "skipped": 0}
    failed: list[str] = []
    for case in ElementTree.parse(path).getroot().iter("testcase") if path.is_file() else ():
        kinds = {child.tag for child in case}
        kind = "failed" if kinds & {"failure", "error"} else "skipped" if "skipped" in kinds else "passed"
        counts[kind] += 1
        if kind == "failed":
            failed.append(f"{case.get('classname')}::{case.get('name')}")
    return counts, failed
