"""Paper tables from a store of fabricated runs: runs that count, missing and doubled runs, output formats."""

import csv
import io
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest
from fabricated_store import FabricatedStore
from paths import ROOT

from odkd.report.tables.cells import Cell, jobs_of, needs
from odkd.report.tables.command import main
from odkd.report.tables.commands import grouped_arguments
from odkd.report.tables.published import load_published
from odkd.report.tables.spec import load_table, make_table
from odkd.report.tables.spec_files import known_tables
from odkd.report.tables.wanted import WantedRun, wanted_settings

SPEC = """
title: Replay & more
stub: method
fixed: [dataset=synthetic_tiny]
seeds: [0, 1]
rows:
  FIFO: [replay=fifo]
  Uniform: [replay=uniform, replay.capacity=60]
columns:
  mIoU: mean/miou
  BWT: mean_past/miou
"""
ROWS = (["replay=fifo"], ["replay=uniform", "replay.capacity=60"])


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(SPEC)
    return path


def filled_store(outputs: Path, *, is_curated: bool = False) -> FabricatedStore:
    """Make a store with two rows and two seeds: mIoU 0.10, 0.12 and 0.20, 0.22; BWT undefined for FIFO."""
    store = FabricatedStore(outputs)
    for number, row in enumerate(ROWS, start=1):
        for seed in (0, 1):
            metrics = {"mean/miou": number / 10 + seed / 50} | ({"mean_past/miou": 0.5} if number == 2 else {})
            store.add(["dataset=synthetic_tiny", *row, f"seed={seed}"], metrics, is_curated=is_curated)
    return store


