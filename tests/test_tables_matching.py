"""Which runs a table counts: by what their classes, files, data, teachers and own code say."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from fabricated_store import FabricatedStore

from odkd.tables.command import main
from odkd.tables.wanted import wanted_settings

FIXED = ["dataset=synthetic_tiny"]


def spec_of(folder: Path, rows: dict[str, Sequence[str]], seeds: Sequence[int] = (0,), more: str = "") -> str:
    """A table of one column; its file."""
    path = folder / "mine.yaml"
    lines = [f"  {label}: {json.dumps(list(overrides))}" for label, overrides in rows.items()]
    text = [f"fixed: {FIXED}", f"seeds: {list(seeds)}", "rows:", *lines, "columns: {mIoU: mean/miou}", more]
    path.write_text("\n".join(text))
    return str(path)


def tables(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, what was printed, what was complained of."""
    code = 0
    try:
        main(arguments)
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else 1
    printed = capsys.readouterr()
    return code, printed.out, printed.err


@pytest.fixture(autouse=True)
def _stand_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("num_classes", [2, 60])  # written whole, and as a digest
def test_runs_of_other_classes_are_told_apart(
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


def test_a_file_is_known_by_its_content_where_both_sides_know_it_else_by_its_path(
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
    wanted_settings.cache_clear()  # another process looks at the files again
    files["v1"].write_bytes(b"edited")  # the run with the first content is no longer what the command would make
    assert "lacks 1 of 1 runs" in tables(capsys, spec_of(tmp_path, {"v1": rows["v1"]}), "--uri", store.uri)[2]
    wanted_settings.cache_clear()
    files["v1"].unlink()  # not here: the run says the same path
    assert "| v1 | 10.0 | 1 |" in tables(capsys, spec_of(tmp_path, {"v1": rows["v1"]}), "--uri", store.uri)[1]


def test_a_setting_that_follows_the_seed_does_so_in_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store, spec = FabricatedStore(tmp_path / "outputs"), spec_of(tmp_path, {"A": ["teacher.seed=${seed}"]}, [0, 1])
    for seed in (0, 1):
        store.add([*FIXED, f"teacher.seed={seed}", f"seed={seed}"], {"mean/miou": 0.1}, is_curated=True)
    assert "| A | 10.0 ± 0.0 | 2 |" in tables(capsys, spec, "--uri", store.uri)[1]
