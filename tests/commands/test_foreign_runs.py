"""A run's folder may come from anywhere: what reads it runs no code of it, and writes nowhere but where the user is."""

import json
import shutil
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from extras import need
from omegaconf import OmegaConf
from samples import one_of

from odkd.commands.export import main as export
from odkd.commands.profile import main as profile
from odkd.commands.report import main as report
from odkd.commands.report import make_stills
from odkd.config.segmenter import load_student
from odkd.report.stills import write_stills

COMMANDS: dict[str, Callable[[Path], object]] = {
    "odkd-export": lambda run: export([str(run), "--to", "torchscript"]),
    "odkd-profile": lambda run: profile([str(run), "--seconds", "0.01"]),
    "odkd-report": make_stills,
}


@pytest.fixture
def foreign(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of a finished run in an outputs folder of its own, without the digests of its files."""
    folder = Path(shutil.copytree(run, tmp_path / "outputs" / "runs" / run.name))
    record = json.loads((folder / "run.json").read_text())
    for name in ("files", "sha256"):
        record.pop(name, None)
    (folder / "run.json").write_text(json.dumps(record))
    shutil.rmtree(folder / "stills", ignore_errors=True)
    monkeypatch.chdir(tmp_path)
    return folder


def change(run: Path, **settings: Any) -> None:
    cfg = OmegaConf.load(run / "config.yaml")
    for key, value in settings.items():
        OmegaConf.update(cfg, key.replace("__", "."), value, merge=False, force_add=True)
    OmegaConf.save(cfg, run / "config.yaml")


def told(command: str, run: Path) -> str:
    """Return how a command ends: "" or one line."""
    try:
        COMMANDS[command](run)
    except SystemExit as ending:
        return "" if ending.code in (0, None) else "refused"
    except ValueError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    ("key", "command"),
    one_of(3, list(product(["dataset__prepare", "teacher", "student", "regularizer"], COMMANDS))),
)
def test_what_a_run_permits_itself_does_not_count(
    foreign: Path, tmp_path: Path, command: str, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "evil.py").write_text(
        f"from pathlib import Path\nPath({str(tmp_path / 'ran')!r}).touch()\ndef go(**_): return Path('.')\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    name = {"name": "x"} if key in ("teacher", "student") else {}
    change(
        foreign,
        allow_targets=["evil"],
        **{f"{key}___target_": "evil.go"},
        **{f"{key}__{k}": v for k, v in name.items()},
    )
    told(command, foreign)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("dataset__classes", ["a", "${oc.env:SECRET}"]),
        ("teacher___target_", "${oc.decode:'odkd.teachers.ensemble.Ensemble'}"),
        ("student", "${oc.create:{name: x}}"),
        ("dataset__size", "${dataset.palette}"),
    ],
)
@pytest.mark.parametrize("command", ["odkd-export", "odkd-report"])
def test_a_stored_config_refers_to_nothing(
    foreign: Path, key: str, value: Any, command: str, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "hunter2")
    (foreign / "config.yaml").write_text(
        yaml.safe_dump(put(yaml.safe_load((foreign / "config.yaml").read_text()), key.split("__"), value))
    )
    said = told(command, foreign) + "".join(capsys.readouterr())
    assert "config.yaml refers to" in said
    assert "hunter2" not in said + "".join(path.read_text(errors="replace") for path in foreign.glob("**/*.*"))


def put(settings: dict[str, Any], keys: list[str], value: Any) -> dict[str, Any]:
    *outer, last = keys
    inner = settings
    for key in outer:
        inner = inner[key]
    inner[last] = value
    return settings


def test_a_link_in_a_run_does_not_lead_its_stills_elsewhere(foreign: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (foreign / "stills").symlink_to(tmp_path / "victim")
    image_HWC, labels_HW = np.zeros((4, 6, 3), np.uint8), np.zeros((4, 6), np.uint8)
    frames = [(0, "", image_HWC, labels_HW, labels_HW)]
    with pytest.raises(ValueError, match="is a link"):
        write_stills(foreign, frames, classes=["a"], palette=[[0, 0, 0]])
    assert list((tmp_path / "victim").iterdir()) == []


@pytest.mark.parametrize("name", ["plots", "plots/miou.png"])
def test_a_link_in_a_run_does_not_lead_a_page_elsewhere(foreign: Path, tmp_path: Path, name: str, capsys: Any) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "miou.png").write_text("mine")
    shutil.rmtree(foreign / "plots", ignore_errors=True)
    (foreign / name).parent.mkdir(exist_ok=True)
    (foreign / name).symlink_to(victim / "miou.png" if name.endswith("png") else victim)
    change(foreign, run__plots=True)
    with pytest.raises(SystemExit) as ending:
        report([str(foreign)])
    assert ending.value.code == 1
    assert "is a link" in capsys.readouterr().err
    assert [path.name for path in victim.iterdir()] == ["miou.png"]
    assert (victim / "miou.png").read_text() == "mine"


def test_no_folder_that_only_a_run_names_is_written_to(foreign: Path, tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    change(foreign, paths__cache=str(victim / "cache"), dataset__prepare__folder=str(victim / "synthetic"))
    assert told("odkd-export", foreign) == ""
    assert list(victim.iterdir()) == []
    assert (tmp_path / "outputs" / "cache" / "synthetic").is_dir()


def test_a_link_in_a_run_does_not_lead_an_export_elsewhere(foreign: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "victim").mkdir()
    (foreign / "exported").symlink_to(tmp_path / "victim")
    assert told("odkd-export", foreign) == "refused"
    assert "is a link" in capsys.readouterr().err
    assert list((tmp_path / "victim").iterdir()) == []


@pytest.mark.slow
def test_runs_with_several_trackers_can_be_profiled(foreign: Path) -> None:
    change(foreign, tracking__tensorboard={"_target_": "odkd.runs.trackers.tensorboard.TensorBoard", "folder": None})
    assert told("odkd-profile", foreign) == ""


@pytest.mark.parametrize("bound", ["nan", "-0.1", "2", "inf"])
def test_a_bound_is_a_share(run: Path, bound: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        export([str(run), "--to", "torchscript", "--bound", bound])
    assert "expected a share, from 0 to 1" in capsys.readouterr().err


def test_sizes_beyond_memory_are_one_line(foreign: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(foreign, dataset__size=[10**9, 10**9])
    assert told("odkd-profile", foreign) == "refused"
    shown = capsys.readouterr().err
    assert "expected at most 8388608 pixels" in shown
    assert "Traceback" not in shown


def test_a_student_that_is_larger_than_its_weights_takes_no_memory(foreign: Path) -> None:
    need("segmentation_models_pytorch")
    student = dict(OmegaConf.load(foreign / "config.yaml").student)
    student.pop("dropout")
    large = {"_target_": "odkd.students.smp.SmpStudent", "arch": "FPN", "encoder": "resnet152"}
    change(foreign, student=student | large)
    with pytest.raises(ValueError, match="they do not belong together"):
        load_student(foreign)
