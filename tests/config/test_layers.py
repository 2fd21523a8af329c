"""What is typed counts: groups and keys on the command line beside experiments, baselines, sweeps and debug files."""

import functools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.errors import HydraException
from omegaconf import OmegaConf
from samples import one_of

from odkd.common.dotted import flatten
from odkd.config.compose import compose_config
from odkd.config.known import CONF, STUDIES
from odkd.config.loader import left_out_by


def choices_of(group: str) -> list[str]:
    paths = sorted(path.relative_to(CONF / group).with_suffix("") for path in (CONF / group).rglob("*.yaml"))
    return [path.as_posix() for path in paths if "parts" not in path.parts]


GROUPS = {path.name: choices_of(path.name) for path in sorted(CONF.iterdir()) if path.is_dir()}
GROUPS |= {group: choices_of(group) for group in ("hydra/launcher", "hydra/sweeper")}
PARTS = [group for group in GROUPS if group not in (*STUDIES, "hydra")]  # groups that a study may choose from and set
COMMANDS = [[f"{study}={name}"] for study in STUDIES if study != "baseline" for name in GROUPS[study]]
COMMANDS += [[f"experiment={name}", "debug=smoke"] for name in GROUPS["experiment"]]


@pytest.fixture(autouse=True)
def hydra() -> Iterator[None]:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        yield


def composed(words: list[str]) -> Any:
    """Return the config of a command as plain Python, without what the sweeper varies."""
    return composed_once(tuple(words))


@functools.cache
def composed_once(words: tuple[str, ...]) -> Any:
    config: Any = OmegaConf.to_container(compose("config", list(words), return_hydra_config=True))
    del config["hydra"]["sweeper"]["params"]
    return {**config, "hydra/launcher": config["hydra"]["launcher"], "hydra/sweeper": config["hydra"]["sweeper"]}


def row(number: int) -> dict[str, str]:
    """Return a choice of each group."""
    return {group: GROUPS[group][number % len(GROUPS[group])] for group in PARTS}


@functools.cache
def alone(number: int) -> Any:
    """Return what the choices of a row are without a study."""
    return composed([f"{group}={choice}" for group, choice in row(number).items()])


def check_rows(command: list[str], numbers: list[int]) -> None:
    for number in numbers:
        found = composed([*command, *(f"{group}={choice}" for group, choice in row(number).items())])
        for group, choice in row(number).items():
            assert found[group] == alone(number)[group], (command, f"{group}={choice}")


LONGEST = max(len(GROUPS[group]) for group in PARTS)
LIKE_OTHERS = ("arthus2019/v", "houyon2023/", "houyon2023_released/memory", "mckd/co")  # tested in the slow suite
SAMPLE = 5  # rows in the default suite


@pytest.mark.parametrize("study", [study for study in STUDIES if study != "baseline"])
def test_a_typed_choice_is_as_its_file_has_it_beside_a_study(study: str) -> None:
    """A study beside one choice of every group; the slow test has all studies and choices, and debug=smoke besides."""
    for number, name in enumerate(name for name in GROUPS[study] if not name.startswith(LIKE_OTHERS)):
        check_rows([f"{study}={name}"], [number % SAMPLE])


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(COMMANDS)), ids=lambda number: " ".join(COMMANDS[number]))
def test_every_choice_of_every_group_is_as_its_file_has_it_beside_every_study(number: int) -> None:
    """Each study beside all rows; with debug=smoke besides, beside a third of them."""
    is_alone = len(COMMANDS[number]) == 1
    check_rows(COMMANDS[number], list(range(LONGEST) if is_alone else range(number % 3, LONGEST, 3)))


@pytest.mark.parametrize("name", one_of(4, GROUPS["baseline"]))
def test_a_choice_typed_beside_a_baseline_is_taken_with_the_baseline_or_refused(name: str) -> None:
    own: Any = OmegaConf.to_container(OmegaConf.load(CONF / "baseline" / f"{name}.yaml"))
    (replay,) = (item["override /replay"] for item in own.pop("defaults"))
    choices = {"replay": ["first", "nothing"], "stage": ["label", "mckd", "online"], "evaluation": ["default"]}
    for group, sample in choices.items():
        for choice in sample:
            typed, keys = f"{group}={choice}", own.get(group, {})
            if group == "replay" and choice != replay:
                with pytest.raises(HydraException, match=rf"^baseline={name} needs replay={replay}, and {typed} is"):
                    composed([typed, f"baseline={name}"])
            elif keys and not keys.keys() <= composed([typed])[group].keys():
                with pytest.raises(
                    HydraException, match=rf"^baseline={name} sets .* which {typed} does not have; leave"
                ):
                    composed([typed, f"baseline={name}"])
            else:
                assert composed([typed, f"baseline={name}"])[group] == composed([typed])[group] | keys


