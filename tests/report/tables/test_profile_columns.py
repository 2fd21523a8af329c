"""Numbers of odkd-profile as columns of a table, and a figure of cost and score."""

import json
from pathlib import Path

import pytest
from fabricated_profile import fabricated_profile
from fabricated_store import FabricatedStore

from odkd.report.tables import command, figures
from odkd.report.tables.figures import draw
from odkd.report.tables.filling import fill
from odkd.report.tables.spec import load_table
from odkd.runs.mlflow_store import Store
from odkd.runs.profiles import NUMBERS, write_profile

SPEC = """
title: Students
fixed: [dataset=synthetic_tiny]
stub: student
seeds: [0]
rows:
  small: [student.dropout=0.1]
  large: [student.dropout=0.2]
  worse: [student.dropout=0.3]
columns:
  mIoU: mean/miou
  FLOPs: profile/flops
  latency: profile/evaluate_seconds
figures:
  front: {kind: pareto, cost: FLOPs, score: mIoU}
"""
ROWS = {"0.1": (0.3, 1), "0.2": (0.5, 4), "0.3": (0.2, 2)}  # dropout -> mIoU, GFLOPs


@pytest.fixture
def filled_store(tmp_path: Path) -> FabricatedStore:
    """Three runs; the first two have profiles."""
    store = FabricatedStore(tmp_path / "outputs")
    (tmp_path / "mine.yaml").write_text(SPEC)
    for number, (dropout, (miou, gflops)) in enumerate(ROWS.items(), 1):
        folder = tmp_path / f"run{number}"
        folder.mkdir()
        tags = {"odkd.run_folder": str(folder)}
        words = ["dataset=synthetic_tiny", f"student.dropout={dropout}", "seed=0"]
        store.add(words, {"mean/miou": miou}, tags=tags)
        if number < 3:
            write_profile(folder, fabricated_profile(gflops=gflops) | {"run": f"key{number}"})
    return store


def make(module: object, *words: object, code: int = 0) -> None:
    main = module.main  # type: ignore[attr-defined]
    if code:
        with pytest.raises(SystemExit) as ended:
            main(list(map(str, words)))
        assert ended.value.code == code
    else:
        main(list(map(str, words)))


def complete(tmp_path: Path, **changes: str) -> None:
    write_profile(tmp_path / "run3", fabricated_profile(gflops=2, **changes) | {"run": "key3"})


def test_a_column_shows_a_number_in_its_unit(
    filled_store: FabricatedStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    complete(tmp_path)
    make(command, tmp_path / "mine.yaml", "--uri", filled_store.uri)
    text = capsys.readouterr().out
    assert "| student | mIoU (%) | FLOPs (G) | latency (ms) | n |" in text
    assert "| large | 50.0 | 4.00 | 5.0 | 1 |" in text
    assert "* Times and memory by odkd-profile on cpu: A processor, 2 threads." in text


def test_a_run_without_a_profile_is_named_with_the_command_that_makes_it(
    filled_store: FabricatedStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = (tmp_path / "mine.yaml", "--uri", filled_store.uri)
    make(command, *words, code=1)
    printed = capsys.readouterr().err
    assert "mine: 1 run of its columns profile/... have no profile here:" in printed
    assert f"odkd-profile {tmp_path / 'run3'}" in printed
    make(command, *words, "--allow-missing")
    assert "| worse | 20.0 |  |  | 1 |" in capsys.readouterr().out


def test_times_of_two_machines_are_not_compared_unless_that_is_asked_for(
    filled_store: FabricatedStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    complete(tmp_path, threads="64 threads")
    words = (tmp_path / "mine.yaml", "--uri", filled_store.uri)
    make(command, *words, code=1)
    assert "measured on 2 machines: cpu: A processor, 2 threads; cpu: A processor, 64" in capsys.readouterr().err
    make(command, *words, "--newest")
    assert "on cpu: A processor, 2 threads; cpu: A processor, 64 threads." in capsys.readouterr().out
    (tmp_path / "mine.yaml").write_text(SPEC.replace("  latency: profile/evaluate_seconds\n", ""))
    make(command, *words)  # FLOPs are the same everywhere
    assert "Times and memory" not in capsys.readouterr().out


def test_a_number_that_no_profile_has_is_a_mistake(
    filled_store: FabricatedStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.yaml").write_text(SPEC.replace("profile/flops", "profile/flop"))
    make(command, tmp_path / "mine.yaml", "--uri", filled_store.uri, code=2)
    assert "profile/flop: a profile has no such number; did you mean flops?" in capsys.readouterr().err


def test_a_damaged_profile_is_one_line(
    filled_store: FabricatedStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "run3" / "profile.json").write_text(json.dumps({"record": {}}))
    make(command, tmp_path / "mine.yaml", "--uri", filled_store.uri, code=2)
    printed = capsys.readouterr().err.strip().splitlines()
    assert len(printed) == 1
    assert "profile.json is damaged" in printed[0]


def test_the_figure_shows_each_row_and_the_front(filled_store: FabricatedStore, tmp_path: Path) -> None:
    complete(tmp_path)
    table, store = load_table(str(tmp_path / "mine.yaml")), Store(filled_store.uri)
    ((_, figure),) = draw(fill(table, store.runs(), store.history), store, table.figures["front"])
    (axes,) = figure.axes
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("FLOPs (G)", "mIoU (%)")
    assert [text.get_text() for text in axes.texts] == ["small", "large", "worse"]
    front = next(line for line in axes.lines if line.get_label() == "on the Pareto front")
    assert front.get_xydata().tolist() == [[1.0, 30.0], [4.0, 50.0]]  # of the cheap and the good


def test_a_figure_that_cannot_be_drawn_is_one_line(
    filled_store: FabricatedStore, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    complete(tmp_path)
    for figure, says in {
        "{kind: pareto, cost: Flops, score: mIoU}": "figures.front.cost: there is no column Flops",
        "{kind: pareto, score: mIoU}": "figures.front has or lacks cost",
        "{kind: pareto, cost: FLOPs, score: mIoU, rows: [small]}": "fewer than two rows have both FLOPs and mIoU",
    }.items():
        (tmp_path / "mine.yaml").write_text(SPEC.replace("{kind: pareto, cost: FLOPs, score: mIoU}", figure))
        make(figures, tmp_path / "mine.yaml", "--uri", filled_store.uri, "--output", tmp_path, code=2)
        printed = capsys.readouterr().err.strip().splitlines()
        assert len(printed) == 1
        assert says in printed[0]


def test_the_page_lists_every_number() -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "profile.md").read_text()
    assert [name for name in NUMBERS if f"`profile/{name}`" not in page] == []