def tables(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run odkd-tables; return exit code, stdout and stderr."""
    code = 0
    try:
        main([str(argument) for argument in arguments])
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else 1
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.mark.parametrize("is_curated", [False, True])
def test_a_table_has_means_and_sample_deviations_of_the_runs_with_its_settings(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], is_curated: bool
) -> None:
    store = filled_store(tmp_path / "outputs", is_curated=is_curated)
    near = ["replay=uniform", "replay.capacity=61"]  # none of these finished runs is in the table
    for other in (near, ["replay=fifo", "window.learn=21"], ["replay=fifo", "run.repeat=1"], ["replay=memoryless"]):
        store.add(["dataset=synthetic_tiny", *other], {"mean/miou": 0.9}, is_curated=is_curated)
    capsys.readouterr()  # MLflow 2 tells of its migrations
    code, printed, complaint = tables(capsys, str(spec), "--uri", store.uri)
    assert (code, complaint) == (0, "")
    lines = printed.splitlines()
    assert lines[2] == "| method | mIoU (%) | BWT (%) | n |"
    assert lines[4] == "| FIFO | 11.0 ± 1.4 |  | 2 |"  # 10 and 12: the sample deviation is the square root of 2
    assert lines[5] == "| Uniform | 21.0 ± 1.4 | 50.0 ± 0.0 | 2 |"


def test_settings_that_change_no_number_are_ignored(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FabricatedStore(tmp_path / "outputs")
    elsewhere = [
        "device=cpu",
        "threads=1",
        "bank.memory_gib=9",
        "run.name=mine",
        "dataset.root=/there",
        "run.plots=false",
    ]
    for row in ROWS:
        for seed in (0, 1):
            overrides = ["dataset=synthetic_tiny", *row, *elsewhere, f"seed={seed}"]
            store.add(overrides, {"mean/miou": 0.5, "mean_past/miou": 0.5})
    code, printed, _ = tables(capsys, str(spec), "--uri", store.uri, "dataset.root=/here")
    assert code == 0
    assert "| FIFO | 50.0 ± 0.0 | 50.0 ± 0.0 | 2 |" in printed


def test_a_missing_cell_names_the_command_that_fills_it(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = FabricatedStore(tmp_path / "outputs")
    store.add(["dataset=synthetic_tiny", "replay=fifo", "seed=0"], {"mean/miou": 0.1, "mean_past/miou": 0.1})
    store.add(["dataset=synthetic_tiny", "replay=fifo", "seed=1"], {"mean/miou": 0.1}, status="FAILED")
    code, printed, complaint = tables(capsys, str(spec), "--uri", store.uri)
    assert (code, printed) == (1, "")
    assert f"lacks 3 of 4 runs in {store.uri}:" in complaint
    common = f"dataset=synthetic_tiny tracking.uri={store.uri}"  # the runs log to the store that is read
    assert f"FIFO, seed 1 (existing runs: FAILED):\n  odkd {common} replay=fifo seed=1\n" in complaint
    assert f"odkd -m {common} replay=uniform replay.capacity=60 seed=0,1" in complaint
    code, printed, complaint = tables(capsys, str(spec), "--uri", store.uri, "--missing")
    assert (code, complaint) == (0, "")
    assert printed.splitlines() == [
        f"odkd {common} replay=fifo seed=1",
        f"odkd -m {common} replay=uniform replay.capacity=60 seed=0,1",
    ]
    code, printed, _ = tables(capsys, str(spec), "--uri", store.uri, "--allow-missing")
    assert code == 0
    assert "| FIFO | 10.0 | 10.0 | 1 |" in printed
    assert "| Uniform |  |  | 0 |" in printed
    assert "NOT COMPLETE: 3 of 4 runs missing" in printed


def test_a_doubled_cell_is_an_error_unless_the_newest_is_wanted(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = filled_store(tmp_path / "outputs")
    again = ["dataset=synthetic_tiny", "replay=fifo", "seed=0"]
    newer = store.add(again, {"mean/miou": 0.3}, tags={"git.commit": "f" * 40})
    code, printed, complaint = tables(capsys, str(spec), "--uri", store.uri)
    assert (code, printed) == (1, "")
    assert "FIFO, seed 0 has 2 finished runs" in complaint
    assert newer in complaint
    assert "git.commit ffffffffffff" in complaint
    assert "--newest" in complaint
    code, printed, _ = tables(capsys, str(spec), "--uri", store.uri, "--newest")
    assert "| FIFO | 21.0 ± 12.7 |" in printed  # 30, 12
    store = filled_store(tmp_path / "second")
    store.add(again, {"mean/miou": 0.1}, tags={"odkd.run_key": "key1"})  # the same run, stored twice
    assert tables(capsys, str(spec), "--uri", store.uri)[0] == 0


def test_parent_runs_of_sweeps_do_not_count(spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store = filled_store(tmp_path / "outputs")
    store.add(["dataset=synthetic_tiny", "replay=fifo", "seed=0"], {"mean/miou": 0.9}, tags={"odkd.kind": "sweep"})
    assert tables(capsys, str(spec), "--uri", store.uri)[0] == 0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("  mIoU: mean/mio", "column mIoU is mean/mio, which none of its 4 runs has; did you mean mean/miou?"),
        ("  mIoU: {metric: mean/miou, digit: 2}", "columns.mIoU has digit; known: digits, factor, metric"),
        ("columms: {}", "unknown key columms"),
        ("seeds: 3", "seeds is 3; expected a list of whole numbers"),
        ("fixed: replay=fifo", "fixed is 'replay=fifo'; expected a list of texts"),
        ("published: houyon", "nothing is published under houyon"),
        ("fixed: [dataset.size=[32,64]]", "column 22: expected ',' or ']', but got '['; put an override that holds"),
        ("fixed: [replay=fifo", "not valid YAML: line"),
        ("fixed: [student=bomb]", "name the folder of your YAML files with --config-dir"),
        ("fixed: [window.lern=3]", "there is no setting or group window.lern; did you mean window.learn?"),
    ],
)
def test_mistakes_are_answered_in_one_message(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], line: str, message: str
) -> None:
    store = filled_store(tmp_path / "outputs")
    key = line.strip().partition(":")[0]
    lines = SPEC.splitlines()
    kept = [old for old in lines if not old.strip().startswith(f"{key}:")] + ([] if line.startswith(" ") else [line])
    place = kept.index("columns:") + 1
    spec.write_text("\n".join([*kept[:place], *([line] if line.startswith(" ") else []), *kept[place:]]))
    code, printed, complaint = tables(capsys, str(spec), "--uri", store.uri)
    assert (code, printed) == (2, "")
    assert message in complaint
    assert len(complaint.splitlines()) == 1


def test_an_unknown_name_is_answered_with_the_nearest_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, _, complaint = tables(capsys, "houyon2023/table1_syntetic")
    assert code == 2
    assert "did you mean houyon2023/table1_synthetic?" in complaint
    code, _, complaint = tables(capsys, "study/window_stride_synthetic", "--uri", str(tmp_path / "no.db"))
    assert code == 2
    assert "there is no MLflow store" in complaint
    assert not (tmp_path / "no.db").exists()


def test_jobs_are_combined_into_commands_that_run_exactly_these() -> None:
    jobs = [
        WantedRun((f"replay={r}", f"window.learn={w}"), s) for r in ("fifo", "mir") for w in (1, 2) for s in (0, 1, 2)
    ]
    assert grouped_arguments(jobs) == [["-m", "replay=fifo,mir", "window.learn=1,2", "seed=0,1,2"]]
    assert expanded(grouped_arguments(jobs[1:])) == {tuple(sorted(job.command)) for job in jobs[1:]}
    odd = [*jobs[3:8], WantedRun(("a=1",), 0), WantedRun(("a=1", "~b"), 0)]
    assert expanded(grouped_arguments(odd)) == {tuple(sorted(job.command)) for job in odd}


def expanded(commands: Sequence[Sequence[str]]) -> set[tuple[str, ...]]:
    """Return the jobs of commands, in a slow and obvious way."""
    found: list[tuple[str, ...]] = []
    for command in commands:
        jobs: list[tuple[str, ...]] = [()]
        for argument in command:
            if argument != "-m":
                key, equals, values = argument.partition("=")
                jobs = [(*job, f"{key}{equals}{value}") for job in jobs for value in values.split(",")]
        found += [tuple(sorted(job)) for job in jobs]
    assert len(set(found)) == len(found)
    return set(found)


@pytest.mark.parametrize("name", list(known_tables()))
def test_the_runs_of_every_table_can_be_composed(name: str) -> None:
    table = replace(load_table(name), chosen=("dataset.root=my_data",))
    assert known_tables()[name].read_text().startswith(f"# odkd-tables {name}")
    assert f"| `{name}` |" in (ROOT / "docs" / "reproduce.md").read_text()
    found = [(row, variant) for row, variant, _ in needs(table)]
    distinct = {job.overrides for _, _, jobs in needs(table) for job in jobs}
    assert len(distinct) == len({(row.overrides, variant.overrides) for row, variant in found})
    assert wanted_settings(jobs_of(table, *found[-1])[0]).values  # composes
    for figure in table.figures.values():
        assert set(figure.get("rows", [])) <= {row.label for row in table.rows}
        assert set(figure.get("columns", [])) <= {column.label for column in table.columns}


def test_a_table_says_which_folder_it_needs() -> None:
    texts = [path.read_text() for path in known_tables().values()]
    assert not any("shared" in text for text in texts)  # a wheel has no data beside it
    table = load_table("houyon2023/table1_camvid")
    job = next(jobs[0] for _, _, jobs in needs(table))
    with pytest.raises(ValueError, match=r"dataset\.root is not set; add dataset\.root=\.\.\. to the command"):
        wanted_settings(job)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(known_tables()))
def test_all_cells_of_every_table_are_different_runs(name: str) -> None:
    jobs = {jobs[0] for _, _, jobs in needs(replace(load_table(name), chosen=("dataset.root=my_data",)))}
    assert len({frozenset(wanted_settings(job).values.items()) for job in jobs}) == len(jobs)


def test_published_values_equal_the_papers_and_match_the_labels_of_tables() -> None:
    published = load_published()
    table1 = published["houyon2023/table1"]
    assert table1.trust == "unverified"
    assert "unverified" in table1.heading
    assert [table1.value("MIR + ACE", "40 min", name) for name in ("mIoU", "FWT", "BWT", "Final BWT")] == [
        25.5,
        17.5,
        29.4,
        28.5,
    ]
    assert table1.value("MIR", "20 min", "mIoU") is None  # could not be read
    assert published["mckd/reference"].value("MCKD, final student", "Cityscapes", "reference code's mIoU") == 49.3
    for name, found in published.items():
        table = load_table(name)
        rows, variants = {row.label for row in table.rows}, {variant.label for variant in table.variants}
        assert set(found.values) <= rows
        for values in found.values.values():
            assert set(values) <= variants
            assert {column for known in values.values() for column in known} <= {c.label for c in table.columns}


def published_store(outputs: Path) -> FabricatedStore:
    store = FabricatedStore(outputs)
    for seed in (0, 1, 2):
        for number, row in enumerate(ROWS):
            metrics = {"mean/miou": 0.2 + number / 10 + seed / 100}
            store.add(["dataset=synthetic_tiny", *row, f"seed={seed}"], metrics)
    return store


PUBLISHED = """
title: 50 % of Table_1 & more
stub: method
fixed: [dataset=synthetic_tiny]
rows:
  Baseline (FIFO): [replay=fifo]
  Uniform: [replay=uniform, replay.capacity=60]
columns: {mIoU: mean/miou, mIoU-NDS: null, accuracy: {metric: mean/miou, factor: 1, digits: 3, unit: ""}}
published: {table: houyon2023/table1, variant: 20 min, note: Other data.}
"""


def test_published_values_are_beside_ours_and_marked(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = published_store(tmp_path / "outputs")
    spec.write_text(PUBLISHED)
    _, printed, _ = tables(capsys, str(spec), "--uri", store.uri)
    lines = printed.splitlines()
    theirs = "published, unverified"
    assert lines[2] == f"| method | mIoU (%) | {theirs} | mIoU-NDS (%), {theirs} | accuracy | n |"
    assert lines[4] == "| Baseline (FIFO) | 21.0 ± 1.0 | 23.4 | 19.8 | 0.210 ± 0.010 | 3 |"
    assert lines[5] == "| Uniform | 31.0 ± 1.0 | 25.5 | 23.6 | 0.310 ± 0.010 | 3 |"
    assert "CVPRW 2023, pp. 2436-2445" in printed
    assert "Other data." in printed
    _, printed, _ = tables(capsys, str(spec), "--uri", store.uri, "--format", "csv")
    rows = list(csv.DictReader(io.StringIO(printed)))
    assert len(rows) == 2 * 3
    shown = [rows[0][key] for key in ("method", "column", "n", "published", "trust")]
    assert shown == ["Baseline (FIFO)", "mIoU", "3", "23.4", "unverified"]
    assert float(rows[0]["std"]) == pytest.approx(1)
    assert [rows[2][key] for key in ("published", "trust")] == ["", ""]


def test_latex_has_equally_many_cells_in_each_line_and_escapes_all_text(
    spec: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = published_store(tmp_path / "outputs")
    variants = 'variants: {"one & two": [], three: [window.learn=7]}\n'
    spec.write_text(PUBLISHED + variants)
    out = tmp_path / "table.tex"
    code, printed, _ = tables(
        capsys, str(spec), "--uri", store.uri, "--format", "latex", "--allow-missing", "--output", str(out)
    )
    assert (code, printed) == (0, "")
    text = out.read_text()
    body = text[text.index(r"\toprule") : text.index(r"\bottomrule")]
    (columns,) = [line for line in text.splitlines() if line.startswith(r"\begin{tabular}")]
    width = columns.count("r}") and len(columns.split("}{")[1].rstrip("}"))
    rows = [line for line in body.splitlines() if line.endswith(r"\\")]
    assert len(rows) == 2 + 2
    for line in rows:
        bare = line.replace(r"\&", "")
        spanned = sum(int(part.partition("}")[0]) - 1 for part in bare.split(r"\multicolumn{")[1:])
        assert bare.count("&") + 1 + spanned == width
    assert r"\multicolumn{4}{c}{one \& two}" in body
    assert r"21.0 $\pm$ 1.0 & 23.4" in body
    assert r"50 \% of Table\_1 \& more" in text
    for line in text.splitlines()[1:]:
        assert (
            line.replace(r"\{", "").count("{") == line.replace(r"\}", "").count("}")
            or "resizebox" in line
            or "end{tabular}" in line
        )
    assert text.count(r"\begin{") == text.count(r"\end{")
    assert r"\usepackage{booktabs,graphicx}" in text


def test_an_empty_cell_and_a_single_value_have_no_deviation() -> None:
    assert (Cell().count, str(Cell().mean), str(Cell((3.0,)).std)) == (0, "nan", "nan")


def test_a_specification_extends_another(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(SPEC)
    path = tmp_path / "more.yaml"
    path.write_text("extends: base.yaml\nseeds: [7]\nrows: {FIFO: null, MIR: [replay=mir]}\n")
    table = load_table(str(path))
    assert [row.label for row in table.rows] == ["Uniform", "MIR"]
    assert (table.seeds, table.title) == ((7,), "Replay & more")
    with pytest.raises(ValueError, match="rows is None"):
        make_table("x", {})


@pytest.mark.slow
def test_the_listed_commands_fill_the_table(spec: Path, tmp_path: Path) -> None:
    from tiny_settings import TINY

    overrides = [o for o in TINY if not o.startswith(("tracking", "debug"))] + ["device=cpu", "run.overlay_video=false"]
    outputs = f"paths.outputs={tmp_path / 'outputs'}"
    call = [sys.executable, "-m", "odkd.report.tables.command", str(spec), *overrides, outputs]
    first = subprocess.run([*call, "--run"], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert first.stderr.count("\nodkd ") + first.stderr.startswith("odkd ") == 2
    second = subprocess.run(call, capture_output=True, text=True, check=True, cwd=tmp_path)
    assert second.stdout == first.stdout
    assert second.stdout.count("±") == 4 + 1
