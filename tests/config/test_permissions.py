"""What a YAML file may not say, because it could have been written by somebody else."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from odkd.config.compose import compose_config
from odkd.config.permissions import check_words

FILE = "# @package _global_\n"
REFUSALS = ("the command", "is a key", "calls nothing", "more than a line", "may name launchers", "does not vary")
HARMFUL: list[dict[str, Any]] = [
    {"allow_targets": ["os"]},
    {"+allow_targets": ["os"]},
    {"teacher": {"trust": True}},
    {"teacher": {"members": {"a": {"trust": True}}}},
    {"teacher": {"members": {"a": {"members": {"b": {"trust": True}}}}}},
    {"hydra": {"callbacks": {"x": {"_target_": "os.system", "command": "touch x"}}}},
    {"hydra": {"run": {"dir": "/tmp/elsewhere"}}},
    {"hydra": {"job": {"env_set": {"PYTHONPATH": "/evil"}}}},
    {"hydra": {"job_logging": {"handlers": {"x": {"class": "logging.FileHandler", "filename": "x"}}}}},
    {"hydra": {"searchpath": ["file:///evil"]}},
    {"hydra": {"launcher": {"setup": ["touch x"]}}},
    {"hydra": {"launcher": {"address": "evil:6379"}}},
    {"hydra": {"launcher": {"_target_": "os.system"}}},
    {"hydra": {"launcher": {"sbatch": {"wrap": "touch x"}}}},
    {"hydra": {"launcher": {"sbatch": {"account": "me\ntouch x"}}}},
    {"hydra": {"sweeper": {"params": {"allow_targets": "[os]"}}}},
    {"hydra": {"sweeper": {"params": {"+teacher.trust": "true"}}}},
    {"hydra": {"sweeper": {"params": {"hydra.run.dir": "/tmp/elsewhere"}}}},
    {"hydra": {"sweeper": {"seeds": [{"_target_": "os.getcwd"}]}}},
    {"mine": {"trust": True}, "teacher": "${mine}"},
    {"mine": {"a": {"trust": True}}, "teacher": {"members": "${mine}"}},
    {"mine": {"_target_": "os.getcwd"}, "hydra": {"sweeper": {"max_batch_size": "${mine}"}}},
    {"mine": {"setup": ["touch x"]}, "hydra": {"launcher": "${mine}"}},
    {"mine": "a\ntouch x", "hydra": {"launcher": {"sbatch": {"comment": "${mine}"}}}},
    {"mine": {"allow_targets": "[os]"}, "hydra": {"sweeper": {"params": "${mine}"}}},
    {"hydra": {"sweeper": {"params": {"seed": "${oc.env:HOME}"}}}},
    *(
        {"hydra": {"sweeper": {"params": {key: "1"}}}}
        for key in ("allow_targets=[os],x", " allow_targets", "'allow_targets'", "teacher.trust=true,x", "a b")
    ),
    {"hydra": {"sweeper": {"params": {"x": True}}}, "teacher": "${oc.create:{trust: ${hydra:sweeper.params.x}}}"},
    {"teacher": {"trust": "${hydra:job.num}"}},
    {"teacher": {"trust": "${nowhere}"}},
    {"seed": "${..hydra.job.num}"},
    {"tracking": {"uri": "http://127.0.0.1:1/${oc.env:HOME}"}},
    {"dataset": {"classes": ["a", "${oc.env:HOME}"]}},
    {"mine": {"${oc.env:HOME}": 1}},
    {"mine": {"x": "${oc.decode:'1'}"}},
    {"mine": {"x": "$${seed}{oc.env:HOME}"}},
    {"hydra": {"sweeper": {"params": {"teacher.trust": False, "seed": "0,1"}}}},
    {"hydra": {"sweeper": {"params": {"seed": r"$\{oc.env\:HOME\}"}}}},
    {"hydra": {"launcher": {"gpus_per_node": "1\ntouch x #"}}},
    {"mine": {"a": "$", "b": "{oc.env:HOME}"}, "run": {"name": "${mine.a}${mine.b}"}},
    *({"mine": {name: {"trust": True}}, "teacher": {"members": "${mine}"}} for name in ("a[b]", "a.b", "a b", 5)),
    *({"teacher": {"members": {name: {"trust": True}}}} for name in ("a[b]", "a.b", "a b", 5)),
]


@pytest.mark.parametrize("content", HARMFUL, ids=str)
def test_a_study_gives_no_permission_and_changes_nothing_that_hydra_runs(
    content: dict[str, Any], tmp_path: Path
) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "theirs.yaml").write_text(FILE + yaml.safe_dump(content))
    with pytest.raises(ValueError, match="|".join(REFUSALS)):
        compose_config(["experiment=theirs"], str(tmp_path))


@pytest.mark.parametrize(
    ("group", "content"),
    [
        ("teacher", {"defaults": ["parts/common@_here_"], "trust": True}),
        ("hydra/launcher", {"_target_": "hydra_plugins.odkd_plugins.joblib_launcher.JoblibLauncher", "setup": ["x"]}),
        ("dataset", "# @package hydra.callbacks.x\n_target_: os.getcwd\n"),
    ],
)
def test_a_choice_of_any_group_gives_no_permission_either(group: str, content: Any, tmp_path: Path) -> None:
    (tmp_path / group).mkdir(parents=True)
    text = content if isinstance(content, str) else yaml.safe_dump(content)
    (tmp_path / group / "theirs.yaml").write_text(text)
    with pytest.raises(ValueError, match="command"):
        compose_config([f"{group}=theirs"], str(tmp_path))


def test_a_study_may_choose_launcher_sweeper_and_resources(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    (tmp_path / "experiment" / "ours.yaml").write_text(
        FILE
        + yaml.safe_dump(
            {
                "defaults": [{"override /hydra/launcher": "slurm"}],
                "hydra": {
                    "launcher": {"timeout_min": 5, "sbatch": {"partition": "gpu"}},
                    "sweeper": {"params": {"seed": "0,1"}},
                },
            }
        )
    )
    assert compose_config(["experiment=ours"], str(tmp_path)).seed == 0


@pytest.mark.parametrize(
    "text",
    [
        "defaults:\n  - /../../../../../../../../{there}/mine@_global_\n  - _self_\n",
        "defaults:\n  - optional /mine: ${{oc.env:HOME}}\n  - _self_\n",
        "defaults:\n  - override /teacher: ${{oc.env:HOME}}\n  - _self_\n",
        *(f"defaults:\n  - /mine/pw@{package}\n  - _self_\n" for package in ("hydra[job_logging]", "'[hydra].job'")),
    ],
)
def test_the_defaults_of_a_file_lead_nowhere_and_call_nothing(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "hunter2")
    for folder in ("experiment", "mine"):
        (tmp_path / folder).mkdir()
    (tmp_path / "mine.yaml").write_text("seed: 5\n")
    (tmp_path / "mine" / "pw.yaml").write_text("x: 1\n")
    (tmp_path / "experiment" / "theirs.yaml").write_text(FILE + text.format(there=str(tmp_path).lstrip("/")))
    with pytest.raises(Exception, match=r"without \.\.|names its choices|a package of a file") as found:
        compose_config(["experiment=theirs"], str(tmp_path))
    assert "hunter2" not in str(found.value)


def test_a_file_with_a_package_in_brackets_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pace").mkdir()
    (tmp_path / "pace" / "theirs.yaml").write_text("# @package hydra[job_logging]\nversion: 1\n")
    with pytest.raises(ValueError, match="a package of a file"):
        compose_config(["pace=theirs"], str(tmp_path))


def test_a_study_may_refer_to_other_settings_of_odkd(tmp_path: Path) -> None:
    (tmp_path / "experiment").mkdir()
    text = (
        FILE
        + "paths:\n  weights: ${paths.outputs}/weights\nwindow:\n  test: ${.learn}\nrun:\n  repeat: ${window.learn}\n"
    )
    (tmp_path / "experiment" / "ours.yaml").write_text(text)
    cfg = compose_config(["experiment=ours"], str(tmp_path))
    assert (cfg.paths.weights, cfg.window.test, cfg.run.repeat) == ("outputs/weights", 67, 67)


def test_the_command_may_call_what_it_likes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SCRATCH", "/somewhere")
    assert compose_config(["paths.outputs=${oc.env:SCRATCH}/odkd"]).paths.labels == "/somewhere/odkd/cache/labels"


def test_the_command_may_give_every_permission() -> None:
    assert compose_config(["allow_targets=[os]"]).allow_targets == ["os"]


@pytest.mark.parametrize(
    "word",
    [
        *("allow_targets=[os]", "+allow_targets=[os]", "hydra.run.dir=x", "hydra/launcher=slurm"),
        *("++teacher.trust=true", "++teacher.members.a.trust=true"),
        "teacher.members={a: {teacher: mmseg, trust: true}}",
    ],
)
def test_words_that_a_file_holds_give_no_permission(word: str) -> None:
    with pytest.raises(ValueError, match="a file may not say this"):
        check_words(["seed=1", word], "mine.yaml")


def test_words_that_a_file_holds_may_refer_and_call_nothing() -> None:
    check_words(["teacher.seed=${seed}"], "mine.yaml")
    with pytest.raises(ValueError, match="calls nothing"):
        check_words(["tracking.uri=http://x/${oc.env:HOME}"], "mine.yaml")
    with pytest.raises(ValueError, match="calls nothing"):
        check_words([r"tracking.experiment=$\{oc.env\:HOME\}"], "mine.yaml")
    for word in ("${oc.env:HOME}=1", " allow_targets=[os]", "'allow_targets'=[os]", "x y=1", "=1"):
        with pytest.raises(ValueError, match=r"a file may not say this|expected KEY=VALUE"):
            check_words([word], "mine.yaml")
