"""Matching of stored runs with a table, by classes, files, data, teachers and own code."""

import argparse
import json
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from fabricated_store import FabricatedStore

from odkd.config.compose import compose_config
from odkd.report.tables.command import add_choices, check_complete, main, with_choices
from odkd.report.tables.filling import fill
from odkd.report.tables.spec import load_table
from odkd.report.tables.wanted import Settings, WantedRun, wanted_settings
from odkd.runs.run_file import write_record

FIXED = ["dataset=synthetic_tiny"]


def spec_of(folder: Path, rows: dict[str, Sequence[str]], seeds: Sequence[int] = (0,), more: str = "") -> str:
    """Write the YAML of a table with one column and return its path."""
    path = folder / "mine.yaml"
    lines = [f"  {label}: {json.dumps(list(overrides))}" for label, overrides in rows.items()]
    text = [f"fixed: {FIXED}", f"seeds: {list(seeds)}", "rows:", *lines, "columns: {mIoU: mean/miou}", more]
    path.write_text("\n".join(text))
    return str(path)


def tables(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run odkd-tables; return exit code, stdout and stderr."""
    code = 0
    try:
        main(arguments)
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else 1
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture(autouse=True)
def _work_in_tmp_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("num_classes", [2, 60])  # written in full, and as a digest
def test_runs_with_different_classes_are_distinguished(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], num_classes: int
) -> None:
    names = [f"class{number}" for number in range(num_classes)]
    rows = {"A": [f"dataset.classes=[{','.join(names)}]"], "B": [f"dataset.classes=[{','.join(reversed(names))}]"]}
    store, spec = FabricatedStore(tmp_path / "outputs"), spec_of(tmp_path, rows)
    store.add([*FIXED, *rows["A"]], {"mean/miou": 0.1}, is_curated=True)
    code, _, complaint = tables(capsys, spec, "--uri", store.uri)
    assert code == 1
    assert "lacks 1 of 2 runs" in complaint
    store.add([*FIXED, *rows["B"]], {"mean/miou": 0.2}, is_curated=True)
    code, printed, _ = tables(capsys, spec, "--uri", store.uri)
    assert code == 0
    assert "| A | 10.0 | 1 |\n| B | 20.0 | 1 |" in printed


def test_a_run_without_recorded_classes_matches_any_but_not_two_rows() -> None:
    old, one, two = (Settings({"seed": "1"}, {}, classes) for classes in (None, "['a']", "['b']"))
    assert old.is_as(one)
    assert old.is_as(two)
    assert not one.is_as(two)
    assert one.untold(two) == ["dataset.classes"]


def test_files_are_compared_by_content_if_both_sides_know_it_else_by_path(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {name: tmp_path / name / "model.pth" for name in ("v1", "v2", "moved")}
    for name, path in files.items():
        path.parent.mkdir()
        path.write_bytes(b"one" if name in ("v1", "moved") else b"two")
    rows = {name: [f"student.weights={files[name]}"] for name in ("v1", "v2")}
    for is_curated in (False, True):
        store, spec = FabricatedStore(tmp_path / f"outputs{is_curated}"), spec_of(tmp_path, rows)
        store.add([*FIXED, *rows["v2"]], {"mean/miou": 0.2}, is_curated=is_curated)
        assert "lacks 1 of 2 runs" in tables(capsys, spec, "--uri", store.uri)[2]
        store.add([*FIXED, *rows["v1"]], {"mean/miou": 0.1}, is_curated=is_curated)
        assert "| v1 | 10.0 | 1 |\n| v2 | 20.0 | 1 |" in tables(capsys, spec, "--uri", store.uri)[1]
        spec = spec_of(tmp_path, {"elsewhere": [f"student.weights={files['moved']}"]})
        code, printed, _ = tables(capsys, spec, "--uri", store.uri)
        assert (code, "| elsewhere | 10.0 | 1 |" in printed) == ((0, True) if is_curated else (1, False))
    wanted_settings.cache_clear()  # another process would read the files again
    files["v1"].write_bytes(b"edited")  # the command would not repeat the first run
    assert "lacks 1 of 1 run" in tables(capsys, spec_of(tmp_path, {"v1": rows["v1"]}), "--uri", store.uri)[2]
    wanted_settings.cache_clear()
    files["v1"].unlink()  # without the file, its path is compared
    assert "| v1 | 10.0 | 1 |" in tables(capsys, spec_of(tmp_path, {"v1": rows["v1"]}), "--uri", store.uri)[1]


def test_how_long_a_session_lasts_and_where_its_page_is_make_no_other_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, spec = FabricatedStore(tmp_path / "outputs"), spec_of(tmp_path, {"A": ["stage=live"]})
    store.add([*FIXED, "stage=live", "stage.seconds=60", "stage.port=0", "seed=0"], {"mean/miou": 0.1}, is_curated=True)
    assert "| A | 10.0 | 1 |" in tables(capsys, spec, "--uri", store.uri)[1]


def test_a_setting_may_follow_the_seed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, spec = FabricatedStore(tmp_path / "outputs"), spec_of(tmp_path, {"A": ["teacher.seed=${seed}"]}, [0, 1])
    for seed in (0, 1):
        store.add([*FIXED, f"teacher.seed={seed}", f"seed={seed}"], {"mean/miou": 0.1}, is_curated=True)
    assert "| A | 10.0 ± 0.0 | 2 |" in tables(capsys, spec, "--uri", store.uri)[1]


@pytest.mark.parametrize("tag", ["odkd.dataset_digest", "odkd.teacher_digest", "odkd.code_digest"])
def test_seeds_of_a_row_with_different_data_teachers_or_code_are_not_averaged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], tag: str
) -> None:
    spec = spec_of(tmp_path, {"A": []}, [0, 1, 2])
    for digests in (["a" * 64, "a" * 64, None], ["a" * 64, "b" * 64, None]):
        store = FabricatedStore(tmp_path / f"outputs{digests[1]}")
        for seed, digest in enumerate(digests):  # a run without the tag is not checked
            store.add([*FIXED, f"seed={seed}"], {"mean/miou": seed / 10}, tags={tag: digest} if digest else {})
        code, printed, complaint = tables(capsys, spec, "--uri", store.uri)
        if digests[1] != digests[0]:
            break
        assert (code, complaint) == (0, "")
    assert (code, printed) == (1, "")
    assert f"compared runs differ in {tag}:" in complaint
    assert "A, seed 0: aaaaaaaaaaaa\n" in complaint
    assert "A, seed 1: bbbbbbbbbbbb\n" in complaint
    command = f"odkd dataset=synthetic_tiny tracking.uri={store.uri} seed=0"
    assert f"To repeat those that differ from the newest:\n  {command}\n" in complaint
    assert "seed 2" not in complaint
    code, printed, _ = tables(capsys, spec, "--uri", store.uri, "--newest")
    assert code == 0
    assert "| A | 10.0 ± 10.0 | 3 |" in printed
    assert f"NOT COMPARABLE: the runs of A are of 2 different {tag}." in printed


def test_rows_with_different_data_are_compared_only_if_their_dataset_settings_differ(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for override, is_fine in (("dataset.stride=3", True), ("window.learn=7", False)):
        rows, store = {"A": [], "B": [override]}, FabricatedStore(tmp_path / override)
        for row, digest in zip(rows.values(), "ab", strict=True):
            tags = {"odkd.dataset_digest": digest, "odkd.code_digest": digest}  # rows may differ in code
            store.add([*FIXED, *row], {"mean/miou": 0.1}, tags=tags)
        code, _, complaint = tables(capsys, spec_of(tmp_path, rows), "--uri", store.uri)
        assert (code == 0) is is_fine
        assert ("differ in odkd.dataset_digest:" in complaint) is not is_fine
        assert "odkd.code_digest" not in complaint


def test_rows_that_differ_only_in_unrecorded_settings_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = {"A": ["dataset.root=a"], "B": ["dataset.root=b"]}
    store = FabricatedStore(tmp_path / "outputs")
    store.add([*FIXED, *rows["A"]], {"mean/miou": 0.1})
    code, _, complaint = tables(capsys, spec_of(tmp_path, rows), "--uri", store.uri)
    assert code == 2
    assert "A and B differ in dataset.root, but the run" in complaint
    rows = {"A": rows["A"], "B": [*rows["B"], "dataset.name=b"]}
    assert "lacks 1 of 2 runs" in tables(capsys, spec_of(tmp_path, rows), "--uri", store.uri)[2]


def test_a_run_whose_summary_was_not_sent_is_missing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, spec = FabricatedStore(tmp_path / "outputs"), spec_of(tmp_path, {"A": []}, [0, 1, 2])
    store.add([*FIXED, "seed=0"], {}, history={"test/miou": {0: 0.1}})
    for seed in (1, 2):
        store.add([*FIXED, f"seed={seed}"], {"mean/miou": 0.1})
    code, _, complaint = tables(capsys, spec, "--uri", store.uri)
    assert code == 1
    assert "A, seed 0 (existing runs: FINISHED without its summary, which odkd-sync sends):" in complaint
    _, printed, _ = tables(capsys, spec, "--uri", store.uri, "--allow-missing")
    assert "over n seeds (1, 2)." in printed


def test_a_seed_counts_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spec = spec_of(tmp_path, {"A": []}, [0, 0])
    code, _, complaint = tables(capsys, spec)
    assert (code, complaint) == (
        2,
        "odkd-tables: table mine: seeds is [0, 0]; expected each seed once, because a seed is one run\n",
    )
    spec = spec_of(tmp_path, {"A": []})
    code, _, complaint = tables(capsys, spec, "--seeds", "0", "0")
    assert (code, complaint) == (
        2,
        "odkd-tables: --seeds is [0, 0]; expected each seed once, because a seed is one run\n",
    )
    Path(spec).write_text("rows: {A: {overrides: [], seeds: [3, 3]}}\ncolumns: {mIoU: mean/miou}\n")
    assert "rows.A.seeds is [3, 3]; expected each seed once" in tables(capsys, spec)[2]


def test_seeds_of_the_command_line_replace_those_of_all_rows(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = spec_of(tmp_path, {"A": []})
    Path(spec).write_text(
        "rows: {A: {overrides: [], seeds: [3, 4]}, B: [window.learn=7]}\ncolumns: {mIoU: mean/miou}\n"
    )
    assert tables(capsys, spec, "--missing")[1] == "odkd -m seed=3,4\nodkd -m window.learn=7 seed=0,1,2\n"
    assert tables(capsys, spec, "--missing", "--seeds", "5")[1] == "odkd seed=5\nodkd window.learn=7 seed=5\n"


def test_the_command_line_wins_but_must_not_make_rows_equal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = {"A": ["replay=uniform", "replay.capacity=5"], "B": ["replay=mir", "replay.capacity=6"]}
    spec = spec_of(tmp_path, rows)
    _, printed, _ = tables(capsys, spec, "--missing", "replay.capacity=10", "device=cpu")
    assert printed == "odkd -m dataset=synthetic_tiny replay.capacity=10 device=cpu replay=uniform,mir seed=0\n"
    spec = spec_of(tmp_path, {"A": rows["A"], "B": ["replay=uniform", "replay.capacity=6"]})
    code, _, complaint = tables(capsys, spec, "replay.capacity=10")
    assert code == 2
    assert (
        complaint == "odkd-tables: replay.capacity=10: with it, A and B of mine would be the same runs; leave it out\n"
    )
    same = spec_of(tmp_path, {"A": ["replay=fifo"], "B": []})  # equal in the table itself, which is allowed
    assert tables(capsys, same, "--missing", "device=cpu")[0] == 0


def test_missing_runs_log_to_the_store_and_experiment_that_are_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store, spec = FabricatedStore(tmp_path / "it's mine"), spec_of(tmp_path, {"A": []})
    _, printed, _ = tables(capsys, spec, "--missing", "--uri", "it's mine/mlflow.db", "--experiment", "odkd")
    words = shlex.split(printed)
    assert words[0] == "odkd"
    tracking = compose_config(words[1:]).tracking
    assert (tracking.uri, tracking.experiment) == (store.uri, "odkd")
    for place in (["--uri", f"{tmp_path}/new.db"], ["--uri", store.uri, "--experiment", "new"]):
        assert tables(capsys, spec, *place)[0] == 2, "nothing was logged there"
        code, printed, _ = tables(capsys, spec, *place, "--missing")
        assert (code, len(printed.splitlines())) == (0, 1), "--missing accepts a new store"


def test_the_function_that_prepares_the_data_matters() -> None:
    wanted, plain = (wanted_settings(WantedRun(words, 0)) for words in (("dataset.prepare._target_=my_lab.make",), ()))
    assert not wanted.is_as(plain)


def test_no_password_is_shown_in_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = load_table(spec_of(tmp_path, {"A": []}))
    parser = argparse.ArgumentParser("odkd-tables")
    add_choices(parser)
    chosen = parser.parse_intermixed_args(["mine.yaml", "--uri", "http://me:secret@host:5000"])
    with pytest.raises(SystemExit):
        check_complete(fill(with_choices(table, chosen), [], lambda _run, _metric: {}), chosen)
    complaint = capsys.readouterr().err
    assert "odkd dataset=synthetic_tiny tracking.uri=http://host:5000 seed=0" in complaint
    assert "secret" not in complaint


@pytest.mark.slow
def test_a_run_of_an_older_odkd_is_found_after_its_command_is_repeated(
    tmp_path: Path, odkd: Callable[..., Path]
) -> None:
    """The key does not depend on the path of the weights, so the run is not repeated, but its record is updated."""
    start = odkd("run.overlay_video=false") / "student.safetensors"
    (tmp_path / "elsewhere").mkdir()
    paths = [tmp_path / "start.safetensors", tmp_path / "elsewhere" / "start.safetensors"]
    for path in paths:
        path.write_bytes(start.read_bytes())
    said = odkd("run.overlay_video=false", f"student.weights={paths[0]}") / "run.json"
    whole = said.read_text()
    record = json.loads(whole)
    del record["tags"]["odkd.file_digests"], record["params"]["dataset.classes"]
    write_record(said.parent, record)
    assert odkd("run.overlay_video=false", f"student.weights={paths[1]}") == said.parent
    assert json.loads(said.read_text()) == json.loads(whole)