def test_a_baseline_counts_beside_an_experiment_that_chooses_otherwise() -> None:
    found = composed(["experiment=houyon2023_released/mir_ace", "baseline=frozen"])
    assert found["replay"] == composed(["replay=nothing"])["replay"]
    assert found["stage"]["order"] == "paired_apart"
    with pytest.raises(HydraException, match=r"sets stage.pretrain_positions, which stage=mckd does not have"):
        composed(["experiment=mckd/synthetic", "baseline=everything"])


def value_of(config: Any, key: str) -> Any:
    return functools.reduce(lambda node, name: node[name], key.split("."), config)


def another(value: Any) -> Any:
    """Return another value of the same type."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return value + 1
    is_plain = isinstance(value, list) and not any(isinstance(item, dict) for item in value)
    return [*value, value[0]] if is_plain else [] if isinstance(value, list) else "typed"


STUDY_FILES = [f"{study}={name}" for study in ("debug", "experiment") for name in GROUPS[study]]
WITH_MARKS = [(study, [] if number % 3 == 0 else [pytest.mark.slow]) for number, study in enumerate(STUDY_FILES)]


@pytest.mark.parametrize(
    "study",
    [
        pytest.param(study, marks=[pytest.mark.slow] if study.partition("=")[2].startswith(LIKE_OTHERS) else marks)
        for study, marks in WITH_MARKS
    ],
)
def test_every_key_that_a_study_sets_has_the_value_that_is_typed(study: str) -> None:
    before, config = (
        {key: value for key, value in composed(words).items() if "hydra" not in key} for words in ([], [study])
    )
    plain = flatten(before)
    keys = [
        key
        for key, value in flatten(config).items()
        if plain.get(key) != value and re.fullmatch(r"[a-z_]\w*(\.[a-z_]\w*)*", key)
    ]
    typed = {key: another(value_of(config, key)) for key in keys}
    found = composed([study, *(f"{key}={value}" for key, value in typed.items())])
    assert keys
    assert {key: value_of(found, key) for key in keys} == typed


def left_out(words: list[str]) -> list[str]:
    compose("config", words)
    return left_out_by(GlobalHydra.instance().config_loader(), is_sweep=False)


def test_what_is_left_out_of_a_study_is_said_where_the_choice_has_the_key() -> None:
    assert left_out(["debug=smoke", "window=standard"]) == [
        "window=standard is as its file has it, without window.learn, window.test, window.step of debug=smoke; "
        "give those that you want to keep"
    ]
    assert left_out(["debug=smoke", "window.learn=9", "replay=mir"]) == []
    assert left_out(["experiment=recommended/camvid_imagenet", "dataset.root=x"]) == []  # it sets student.ema itself
    assert left_out(["experiment=mckd/synthetic", "teacher=pspnet"]) == []  # label_noise is not a key of pspnet
    (line,) = left_out(["experiment=mckd/coco", "schedule=none"])
    assert "without schedule.milestones of experiment=mckd/coco" in line
    (line,) = left_out(["experiment=mckd/camvid", "debug=smoke"])
    assert line.startswith(
        "dataset=synthetic_tiny is as its file has it, without dataset.size of experiment=mckd/camvid"
    )


@pytest.fixture
def own(tmp_path: Path) -> str:
    """A user's folder of YAML files: an experiment that builds on one of odkd's, and one without its first line."""
    for name, text in {
        "experiment/mine": "# @package _global_\ndefaults:\n  - camvid_online@_global_\n  - override /teacher: mine\n"
        "teacher:\n  shade: dark\nstudent:\n  dropout: 0.5\nextra:\n  depth: 3\n",
        "experiment/placed": "seed: 3\n",
        "teacher/mine": "defaults: [parts/common@_here_, _self_]\n_target_: mine.Mine\nname: mine\nshade: light\n",
        "teacher/other": "_target_: mine.Other\nname: other\nshade: none\n",
        "student/mine": "_target_: mine.Net\nname: net\n",
    }.items():
        path = tmp_path / f"{name}.yaml"
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return str(tmp_path)


def test_layers_hold_for_experiments_and_groups_of_ones_own(own: str) -> None:
    built_on = compose_config(["experiment=mine"], own)
    assert (built_on.teacher.name, built_on.teacher.shade, built_on.dataset.name) == ("mine", "dark", "camvid")
    assert "checkpoint" not in built_on.teacher  # of the experiment that it builds on, which chooses another teacher
    assert built_on.teacher.licence is None
    typed = compose_config(["experiment=mine", "teacher=other", "student=mine"], own)
    assert typed.teacher == {"_target_": "mine.Other", "name": "other", "shade": "none"}
    of_every = {"ema": None, "rates": None, "saved": "ema", "statistics": "own"}
    assert typed.student == {"_target_": "mine.Net", "name": "net", **of_every}
    assert typed.extra.depth == 3


def test_a_study_without_its_first_line_is_a_mistake(own: str) -> None:
    with pytest.raises(
        HydraException, match=r"^experiment/placed.yaml sets keys below experiment., where nothing reads"
    ):
        compose_config(["experiment=placed"], own)


def test_a_deleted_group_keeps_nothing_of_a_study() -> None:
    assert "schedule" not in composed(["experiment=mckd/coco", "~schedule"])
