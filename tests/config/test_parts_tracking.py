"""The trackers of a config: lists of them, a user's own, and what is refused."""

import json
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from tiny_settings import TINY

from odkd.commands.job import run_job
from odkd.config.check import check_config
from odkd.config.compose import complete, compose_config
from odkd.config.parts import Parts
from odkd.config.parts_tracking import tracking_of
from odkd.runs.results import read_run

WORDS = [word for word in TINY if not word.startswith("tracking")]
OWN = '''
import json
from odkd.common.files import write_json
from odkd.runs.results import read_run


class Lines:
    """A file for each run with the numbers of each iteration, written anew in each pass."""

    def __init__(self, *, folder: str) -> None:
        from pathlib import Path

        self.folder = Path(folder)
        self.place = f"files in {folder}"

    def sync(self, folder, *, is_last, sent):
        run = read_run(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / f"{folder.name}.json", {line["iteration"]: line["metrics"] for line in run.metrics})
        return len(run.metrics)

    def is_complete(self, folder):
        return False

    def forget(self, folder):
        (self.folder / f"{folder.name}.json").unlink(missing_ok=True)


class NoTracker:
    pass
'''


@pytest.fixture
def own_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of YAML files with a tracker of the user's own, in a module beside it."""
    (tmp_path / "my_trackers.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_trackers", raising=False)
    (tmp_path / "conf" / "tracking").mkdir(parents=True)
    for name, target in (("lines", "Lines"), ("wrong", "NoTracker")):
        settings = f"  folder: {tmp_path / 'lines'}\n" if name == "lines" else ""
        text = f"defaults: [parts/common@_here_, _self_]\n{name}:\n  _target_: my_trackers.{target}\n{settings}"
        (tmp_path / "conf" / "tracking" / f"{name}.yaml").write_text(text)
    return tmp_path / "conf"


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("tracking=mlflow", ["mlflow"]),
        ("tracking=none", []),
        ("tracking=tensorboard", ["tensorboard"]),
        ("tracking=[mlflow,tensorboard,wandb]", ["mlflow", "tensorboard", "wandb"]),
        ("tracking=[tensorboard, mlflow.yaml]", ["mlflow", "tensorboard"]),
    ],
)
def test_a_command_names_one_tracker_or_several(word: str, expected: list[str]) -> None:
    cfg = complete(compose_config([*WORDS, word, "tracking.seconds=3"]))
    check_config(cfg)
    tracking = tracking_of(cfg)
    assert list(tracking.trackers) == expected
    assert tracking.seconds == 3 or not expected


@pytest.mark.parametrize("word", ["tracking=[none,tensorboard]", "tracking=[mlflow, none]", "tracking=[]"])
def test_none_in_a_list_of_trackers_is_refused(word: str) -> None:
    with pytest.raises(ValueError, match="tracking=none means no tracker"):
        compose_config([word])


def test_a_file_of_before_that_knows_mlflow_only_still_works(tmp_path: Path) -> None:
    (tmp_path / "tracking").mkdir()
    text = (
        "enabled: true\nuri: http://lab:5000\nexperiment: lab\nseconds: 5.0\nclose_seconds: 6.0\nsystem_seconds: null\n"
    )
    (tmp_path / "tracking" / "lab.yaml").write_text(text)
    tracking = tracking_of(complete(compose_config(["tracking=lab"], str(tmp_path))))
    assert [tracker.place for tracker in tracking.trackers.values()] == ["MLflow at http://lab:5000"]
    assert tracking.wait_seconds(briefly=False) == 6


def test_trackers_are_no_part_of_a_runs_key(own_dir: Path, cache: Path) -> None:
    words = [*WORDS, "allow_targets=[my_trackers]", f"paths.outputs={cache}", f"paths.cache={cache}"]
    keys = {
        Parts(compose_config([*words, f"tracking={choice}"], str(own_dir))).key
        for choice in ("none", "mlflow", "[mlflow,tensorboard]", "lines")
    }
    assert len(keys) == 1


@pytest.mark.slow
def test_an_own_tracker_follows_a_run_when_the_command_allows_it(own_dir: Path, cache: Path) -> None:
    cfg = compose_config([*WORDS, "tracking=lines"], str(own_dir))
    with pytest.raises(ValueError, match=r"add 'allow_targets=\[my_trackers\]'"):
        check_config(complete(cfg))
    words = [f"paths.outputs={own_dir.parent}", f"paths.cache={cache}", "allow_targets=[my_trackers]"]
    cfg = compose_config([*WORDS, *words, "tracking=lines"], str(own_dir))
    run_job(cfg)
    run = Parts(cfg).folder
    found = json.loads((own_dir.parent / "lines" / f"{run.name}.json").read_text())
    expected = {str(line["iteration"]): line["metrics"] for line in read_run(run).metrics}
    assert found == expected


def test_a_class_that_is_no_tracker_is_one_message(own_dir: Path) -> None:
    cfg = complete(compose_config([*WORDS, "tracking=wrong", "allow_targets=[my_trackers]"], str(own_dir)))
    with pytest.raises(ValueError, match=r"tracking\.wrong\._target_=.*has no .*sync.*; a tracking needs"):
        check_config(cfg)


@pytest.mark.parametrize("target", ["os.system", "odkd.teachers.oracle.Oracle", "torch.nn.Identity"])
def test_a_file_may_name_no_other_class_as_a_tracker(target: str) -> None:
    cfg = complete(compose_config([*WORDS, "tracking=tensorboard"]))
    OmegaConf.update(cfg, "tracking.tensorboard", {"_target_": target}, merge=False)
    with pytest.raises(ValueError, match=r"tracking\.tensorboard\._target_"):
        check_config(cfg)


@pytest.mark.parametrize("library", ["tensorboard", "wandb"])
def test_a_missing_library_is_one_line_that_says_what_to_install(library: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, library, None)
    cfg = complete(compose_config([*WORDS, f"tracking=[mlflow,{library}]"]))
    with pytest.raises(ValueError, match=rf"tracking={library} needs {library}.*pip install 'odkd\[{library}\]'"):
        check_config(cfg)


def test_a_study_may_choose_several_trackers_and_a_command_others(own_dir: Path) -> None:
    (own_dir / "experiment").mkdir()
    study = "# @package _global_\n# odkd\ndefaults:\n  - override /tracking: [mlflow, tensorboard]\n"
    (own_dir / "experiment" / "lab.yaml").write_text(f"{study}tracking:\n  experiment: lab\n")
    chosen = tracking_of(complete(compose_config(["experiment=lab"], str(own_dir))))
    assert list(chosen.trackers) == ["mlflow", "tensorboard"]
    cfg = complete(compose_config(["experiment=lab", "tracking=[wandb,tensorboard]"], str(own_dir)))
    assert list(tracking_of(cfg).trackers) == ["wandb", "tensorboard"]
