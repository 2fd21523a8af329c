"""Tables with a user-defined method, and messages about missing stores, missing runs and doubled runs."""

import json
import shlex
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from fabricated_store import FabricatedStore
from paths import ROOT
from tiny_settings import TINY

from odkd.report.tables import command, figures

OWN = "allow_targets=[my_replay]"
SPEC = """
fixed: [dataset=synthetic_tiny]
seeds: [0]
rows: {FIFO: [replay=fifo], Newest: [replay=newest]}
columns: {mIoU: mean/miou}
figures: {miou: {kind: over_time, metric: test/miou, label: mIoU}}
"""
CODE = """
class Newest:
    def __init__(self, keep): self.keep, self.positions = keep, []
    def select(self, num_positions, scorer): return self.positions[-self.keep:]
    def observe(self, fresh, scorer): self.positions += list(fresh)
    def kept(self): return self.positions
    def state_dict(self): return {"positions": self.positions}
    def load_state_dict(self, state): self.positions = state["positions"]
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in a folder with a table, a replay memory and its YAML; the name of the folder needs quotes."""
    place = tmp_path / "it's mine"
    (place / "conf" / "replay").mkdir(parents=True)
    (place / "conf" / "replay" / "newest.yaml").write_text("_target_: my_replay.Newest\nkeep: 3\n")
    (place / "my_replay.py").write_text(CODE)
    (place / "mine.yaml").write_text(SPEC)
    monkeypatch.chdir(place)
    return place


def call(capsys: pytest.CaptureFixture[str], *arguments: str, of: str = "tables") -> tuple[int, str, str]:
    """Run odkd-tables or odkd-figures; return exit code, stdout and stderr."""
    code = 0
    try:
        {"tables": command.main, "figures": figures.main}[of](arguments)
    except SystemExit as stopped:
        code = stopped.code if isinstance(stopped.code, int) else 1
    printed = capsys.readouterr()
    return code, printed.out, printed.err


def test_a_user_defined_method_is_a_row_and_its_commands_have_the_config_folder(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for config_dir in ("conf", str(folder / "conf")):
        code, printed, _ = call(capsys, "mine.yaml", "--config-dir", config_dir, OWN, "--missing")
        assert code == 0
        assert [shlex.split(line) for line in printed.splitlines()] == [
            ["odkd", "--config-dir", config_dir, "-m", "dataset=synthetic_tiny", OWN, "replay=fifo,newest", "seed=0"]
        ]
    store = FabricatedStore(folder / "outputs")
    for number, replay in enumerate(("fifo", "newest"), start=1):
        settings = ["dataset=synthetic_tiny", f"replay={replay}", "seed=0"]
        store.add(settings, {"mean/miou": number / 10}, config_dir="conf")
    store.add(["dataset=synthetic_tiny", "replay=newest", "replay.keep=4"], {"mean/miou": 0.9}, config_dir="conf")
    code, printed, complaint = call(capsys, "mine.yaml", "--config-dir", "conf", OWN)
    assert (code, complaint) == (0, "")
    assert "| FIFO | 10.0 | 1 |\n| Newest | 20.0 | 1 |" in printed
    assert "±" not in printed  # single runs have no deviation
    assert "Single runs (n = 1, seed 0)" in printed


@pytest.mark.parametrize("of", ["tables", "figures"])
def test_a_missing_choice_or_folder_is_answered_with_advice(
    folder: Path, capsys: pytest.CaptureFixture[str], of: str
) -> None:
    code, _, complaint = call(capsys, "mine.yaml", of=of)
    assert code == 2
    assert complaint.startswith(f"odkd-{of}: there is no replay=newest ")
    assert "--config-dir" in complaint
    code, _, complaint = call(capsys, "mine.yaml", "--config-dir", "cnf", of=of)
    assert code == 2
    assert complaint.startswith(f"odkd-{of}: --config-dir cnf: no such folder")
    (folder / "mine.yaml").write_text(SPEC.replace("=newest", "=newst"))
    code, _, complaint = call(capsys, "mine.yaml", "--config-dir", "conf", of=of)
    assert code == 2
    assert "there is no replay=newst; did you mean newest?" in complaint


@pytest.mark.parametrize("of", ["tables", "figures"])
def test_an_unreachable_server_is_reported_in_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], of: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]  # closed again, so connections are refused
    for uri in (["--uri", f"http://me:secret@127.0.0.1:{port}"], [f"tracking.uri=http://me:secret@127.0.0.1:{port}"]):
        code, printed, complaint = call(capsys, "arthus2019/windows_synthetic", *uri, of=of)
        assert (code, printed) == (2, "")
        assert len(complaint.splitlines()) == 1
        assert complaint.startswith(f"odkd-{of}: MLflow at http://127.0.0.1:{port}: Connection refused.")
        assert "--uri" in complaint
        assert "secret" not in complaint
    (folder / "bad.db").write_text("no database")
    code, _, complaint = call(capsys, "arthus2019/windows_synthetic", "--uri", "bad.db", of=of)
    assert code == 2
    assert len(complaint.splitlines()) == 1
    assert "file is not a database" in complaint


