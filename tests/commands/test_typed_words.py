"""The command line as people type it: whatever is wrong in it is one line, and leaves no run."""

import importlib.metadata
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from paths import ROOT
from typed_command import CHEAP, refusal

from odkd.config.check import check_config
from odkd.config.compose import complete, compose_config

COMMANDS = {
    "odkd": "odkd",
    "odkd-labels": "odkd.commands.labels",
    "odkd-sync": "odkd.commands.sync",
    "odkd-report": "odkd.commands.report",
    "odkd-tables": "odkd.report.tables.command",
    "odkd-figures": "odkd.report.tables.figures",
    "odkd-prepare": "odkd.commands.prepare",
    "odkd-predict": "odkd.commands.predict",
    "odkd-export": "odkd.commands.export",
    "odkd-init": "odkd.commands.init",
    "odkd-profile": "odkd.commands.profile",
    "odkd-doctor": "odkd.commands.doctor",
}


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--config-dir=~nobody-here/conf"], "a path that really begins with ~ is written ./~"),
        (["dataset.root=~nobody-here/x"], "a path that really begins with ~ is written ./~"),
        (["--seed", "3"], "--seed: settings have no dashes; write seed=3"),
        (["-seed=3"], "write seed=3"),
        (["--dataset.root=x"], "write dataset.root=x"),
        (["—seed", "3"], "write seed=3"),
        (["——help"], "the option is --help"),
        (["--verbos"], "did you mean --version?"),
        (["--multirun=seed=0,1"], "ignored explicit argument"),
        (["--config-dir"], "expected one argument"),
        (["--config-name", "x"], "an option of Hydra that odkd does not have"),
        (["seed=3", "--config-dir", "~/nowhere", "seed=4"], "/nowhere' not found"),
        (["TEACHER=oracle"], "did you mean teacher?"),
        (["+replay=uniform"], "write replay=NAME once, without +"),
        (["+seed=3"], "write seed=VALUE without +"),
        (["replay=fifo,uniform"], "several values are a sweep, which begins with  odkd -m"),
        (["dataset.size=32,48"], "a list is [32,48]"),
        (["window={lern: 20}"], "window.lern; did you mean window.learn?"),
        (["window=20"], "there is no window=20 (known: "),
        (["debug=true"], "there is no debug=true (known: smoke)"),
        (["replay=null"], "there is no replay=null (known: "),
        (["run=x"], "run=x; expected settings of this table"),
        (["~seed"], "seed is missing, and every run needs it"),
        (["seed=${foo}"], "seed: there is no setting foo to take the value from"),
        (["seed=1e-3"], "seed=0.001; expected a whole number"),
        (["window.learn='20'"], "window.learn='20' (a text, in quotes); expected a whole number"),
        (["compile=yes"], "expected true or false"),
        (["dataset.size=(360,640)"], "expected [height, width]"),
        (["dataset.domains=null"], "expected {pattern of video names: domain}"),
        (["dataset.domains=night"], "expected {pattern of video names: domain}"),
        (["dataset.domains=[a]"], "does not fit this setting"),
    ],
)
def test_a_slip_is_one_line_that_helps(tmp_path: Path, words: list[str], expected: str) -> None:
    assert expected in refusal(tmp_path, *CHEAP, *words)


@pytest.mark.parametrize("setting", ["run.name", "stage.name", "dataset.name", "teacher.name", "student.name"])
def test_a_name_that_no_folder_can_have_is_one_line(setting: str) -> None:
    cfg = complete(compose_config(CHEAP))
    for name in ("x" * 300, "é" * 150, "a/b", "a\nb", "a🎉", ".a", "-a", "", True, 1e3, "a:b"):
        OmegaConf.update(cfg, setting, name)
        with pytest.raises(ValueError, match=r"expected a plain folder name|is too long") as refused:
            check_config(cfg)
        assert "\n" not in str(refused.value)
    for name in ("x" * 40, "übung 1", "v1.0-b_c+d"):
        OmegaConf.update(cfg, setting, name)
        check_config(cfg)


def run(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    command = [sys.executable, "-m", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("module", COMMANDS.values(), ids=COMMANDS)
def test_each_command_prints_the_version_of_odkd(tmp_path: Path, module: str) -> None:
    done = run(tmp_path, module, "--version")
    assert (done.stdout, done.returncode) == (f"odkd {importlib.metadata.version('odkd')}\n", 0)


def test_every_command_of_the_package_is_asked_for_its_version() -> None:
    scripts = (ROOT / "pyproject.toml").read_text().partition("[project.scripts]")[2].partition("\n[")[0]
    assert set(re.findall(r"^([\w-]+) =", scripts, re.MULTILINE)) == COMMANDS.keys()


def test_help_says_where_yaml_files_lie_and_names_no_parts(tmp_path: Path) -> None:
    (tmp_path / "my_conf" / "replay").mkdir(parents=True)
    (tmp_path / "my_conf" / "replay" / "mine.yaml").write_text("_target_: mine.Mine\n")
    text = run(tmp_path, "odkd", "--config-dir", "my_conf", "--help").stdout
    assert str(ROOT / "conf") in text
    assert "odkd --config-dir my_conf GROUP=NAME" in text
    assert re.search(r"^replay: .*fifo, .*mine$", text, re.MULTILINE)
    assert "parts" not in text
    assert "$" not in text.replace('"$(odkd', "")


def test_options_may_stand_between_settings(tmp_path: Path) -> None:
    done = run(tmp_path, "odkd", "seed=3", "--cfg", "job", "window.learn=4")
    assert done.returncode == 0
    assert "seed: 3" in done.stdout
    assert "learn: 4" in done.stdout


@pytest.mark.slow
def test_a_word_that_a_later_one_replaces_is_named(tmp_path: Path) -> None:
    done = run(tmp_path, "odkd", *CHEAP, "replay=fifo", "replay=mir", "seed=1", "seed=1", "teacher=folder")
    assert "replay=fifo does not count: replay=mir follows\n" in done.stderr
    assert "seed=1 does" not in done.stderr
