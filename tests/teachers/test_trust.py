"""Settings of mmsegmentation that are code."""

from typing import Any

import pytest

from odkd.teachers.trust import code_in


@pytest.mark.parametrize(
    "options",
    [
        {"model.type": "os.system"},
        {"model": {"decode_head": {"type": "subprocess.run"}}},
        {"test_pipeline": [{"type": "mmdet.models.x"}]},
        {"model.decode_head": [{"type": "pickle.load", "file": "x"}]},
        {"custom_imports": {"imports": ["harm"]}},
        {"custom_imports.imports": ["harm"]},
        {"default_scope": "harm"},
        {"model._scope_": "some.where"},
        {"model.init_cfg.checkpoint": "x.pth"},
        {"_base_": "harm.py"},
    ],
)
def test_options_that_name_code_are_found(options: dict[str, Any]) -> None:
    assert code_in(options) is not None


@pytest.mark.parametrize(
    "options", [{}, {"test_pipeline.1.scale": [1024, 512]}, {"model.decode_head.type": "FCNHead", "model.depth": 1.5}]
)
def test_plain_options_are_data(options: dict[str, Any]) -> None:
    assert code_in(options) is None
