"""No number that is nan, infinite or out of range passes, whichever class takes it: ours or a library's."""

from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from paths import CONF

from odkd.config.check import check_config
from odkd.config.compose import compose_config

CHOICES = [
    f"{group}={path.stem}"
    for group in ("optimizer", "loss", "replay", "regularizer", "updates", "augmentation", "schedule")
    for path in sorted((CONF / group).glob("*.yaml"))
]


def numbers(value: Any, key: str) -> list[str]:
    """The keys of all numbers, also those in lists and tables."""
    if isinstance(value, dict):
        return [found for name, item in value.items() for found in numbers(item, f"{key}.{name}")]
    if isinstance(value, list):
        return [found for index, item in enumerate(value) for found in numbers(item, f"{key}.{index}")]
    return [key] if isinstance(value, int | float) and not isinstance(value, bool) else []


def refused(cfg: Any, key: str, value: float, message: str) -> None:
    changed = cfg.copy()
    OmegaConf.update(changed, key, value)
    with pytest.raises(ValueError, match=message) as raised:
        check_config(changed)
    assert "\n" not in str(raised.value), (key, value)


@pytest.mark.parametrize("choice", [*CHOICES, "teacher=oracle", "dataset=synthetic"])
def test_nan_and_infinity_are_refused_in_one_line_that_names_the_setting(choice: str, tmp_path: Path) -> None:
    group = choice.partition("=")[0]
    cfg = compose_config([choice, f"paths.outputs={tmp_path}"])
    check_config(cfg)
    keys = numbers(OmegaConf.to_container(cfg[group], resolve=True), group)
    for key in keys:
        for value in (float("nan"), float("inf"), float("-inf")):
            refused(cfg, key, value, ".".join(key.split(".")[:2]))


@pytest.mark.parametrize(
    ("choice", "key", "value"),
    [
        ("teacher=oracle", "teacher.boundary_jitter_pixels", -1.0),
        ("teacher=oracle", "teacher.label_noise", 1.5),
        ("optimizer=sgd", "optimizer.weight_decay", -1.0),
        ("optimizer=sgd", "optimizer.momentum", -0.1),
        ("optimizer=adam", "optimizer.lr", -1.0),
        ("schedule=multistep", "schedule.gamma", -0.1),
        ("replay=prioritized", "replay.eviction_alpha", -0.5),
    ],
)
def test_a_number_out_of_range_is_refused(choice: str, key: str, value: float, tmp_path: Path) -> None:
    stage = ["stage=distill"] if choice.startswith("schedule") else []
    refused(compose_config([choice, *stage, f"paths.outputs={tmp_path}"]), key, value, f"{key}={value}; expected")


def test_negative_shares_of_a_confusion_and_class_weights_are_refused(tmp_path: Path) -> None:
    for words, message in (
        ("+teacher.confusion.car={road: -0.5, sky: 1.0}", "teacher.confusion"),
        ("loss.class_weights=[1,1,1,1,1,1,1,1,1,1,-1]", "loss.class_weights"),
        ("loss.class_weights=[1,1,1,1,1,1,1,1,1,1,nan]", "loss.class_weights"),
    ):
        with pytest.raises(ValueError, match=message):
            check_config(compose_config([words, f"paths.outputs={tmp_path}"]))
