"""Every setting of every group has a type, and a value of another type is one message."""

import math
from typing import Any

import pytest
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from odkd.__main__ import user_message
from odkd.common.settings import parameter_types
from odkd.config.check import PATHS, check_config
from odkd.config.compose import complete, compose_config, default_config
from odkd.config.construct import resolve
from odkd.config.known import NAMES, known_groups
from odkd.config.roles import class_nodes
from odkd.config.schema import SETTINGS, check_values

CHECKED_APART = (  # by functions of config/check*.py
    *NAMES,
    *(f"paths.{name}" for name in PATHS),
    *("allow_targets", "dataset.root", "dataset.prepare", "dataset.classes", "dataset.domains", "dataset.groundtruth"),
    *("dataset.order", "dataset.splits", "dataset.pictures", "dataset.collections", "dataset.ids", "teacher.label_set"),
    *("dataset.size", "teacher.size", "teacher.soft.size", "teacher.classes", "teacher.mean", "teacher.std"),
    *("student.mean", "student.std", "features.pairs"),
)
GROUPS = ("dataset", "teacher", "student", "window", "stage", "replay", "regularizer", "loss", "schedule", "evaluation")
GROUPS += ("tracking", "updates", "pace", "timing")


def keys_of(value: Any, prefix: str = "") -> list[str]:
    if not isinstance(value, dict) or not value:
        return [prefix.rstrip(".")]
    return [key for name, inner in value.items() for key in keys_of(inner, f"{prefix}{name}.")]


def is_typed(key: str, nodes: dict[str, Any]) -> bool:
    if key in SETTINGS or any(f"{key}.".startswith(f"{known}.") for known in CHECKED_APART):
        return True
    place = max((place for place in nodes if key.startswith(f"{place}.")), key=len, default=None)
    if place is None:
        return False
    name = key.removeprefix(f"{place}.").split(".")[0]
    target = nodes[place]["_target_"]
    return name == "_target_" or name in parameter_types(resolve(target, [], place)) or target.startswith("torch.")


@pytest.mark.parametrize("group", GROUPS)
def test_each_setting_of_each_choice_of_a_group_is_typed(group: str) -> None:
    choices = [choice for choice in known_groups()[group] if group not in ("teacher",) or "/" not in choice]
    untyped = set()
    for choice in choices[:: 1 if len(choices) < 12 else 4]:
        cfg = OmegaConf.to_container(complete(compose_config([f"{group}={choice}"])))
        assert isinstance(cfg, dict)
        cfg.pop("hydra", None)
        nodes = dict(class_nodes(cfg))
        untyped |= {key for key in keys_of(cfg) if not is_typed(key, nodes)}
    assert not untyped


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("seed", None), ("device", 0.5), ("threads", 1_000_000), ("optimizer.lr", 1e300), ("optimizer.lr", math.nan)),
        *(("dataset.name", None), ("dataset.name", "a" * 300), ("window", 5), ("bank", 5), ("dataset.prepare", 5)),
        *(("dataset.size", [1e9, 1e9]), ("dataset.size", [10**6, 10**6]), ("seed", 10**30), ("dataset.palette", 5)),
        *(
            ("dataset.groundtruth_classes", [1]),
            ("student.weights", "a" * 300),
            ("student.weights", "\0"),
            ("run", [1]),
        ),
        *(("tracking.uri", 5), ("sweep.job", "x"), ("dataset.classes", ["a\nb", "c"]), ("teacher.source", [1])),
    ],
)
def test_a_value_that_does_not_fit_is_one_message(key: str, value: object) -> None:
    cfg = default_config()
    OmegaConf.set_struct(cfg, False)
    OmegaConf.update(cfg, key, value, merge=False)
    with pytest.raises(ValueError, match=key.split(".", maxsplit=1)[0]) as caught:
        check_config(complete(cfg))
    assert "\n" not in str(caught.value)


def test_numbers_are_finite_and_texts_could_be_names() -> None:
    check_values({"a": [1, 2.5, "x", None, True]})
    for wrong in (math.inf, -1e31, 2**63, "a\0", "a" * 5000):
        with pytest.raises(ValueError, match=r"a\.b"):
            check_values({"a": {"b": [wrong]}})


def test_names_that_yaml_reads_as_numbers_are_texts() -> None:
    cfg = complete(compose_config([*(f"{key}={number}" for number, key in enumerate(NAMES)), "teacher.name=1.5"]))
    check_config(cfg)
    assert [OmegaConf.select(cfg, key) for key in NAMES] == ["0", "1", "2", "3", "1.5"]


@pytest.mark.parametrize("value", ["a\nb", "${seed}", {1: {2: [3]}}])
@pytest.mark.parametrize("key", ["bank", "dataset.order", "dataset.classes", "student.mean", "stage"])
def test_odd_values_are_one_line(key: str, value: object) -> None:
    cfg = OmegaConf.create(OmegaConf.to_container(compose_config(["debug=smoke"])))
    OmegaConf.update(cfg, key, value, merge=False)
    with pytest.raises((ValueError, OmegaConfBaseException)) as caught:
        check_config(complete(cfg))
    message = user_message(caught.value)
    assert message is not None
    assert len(message.splitlines()) == 1
