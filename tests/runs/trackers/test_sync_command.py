"""odkd-sync sends to every tracker that a run notes, and to no place that only a folder names."""

import json
import sys
from pathlib import Path

import pytest
from extras import need
from fabricated_run import FabricatedRun
from tracked_numbers import of_tensorboard

from odkd.commands import sync as sync_command
from odkd.runs import tracker as notes
from odkd.runs.trackers.tensorboard import TensorBoard

SETTINGS = {"_target_": "odkd.runs.trackers.tensorboard.TensorBoard", "folder": None}


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FabricatedRun:
    need("tensorboard")
    monkeypatch.chdir(tmp_path)
    run = FabricatedRun(Path("outputs"))
    run.publish(3)
    return run


def command(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["odkd-sync", *arguments])
    with pytest.raises(SystemExit) as end:
        sync_command.main()
    return int(end.value.code or 0)


def test_a_killed_run_is_sent_to_the_tracker_that_it_notes_and_not_to_mlflow(
    run: FabricatedRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    notes.note(run.folder, run.outputs, "tensorboard", SETTINGS, TensorBoard(outputs=run.outputs))
    assert command(monkeypatch) == 0
    place = run.outputs / "tensorboard"
    assert capsys.readouterr().out == f"{run.folder}: 3 iterations sent to TensorBoard's folder {place}\n"
    assert {step for _, step in of_tensorboard(place / run.folder.name)} == {0, 1, 2}
    assert json.loads((run.folder / "run.json").read_text())["status"] == "killed"
    assert not (run.outputs / "mlflow.db").exists()
    assert command(monkeypatch) == 0
    assert "0 iterations sent" in capsys.readouterr().out


def test_a_folder_of_somebody_else_writes_nowhere(
    run: FabricatedRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for settings in (SETTINGS | {"folder": str(tmp_path / "elsewhere")}, {"_target_": "os.system", "command": "x"}, 5):
        (run.folder / "trackers.json").write_text(json.dumps({"tensorboard": {"settings": settings}}))
        assert command(monkeypatch) == 1
        assert f"{run.folder}: not sent: " in capsys.readouterr().out
    assert {path.name for path in tmp_path.iterdir()} == {"outputs"}


def test_a_class_of_the_users_own_needs_its_word_again(
    run: FabricatedRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"_target_": "my_lab.Tracker"}
    notes.note(run.folder, run.outputs, "mine", settings, TensorBoard(outputs=run.outputs))
    assert command(monkeypatch) == 1
    told = capsys.readouterr().out
    assert "tracking.mine._target_=my_lab.Tracker is not allowed" in told
    assert "add --allow my_lab if you trust that package" in told
    assert command(monkeypatch, "--allow", "my_lab") == 1
    assert "my_lab.Tracker is not there" in capsys.readouterr().out


def test_a_tracker_that_breaks_fails_no_other_one(
    run: FabricatedRun, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    blocked = run.outputs / "blocked"
    blocked.write_text("a file")
    for name, folder in (("broken", str(blocked)), ("tensorboard", None)):
        settings = SETTINGS | {"folder": folder}
        notes.note(run.folder, run.outputs, name, settings, TensorBoard(folder=folder, outputs=run.outputs))
    assert command(monkeypatch) == 1
    told = capsys.readouterr().out
    assert f"not sent: TensorBoard's folder {blocked}: " in told
    assert "3 iterations sent" in told