@pytest.mark.parametrize("of", ["tables", "figures"])
def test_a_message_about_missing_runs_names_the_store(
    folder: Path, capsys: pytest.CaptureFixture[str], of: str
) -> None:
    choice = ("mine.yaml", "--config-dir", "conf", "--seeds", "0", "1")
    code, _, complaint = call(capsys, *choice, of=of)
    assert code == 1
    assert complaint.startswith(f"odkd-{of}: mine lacks 4 of 4 runs; there is no store outputs/mlflow.db here yet")
    assert "odkd-tables mine.yaml --config-dir conf --seeds 0 1 --missing prints" in complaint
    FabricatedStore(folder / "outputs")
    _, _, complaint = call(capsys, *choice, of=of)
    assert complaint.startswith(f"odkd-{of}: mine lacks 4 of 4 runs in outputs/mlflow.db:")
    _, _, complaint = call(capsys, *choice, "--experiment", "odkd", "--uri", "outputs/mlflow.db", of=of)
    assert f"4 of 4 runs in experiment odkd of sqlite:///{folder / 'outputs' / 'mlflow.db'}:" in complaint


def test_a_doubled_cell_lists_the_differences_between_its_runs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ["dataset=synthetic_tiny", "replay=newest", "seed=0"]
    always = [{"odkd.created": day, "odkd.sweep_key": day, "odkd.run_folder": f"/runs/{day}"} for day in ("one", "two")]
    again = ["mine.yaml", "--config-dir", "conf", "--allow-missing"]
    stores = {}
    for name, tags in {"code": [{"odkd.code_digest": digit * 64} for digit in "ab"], "none": [{}, {}]}.items():
        stores[name] = FabricatedStore(folder / name)
        for common, own in zip(always, tags, strict=True):
            stores[name].add(settings, {"mean/miou": 0.1}, tags=common | own, config_dir="conf")
    code, _, complaint = call(capsys, *again, "--uri", stores["code"].uri)
    assert code == 1
    differences = [line.split("  ")[-1] for line in complaint.splitlines()[1:3]]
    assert differences == ["odkd.code_digest bbbbbbbbbbbb", "odkd.code_digest aaaaaaaaaaaa"]
    assert "nothing that MLflow stores" not in complaint
    _, _, complaint = call(capsys, *again, "--uri", stores["none"].uri, of="figures")
    assert "odkd.created" not in complaint
    assert "stores except their run keys (key2, key1): compare config.yaml in /runs/two and /runs/one" in complaint
    assert f"(odkd-figures mine.yaml --config-dir conf --uri {shlex.quote(stores['none'].uri)} --newest)" in complaint
    stores["none"].add([*settings, "threads=7"], {"mean/miou": 0.1}, config_dir="conf", is_curated=True)
    _, _, complaint = call(capsys, *again, "--uri", stores["none"].uri)
    assert "threads 7" in complaint


def test_the_help_lists_every_command() -> None:
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    text = (ROOT / "conf" / "hydra" / "default.yaml").read_text()
    assert {name for name in scripts if name not in text} == set()


@pytest.mark.slow
def test_a_user_defined_method_is_run_from_the_folder_of_its_file(folder: Path) -> None:
    """An edit of the file gives another run with the same settings; the digest of the file distinguishes them."""
    tiny = [o for o in TINY if not o.startswith(("tracking", "debug"))] + ["device=cpu", "run.overlay_video=false"]
    (folder / "mine.yaml").write_text(SPEC.replace("FIFO: [replay=fifo], ", ""))
    make = [sys.executable, "-m", "odkd.report.tables.command", "mine.yaml", "--config-dir", "conf", *tiny, OWN]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, capture_output=True, text=True, check=False, cwd=folder)

    first = run(*make, "--run")
    assert first.returncode == 0, first.stderr
    assert "| Newest | " in first.stdout
    (folder / "my_replay.py").write_text(CODE.replace("[-self.keep:]", "[:self.keep]"))
    (line,) = [line for line in first.stderr.splitlines() if line.startswith("odkd --config-dir conf ")]
    edited = run(sys.executable, "-m", *shlex.split(line))
    assert edited.returncode == 0, edited.stderr
    records = [json.loads(path.read_text()) for path in (folder / "outputs" / "runs").glob("*/run.json")]
    digests = [record["tags"]["odkd.code_digest"][:12] for record in records]
    assert len(set(digests)) == 2
    doubled = run(*make)
    assert doubled.returncode == 1
    assert all(f"odkd.code_digest {digest}" in doubled.stderr for digest in digests)
