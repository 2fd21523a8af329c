"""Marks of differences that the spread over seeds does not explain, and the plan of how many seeds one needs."""

import csv
import io
import math
from pathlib import Path

import pytest
from fabricated_store import FabricatedStore

from odkd.report.tables.command import main
from odkd.report.tables.significance import seeds_needed, spread_range
from odkd.report.tables.spec import make_table

SPEC = """
title: Four memories
stub: method
fixed: [dataset=synthetic_tiny]
seeds: [0, 1, 2, 3]
rows:
  FIFO: [replay=fifo]
  Better: [replay=uniform, replay.capacity=60]
  Unsure: [replay=reservoir, replay.capacity=60]
  Worse: [replay=first]
columns:
  mIoU: mean/miou
  frames: {metric: cost/frames, factor: 1, digits: 0, unit: ""}
"""
# In per cent. The seeds differ by far more than the rows, and alike: only pairs of a seed show the difference.
FIFO = (20.0, 30.0, 40.0, 50.0)
SHIFTS = {
    "FIFO": (0.0, 0.0, 0.0, 0.0),
    "Better": (2.0, 2.2, 1.8, 2.1),
    "Unsure": (2.0, -3.0, 4.0, -1.0),
    "Worse": (-1.0, -1.1, -0.9, -1.2),
}
ROWS = {
    "FIFO": ["replay=fifo"],
    "Better": ["replay=uniform", "replay.capacity=60"],
    "Unsure": ["replay=reservoir", "replay.capacity=60"],
    "Worse": ["replay=first"],
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> FabricatedStore:
    store = FabricatedStore(tmp_path_factory.mktemp("significance") / "outputs")
    for label, words in ROWS.items():
        for seed, (base, shift) in enumerate(zip(FIFO, SHIFTS[label], strict=True)):
            metrics = {"mean/miou": (base + shift) / 100, "cost/frames": 100.0 + 10 * len(label)}
            store.add(["dataset=synthetic_tiny", *words, f"seed={seed}"], metrics)
    return store


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(SPEC)
    return path


def printed(capsys: pytest.CaptureFixture[str], *words: str | Path) -> str:
    capsys.readouterr()
    main([str(word) for word in words])
    return capsys.readouterr().out


def test_only_differences_beyond_the_spread_of_the_pairs_are_marked(
    spec: Path, store: FabricatedStore, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(capsys, spec, "--uri", store.uri).splitlines()
    assert lines[4].startswith("| FIFO | 35.0 ± 12.9 |")
    assert lines[5].startswith("| Better | 37.0 ± 12.9 ↑ |")
    assert lines[6].startswith("| Unsure | 35.5 ± 13.0 |")
    assert lines[7].startswith("| Worse | 34.0 ± 12.9 ↓ |")
    assert "| 140 ± 0 |" in lines[4]
    assert "| 160 ± 0 |" in lines[5]  # a number that seeds do not change has no mark
    assert any("↑ ↓: above or below FIFO by more than the spread over seeds allows" in line for line in lines)


def test_p_values_are_those_of_the_paired_test_corrected_over_the_rows(
    spec: Path, store: FabricatedStore, capsys: pytest.CaptureFixture[str]
) -> None:
    from scipy.special import stdtr

    def p_of(values: tuple[float, ...]) -> float:
        mean = sum(values) / 4
        spread = math.sqrt(sum((value - mean) ** 2 for value in values) / 3)
        return 2 * float(stdtr(3, -abs(mean) / (spread / 2)))

    plain = {label: p_of(values) for label, values in SHIFTS.items() if label != "FIFO"}
    ranked = sorted(plain, key=lambda label: -plain[label])
    expected, smallest = {}, 1.0
    for rank, label in zip((3, 2, 1), ranked, strict=True):  # Benjamini and Hochberg, from the largest down
        smallest = min(smallest, plain[label] * 3 / rank)
        expected[label] = smallest
    rows = csv.DictReader(io.StringIO(printed(capsys, spec, "--uri", store.uri, "--format", "csv")))
    found = {row["method"]: row["p"] for row in rows if row["column"] == "mIoU"}
    assert found.pop("FIFO") == ""
    assert {label: float(p) for label, p in found.items()} == pytest.approx(expected, rel=1e-6)


def test_another_row_or_none_can_be_compared_with(
    spec: Path, store: FabricatedStore, capsys: pytest.CaptureFixture[str]
) -> None:
    spec.write_text(SPEC + "compared_with: Worse\n")
    text = printed(capsys, spec, "--uri", store.uri, "--format", "latex")
    assert r"FIFO & 35.0 $\pm$ 12.9 $\uparrow$" in text
    assert "above or below Worse" in text
    spec.write_text(SPEC + "compared_with: false\n")
    text = printed(capsys, spec, "--uri", store.uri)
    assert "↑" not in text
    assert "spread over seeds allows" not in text


def test_a_row_that_is_not_there_cannot_be_compared_with() -> None:
    with pytest.raises(ValueError, match=r"compared_with is 'fifo'; expected false or a row: FIFO"):
        make_table("mine", {"rows": {"FIFO": []}, "columns": {"mIoU": "mean/miou"}, "compared_with": "fifo"})


def test_one_seed_gives_no_mark(spec: Path, store: FabricatedStore, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, spec, "--uri", store.uri, "--seeds", "0")
    assert "↑" not in text
    assert "Single runs" in text


def test_seeds_alone_says_how_many_a_difference_needs(
    spec: Path, store: FabricatedStore, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = printed(capsys, spec, "--uri", store.uri, "--seeds").splitlines()
    cells = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in lines if line.startswith("| ")}
    assert cells["Better"] == "3 (0.17)"
    assert cells["Unsure"] == "78 (3.1)"
    assert "FIFO" not in cells
    assert any("difference of 1 from FIFO with a chance of 80%" in line for line in lines)
    fewer = printed(capsys, spec, "--uri", store.uri, "--seeds", "--difference", "4")
    assert "| Unsure | 7 (3.1) |" in fewer


def test_the_plan_is_that_of_published_tables() -> None:
    # Cohen 1988, table 2.4.1 (two-tailed 0.05, power 0.80), for one sample: d = 0.5 needs 34 and d = 0.8 needs 15.
    assert [seeds_needed(1.0, size) for size in (0.5, 0.8, 1.0)] == [34, 15, 10]
    assert seeds_needed(100.0, 1.0) is None
    low, high = spread_range(3)
    assert (round(low, 2), round(high, 2)) == (0.58, 4.42)


def test_a_relative_column_is_divided_by_the_compared_row_seed_by_seed(
    spec: Path, store: FabricatedStore, capsys: pytest.CaptureFixture[str]
) -> None:
    spec.write_text(
        SPEC + "  cost: {metric: cost/frames, relative: true}\n  ratio: {metric: mean/miou, relative: true}\n"
    )
    lines = printed(capsys, spec, "--uri", store.uri).splitlines()
    assert lines[2].startswith("| method | mIoU (%) | frames | cost (x) | ratio (x) | n |")
    assert "| 1.00 ± 0.00 | 1.00 ± 0.00 |" in lines[4]
    assert "| 1.14 ± 0.00 |" in lines[5]  # 160 / 140
    # 22 / 20, 32.2 / 30, 41.8 / 40, 52.1 / 50
    assert "| 1.07 ± 0.03 ↑ |" in lines[5]
    spec.write_text(spec.read_text() + "compared_with: false\n")
    with pytest.raises(SystemExit):
        printed(capsys, spec, "--uri", store.uri)
    assert "column cost is relative to compared_with, which is false" in capsys.readouterr().err
