"""Checkpoints of mmsegmentation 0.x and 1.x: loaded without running pickled code, fitted to a 1.x model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from odkd.students.fitting import is_unused, plain_name
from odkd.students.weights import read_checkpoint


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint on the CPU; return `state_dict` and `meta` (empty where the file holds weights only).

    Raises:
        ValueError: as `read_checkpoint`.
    """
    content = read_checkpoint(path, "teacher.checkpoint")
    meta = content.get("meta")
    return {"state_dict": convert(content["state_dict"]), "meta": meta if isinstance(meta, Mapping) else {}}


def convert(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights under the names of a 1.x model for inference.

    The published 0.x checkpoints of PSPNet, PointRend, SegFormer and SETR have the same names as the 1.x models; the
    one difference is in `needed_options`. Removed are auxiliary heads, which only training uses, and what data-parallel
    and compiled models put into names.
    """
    return {plain_name(name): tensor for name, tensor in state.items() if not is_unused(name)}


def needed_options(state: Mapping[str, torch.Tensor], model: Mapping[str, Any]) -> dict[str, Any]:
    """Return the options of the model's config that the weights of 0.x need to be loaded completely.

    The patch embedding of the VisionTransformer has a bias in 0.x. In 1.x it has none unless `patch_bias` is set, which
    the shipped SETR configs do not do: mmseg.apis.init_model then drops the trained bias with a warning.
    """
    backbone = model.get("backbone") or {}
    has_bias = "backbone.patch_embed.projection.bias" in state
    if has_bias and backbone.get("type") == "VisionTransformer" and "patch_bias" not in backbone:
        return {"model.backbone.patch_bias": True}
    return {}


def class_names(meta: Mapping[str, Any], cfg: Any) -> list[str] | None:
    """Return the class names in the checkpoint (0.x `CLASSES`, 1.x `dataset_meta`), else of the config's dataset."""
    from mmseg.registry import DATASETS

    names: Sequence[str] | None = meta.get("CLASSES")
    if names is None:
        dataset_meta = meta.get("dataset_meta") or {}
        names = dataset_meta.get("classes", dataset_meta.get("CLASSES"))
    if names is None:
        dataset = cfg.get("test_dataloader", {}).get("dataset", {})
        kind = DATASETS.get(dataset.get("type", cfg.get("dataset_type", "")))
        names = dataset.get("metainfo", {}).get("classes") or getattr(kind, "METAINFO", {}).get("classes")
    return [str(name) for name in names] if names is not None else None
