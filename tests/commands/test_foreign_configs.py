"""The config of a run may come from anywhere: what is decoded for it stays in a cache, and what it says is checked."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from odkd.commands.export import main as export
from odkd.commands.predict import main as predict
from odkd.config import stored_parts
from odkd.config.segmenter import load_student
from odkd.config.stored_parts import parts_of_run


def copied(run: Path, outputs: Path, **settings: Any) -> Path:
    """Return a copy of a run, without the digests of its files, whose config has other settings."""
    folder = Path(shutil.copytree(run, outputs / "runs" / run.name))
    record = json.loads((folder / "run.json").read_text())
    (folder / "run.json").write_text(json.dumps({k: v for k, v in record.items() if k not in ("files", "sha256")}))
    cfg = OmegaConf.load(folder / "config.yaml")
    for key, value in settings.items():
        OmegaConf.update(cfg, key.replace("__", "."), value, merge=False, force_add=True)
    OmegaConf.save(cfg, folder / "config.yaml")
    return folder


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("folder", ["x/..", "/", "x/labels"])
def test_videos_are_rendered_in_one_folder_of_the_cache_whatever_a_run_calls_it(
    run: Path, tmp_path: Path, folder: str
) -> None:
    precious = [tmp_path / name / "precious" for name in ("outputs/camvid.building", "outputs/cache/mine.building")]
    for path in precious:
        path.parent.mkdir(parents=True)
        path.touch()
    root = parts_of_run(copied(run, tmp_path / "outputs", dataset__prepare__folder=folder)).stream_parts.root
    assert root.parent == tmp_path / "outputs" / "cache" / "synthetic"
    assert all(path.is_file() for path in precious)
    assert {path.name for path in (tmp_path / "outputs").iterdir()} == {"cache", "camvid.building", "runs"}


@pytest.mark.parametrize("link", ["cache", "cache/synthetic", "cache/frames/x"])
def test_a_link_in_the_cache_of_other_outputs_is_not_followed(
    run: Path, tmp_path: Path, link: str, caplog: pytest.LogCaptureFixture
) -> None:
    victim, outputs = tmp_path / "victim", tmp_path / "downloaded" / "outputs"
    victim.mkdir()
    (outputs / link).parent.mkdir(parents=True)
    (outputs / link).symlink_to(victim)
    parts = parts_of_run(copied(run, outputs, paths__cache="/nope"))
    assert parts.cache == tmp_path / "outputs" / "cache"
    assert "is a link, and would lead elsewhere" in caplog.text
    assert not list(victim.iterdir())


def test_a_plain_cache_of_other_outputs_and_a_linked_one_of_the_own_are_used(run: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "downloaded" / "outputs"
    (theirs / "cache" / "frames").mkdir(parents=True)
    assert parts_of_run(copied(run, theirs, paths__cache="/nope")).cache == theirs / "cache"
    (tmp_path / "large disk").mkdir()
    own = copied(run, tmp_path / "outputs", paths__cache="outputs/cache")
    (tmp_path / "outputs" / "cache").symlink_to(tmp_path / "large disk")
    assert parts_of_run(own).cache == tmp_path / "large disk"


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"height": 2048, "width": 2048, "period_seconds": 1e5}, "which are not in"),
        ({"height": 60000, "width": 80}, "16384 a side"),
    ],
)
def test_what_would_render_for_hours_is_refused_with_advice(
    run: Path, tmp_path: Path, settings: dict[str, float], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    changes = {f"dataset__prepare__{key}": value for key, value in settings.items()}
    foreign = copied(run, tmp_path / "outputs", **changes)
    with pytest.raises(SystemExit) as ended:
        export([str(foreign), "--to", "torchscript"])
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert ended.value.code == 2
    assert says in line
    assert line.endswith("give others with --frames SOURCE")
    assert not (tmp_path / "outputs" / "cache" / "synthetic").exists()


def test_what_is_rendered_already_has_any_size(run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    foreign = copied(run, tmp_path / "outputs")
    root = parts_of_run(foreign).stream_parts.root
    monkeypatch.setattr(stored_parts, "MOST_RENDERED", 1)
    assert parts_of_run(foreign).stream_parts.root == root
    shutil.rmtree(root)
    with pytest.raises(ValueError, match="expected at most 1 pixels in all to render"):
        parts_of_run(foreign)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("dataset__size", [4096, 2050], "expected at most 8388608 pixels"),
        ("student__std", [0.0, 0.0, 0.0], "std above 0"),
        ("student__std", [0.2, 0.2, 0.2], "go together"),
        ("student__mean", [0.5, 0.5], "expected three numbers"),
        ("student__mean", [0.5] * 6, "expected three numbers"),
        ("student__mean", [[0.1], [0.2], [0.3]], "expected three numbers"),
        ("student__mean", "abc", "expected three numbers"),
        ("student__statistics", "odd", "expected one of own"),
        ("dataset__palette", [[300, -3, 9]] * 11, "expected 11 colours"),
        ("dataset__palette", [[1, 2, 3]], "expected 11 colours"),
        ("dataset__classes", ["a"] * 11, "more than once"),
        ("dataset__classes", [f"class {number}" for number in range(181)], "expected 2 to 180"),
        ("dataset__classes", ["\x1b[31mroad", *"bcdefghijk"], "words of printable letters"),
    ],
)
def test_what_gives_a_student_its_meaning_is_checked_as_in_a_new_run(
    run: Path, tmp_path: Path, key: str, value: Any, says: str
) -> None:
    foreign = copied(run, tmp_path / "outputs", **{key: value})
    with pytest.raises(ValueError, match=r"config\.yaml is damaged") as refused:
        load_student(foreign, device="cpu")
    assert says in str(refused.value)
    assert str(refused.value).isprintable()


def test_a_student_without_a_mean_is_one_line(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    foreign = copied(run, tmp_path / "outputs")
    cfg = OmegaConf.load(foreign / "config.yaml")
    del cfg.student["mean"]
    OmegaConf.save(cfg, foreign / "config.yaml")
    (tmp_path / "a.png").touch()
    with pytest.raises(SystemExit):
        predict([str(foreign), "a.png", "--to", "out"])
    assert "it has no student.mean" in capsys.readouterr().err.strip().splitlines()[-1]
