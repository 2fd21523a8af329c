"""Checkpoints of mmsegmentation 0.x and 1.x: loaded without running pickled code, fitted to a 1.x model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

NUMPY_TYPES = (np.bool_, np.uint8, np.int32, np.int64, np.uint32, np.float32, np.float64)


class _Ignored:
    """Placeholder for objects besides weights in a training checkpoint, such as its log; it stores nothing."""

    def __new__(cls, *_: Any) -> "_Ignored":
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...


def _safe_globals() -> list[Any]:
    """Return the types that mmcv and mmengine store beside weights: numpy's are loaded, others become `_Ignored`.

    mmengine lists `getattr` as safe, with which a checkpoint can reach anything; here it has no effect.
    """
    core = np._core.multiarray  # type: ignore[attr-defined]  # private, but torch and mmengine use it, too
    numbers = [
        (function, f"numpy.{package}.multiarray.{name}")
        for package in ("core", "_core")
        for name, function in (("scalar", core.scalar), ("_reconstruct", core._reconstruct))
    ]
    ignored = [(_Ignored, name) for name in ("mmengine.logging.history_buffer.HistoryBuffer", "builtins.getattr")]
    return [np.dtype, np.ndarray, *(type(np.dtype(kind)) for kind in NUMPY_TYPES), *numbers, *ignored]


def load_checkpoint(path: Path) -> dict[str, Any]:
    """Load a checkpoint on the CPU; return `state_dict` and `meta` (empty where the file holds weights only).

    Raises:
        ValueError: the file does not exist, cannot be loaded with `weights_only=True`, or has no weights.
    """
    if not path.is_file():
        raise ValueError(f"no teacher checkpoint {path}: set teacher.checkpoint to a file or a URL")
    try:
        with torch.serialization.safe_globals(_safe_globals()):
            content = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise ValueError(f"{path} is no checkpoint that loads safely (weights_only=True): {error}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}; expected a dict with a state_dict")
    state = content.get("state_dict", content)
    if not (isinstance(state, Mapping) and state and all(isinstance(v, torch.Tensor) for v in state.values())):
        raise ValueError(f"{path} holds {', '.join(map(str, list(content)[:5]))}; expected a state_dict of tensors")
    return {"state_dict": convert(state), "meta": content.get("meta") or {}}


def convert(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the weights under the names of a 1.x model for inference.

    The published 0.x checkpoints of PSPNet, PointRend, SegFormer and SETR have the same names as the 1.x models; the
    one difference is in `needed_options`. Removed are auxiliary heads, which only training uses, and the prefix of a
    data-parallel model.
    """
    prefix = "module." if all(name.startswith("module.") for name in state) else ""
    named = {name.removeprefix(prefix): tensor for name, tensor in state.items()}
    return {name: tensor for name, tensor in named.items() if not name.startswith("auxiliary_head.")}


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


def fit(model: torch.nn.Module, state: Mapping[str, torch.Tensor], path: Path) -> None:
    """Load `state` into `model`; each must fit the other completely.

    Raises:
        ValueError: weights are missing, unexpected, or of another shape.
    """
    try:
        found = model.load_state_dict(dict(state), strict=False)
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit teacher.config: {str(error)[:500]}") from error
    missing = [name for name in found.missing_keys if not name.endswith("num_batches_tracked")]  # no weights
    complaints = [
        f"{len(names)} weights {what}, such as {', '.join(names[:4])}"
        for names, what in ((missing, "are missing"), (found.unexpected_keys, "have no place in the model"))
        if names
    ]
    if complaints:
        raise ValueError(f"{path} does not fit teacher.config: {'; '.join(complaints)}")


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
