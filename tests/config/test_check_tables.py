"""A value where a table of settings belongs is one message, whatever the table."""

import functools

import pytest
from omegaconf import DictConfig, OmegaConf

from odkd.config.check import check_config
from odkd.config.compose import complete, compose_config
from odkd.config.known import known_tables


@functools.cache
def composed() -> DictConfig:
    return compose_config(["loss=mckd", "dataset=synthetic_tiny", "tracking=none"])


@pytest.mark.parametrize("value", [5, 0.5, "x", True, [1], None])
@pytest.mark.parametrize("key", known_tables())
def test_a_value_where_a_table_belongs_is_named(key: str, value: object) -> None:
    if value is None and known_tables()[key]:
        return
    cfg = OmegaConf.create(OmegaConf.to_container(composed()))
    OmegaConf.update(cfg, key, value, merge=False, force_add=True)
    with pytest.raises(ValueError, match=rf"{key}=.*; expected settings of this table, {key}\.NAME=VALUE"):
        complete(cfg)


def test_the_tables_are_those_that_hold_settings() -> None:
    assert {"dataset", "window", "bank", "dataset.order", "dataset.prepare", "teacher.soft"} <= known_tables().keys()
    assert not {"dataset.classes", "loss.class_weights", "teacher.classes", "seed"} & known_tables().keys()


@pytest.mark.parametrize("key", ["paths.outputs", "paths.cache", "paths.labels", "paths.weights"])
@pytest.mark.parametrize("value", ["a" * 300, "a/" + "b" * 256, "a\0b"])
def test_a_folder_that_no_disk_takes_is_named(key: str, value: str) -> None:
    cfg = complete(composed())
    OmegaConf.update(cfg, key, value)
    with pytest.raises(ValueError, match=rf"{key}=.*has a (name that is too long, or a )?NUL"):
        check_config(cfg)
