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
        {"model.decode_head.loss_decode.class_weight": "weights.pkl"},
        {"model.decode_head": {"loss_decode": [{"class_weight": "http://host/weights.pkl"}]}},
        {"model.decode_head._scope_": "harm"},
        {"model.decode_head.type": "FCNHead"},
        {"model.backbone": {"_delete_": True, "depth": 18}},
        {"model.backbone.pretrained": "torchvision://resnet18"},
        {"model.test_cfg.mode": "harm"},
    ],
)
def test_options_that_name_code_are_found(options: dict[str, Any]) -> None:
    assert code_in(options) is not None


@pytest.mark.parametrize(
    "options",
    [{}, {"test_pipeline.1.scale": [1024, 512]}, {"model.test_cfg.mode": "slide", "model.depth": 1.5, "model.x": None}],
)
def test_plain_options_are_data(options: dict[str, Any]) -> None:
    assert code_in(options) is None
