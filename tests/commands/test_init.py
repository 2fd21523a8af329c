"""`odkd-init`: a folder from which a paper starts, whose commands work as they are written."""

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from extras import need
from paths import ROOT

from odkd.commands.init import TEMPLATES, main, study_name
from odkd.config.compose import compose_table_config
from odkd.config.parts import Parts
from odkd.report.tables.spec import load_table

PROGRAMS = {
    "odkd": "odkd",
    "odkd-init": "odkd.commands.init",
    "odkd-tables": "odkd.report.tables.command",
    "odkd-figures": "odkd.report.tables.figures",
    "odkd-predict": "odkd.commands.predict",
}
Begin = Callable[..., str]


@pytest.fixture
def begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Begin:
    """Return a function that runs odkd-init in an empty folder and returns what it prints, errors too."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str, code: int = 0) -> str:
        if code:
            with pytest.raises(SystemExit) as ending:
                main(words)
            assert ending.value.code == code
        else:
            main(words)
        output = capsys.readouterr()
        return output.out + output.err

    return run


def test_a_name_that_is_no_text_ends_nothing(tmp_path: Path) -> None:
    """A name in another encoding is bytes that no output in UTF-8 spells; a terminal shows them written out."""
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:strict", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-X", "utf8", "-m", PROGRAMS["odkd-init"], os.fsdecode(b"caf\xe9 \x1b[31m")]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.startswith(rb"caf\udce9 \x1b[31m: ")
    (study,) = tmp_path.iterdir()
    assert (study / "README.md").is_file()


def test_a_study_has_everything_under_its_own_name(begin: Begin, tmp_path: Path) -> None:
    printed = begin("papers/Night drive!")
    study = tmp_path / "papers" / "Night drive!"
    assert "cd 'papers/Night drive!'" in printed
    files = {path.relative_to(study).as_posix() for path in study.rglob("*") if path.is_file()}
    assert files == {
        *("README.md", ".gitignore", "table.yaml", "tests/test_night_drive.py"),
        *(f"conf/{group}/night_drive.yaml" for group in ("experiment", "student", "replay")),
        *(f"night_drive/{name}.py" for name in ("__init__", "student", "replay")),
    }
    assert not any("my_study" in (study / name).read_text() for name in files)
    assert sorted(tmp_path.iterdir()) == [tmp_path / "papers"]
    assert sorted((tmp_path / "papers").iterdir()) == [study]


def test_the_experiment_of_a_study_is_complete(
    begin: Begin, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin("fog")
    monkeypatch.syspath_prepend(tmp_path / "fog")
    words = ["experiment=fog", "allow_targets=[fog]", "tracking=none", f"paths.cache={cache}"]
    parts = Parts(compose_table_config(words, str(tmp_path / "fog" / "conf")))
    assert type(parts.replay).__module__ == "fog.replay"
    assert sum(p.numel() for p in parts.learner.student.parameters()) > 10_000
    table = load_table(str(tmp_path / "fog" / "table.yaml"))
    assert [row.overrides for row in table.rows][-1] == ("replay=fog",)


def test_the_memory_of_a_study_keeps_its_promises(begin: Begin, tmp_path: Path) -> None:
    """Its own tests, in this process."""
    begin("mist")
    source = (tmp_path / "mist" / "mist" / "replay.py").read_text()
    test = (tmp_path / "mist" / "tests" / "test_mist.py").read_text()
    names: dict[str, object] = {}
    exec(source, names)
    exec(re.sub(r"^from (mist|odkd)\S* import .*$", "", test, flags=re.MULTILINE), names)
    for name in [name for name in names if name.startswith("test_") and "memory" in name]:
        names[name]()  # type: ignore[operator]
    assert sum("memory" in name for name in names) == 2


@pytest.mark.parametrize(
    ("title", "name"),
    [
        ("my-study", "my_study"),
        ("Étude №2", "etude_no2"),
        ("研究", "my_study"),
        ("3d", "study_3d"),
        ("class", "class_study"),
        ("json", "json_study"),
        ("numpy", "numpy_study"),
        ("odkd", "odkd_study"),
        ("tests", "tests_study"),
        ("null", "null_study"),
        ("tinynet", "tinynet_study"),
        ("mir", "mir_study"),
        ("../x'; rm -rf", "x_rm_rf"),
        ("a" * 300, "a" * 40),
    ],
)
def test_names_are_safe_for_python_yaml_and_the_shell(title: str, name: str) -> None:
    assert study_name(title) == name
    assert yaml.safe_load(name) == name
    assert name.isidentifier()


def test_nothing_is_written_into_a_folder_that_is_in_use(begin: Begin, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "thesis.tex").touch()
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert begin("used", code=2) == "odkd-init: used is not empty (thesis.tex ...); name a new folder\n"
    assert begin("file", code=2) == "odkd-init: file is a file; name a new folder\n"
    assert "link" in begin("link", code=2)
    assert {path.name for path in tmp_path.rglob("*")} == {"used", "thesis.tex", "file", "link"}


def test_an_empty_folder_may_be_the_current_one(begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "haze").mkdir()
    monkeypatch.chdir(tmp_path / "haze")
    begin(".")
    assert (tmp_path / "haze" / "haze" / "student.py").is_file()


def test_templates_belong_to_the_package() -> None:
    """Hatch puts all files below odkd/ into the wheel that git does not ignore."""
    tracked = subprocess.run(
        ["git", "check-ignore", *map(str, TEMPLATES.rglob("*.in"))], cwd=ROOT, capture_output=True, text=True
    )
    assert tracked.stdout == ""
    assert len(list(TEMPLATES.rglob("*.in"))) == 10


@pytest.mark.slow
@pytest.mark.timeout(900)  # eight runs, each a process of its own or a job of a sweep
def test_every_command_of_the_readme_works_as_written(tmp_path: Path) -> None:
    """Everything is run in the order of the page, from odkd-init on, as by somebody who pastes it."""
    need("mlflow")
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, module in PROGRAMS.items():
        (programs / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {module} "$@"\n')
        (programs / name).chmod(0o755)
    (programs / "python").write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    (programs / "python").chmod(0o755)
    environment = os.environ | {"PATH": f"{programs}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}

    def paste(commands: str, folder: Path) -> None:
        done = subprocess.run(
            ["bash", "-e", "-c", commands], cwd=folder, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{commands}\n{done.stdout}\n{done.stderr}"

    paste("odkd-init fog", tmp_path)
    study = tmp_path / "fog"
    blocks = re.findall(r"^```sh\n(.*?)^```", (study / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert sum(block.count("\n") for block in blocks) == 7
    for block in blocks:
        paste(block, study)
    assert len(list((study / "outputs" / "runs").glob("first-*"))) == 1
    assert (study / "predicted" / "00_city.mp4").is_file()
    assert "Ours" in (study / "table.tex").read_text()
    assert list((study / "outputs" / "figures").glob("*.pdf"))


def test_the_home_of_nobody_is_one_line(begin: Begin, tmp_path: Path) -> None:
    (line,) = begin("~nobody-here/study", code=2).splitlines()
    assert line.startswith("odkd-init: ~nobody-here/study: ")
    assert not list(tmp_path.iterdir())
    begin("./~nobody-here")
    assert (tmp_path / "~nobody-here" / "README.md").is_file()
