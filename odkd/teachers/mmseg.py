"""Teacher from any network of mmsegmentation (OpenMMLab; package `onedl-mmsegmentation`), equal to its own API."""

import copy
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from odkd.common.device import autocast
from odkd.common.names import counted
from odkd.common.settings import FileOrUrl
from odkd.data.labels.own_classes import refuse_one_output
from odkd.students.fitting import fit
from odkd.teachers import Precision, SampledFrames, refuse_nan
from odkd.teachers.addresses import is_url, local_path, name_digest
from odkd.teachers.download import download
from odkd.teachers.mmseg_config import config_identity, import_mmseg, load_config, own_file, quiet
from odkd.teachers.mmseg_weights import class_names, load_checkpoint, needed_options
from odkd.teachers.point_sample import supply_point_sample
from odkd.teachers.trust import check_trust, code_in


class MMSegTeacher:
    """A network described by a config, which says how images are resized, normalized and split into windows.

    For one image at a time, labels equal those of `mmseg.apis.inference_model`, pixel by pixel. In a batch, the last
    bits of the logits may differ (kernels sum in another order; differences of 3e-6 in a probability were seen on a
    CPU), so that a pixel whose two likeliest classes are practically equal may get the other one. PointRend refines the
    least certain pixels and may then choose another one of equally uncertain pixels.

    Args:
        config: name of a shipped config (0.x names of the teachers in `conf/teacher`, too), or a config file, which is
            Python code that is run.
        checkpoint: file or URL, downloaded into `weights_folder` on first use; loaded without running pickled code.
        device: where the network runs.
        weights_folder: for downloads.
        precision: of the network.
        tta: average the probabilities over the scales and flips of the config's `tta_pipeline`.
        options: changes to the config, such as {"test_pipeline.1.scale": [1024, 512]} (width, height).
        trust: run a config file, and take options besides numbers.

    Raises:
        ValueError: the config is a file, or an option names code, without `trust`; mmsegmentation is not installed, the
            config does not exist, or the weights are missing, do not load safely, or do not fit the config.
    """

    needs_images = True

    def __init__(
        self,
        config: str,
        checkpoint: FileOrUrl,
        *,
        device: torch.device,
        weights_folder: Path,
        precision: Precision = "float32",
        tta: bool = False,
        options: dict[str, Any] | None = None,
        trust: bool = False,
    ) -> None:
        options = dict(options or {})
        if (path := own_file(config)) is not None:
            check_trust(path, "a config of mmsegmentation", trust=trust)
        if (named := code_in(options)) is not None:
            check_trust(f"teacher.options: {named}", "a name of code", trust=trust)
        import_mmseg()
        cfg = load_config(config, options)
        path = download(checkpoint, weights_folder) if is_url(checkpoint) else Path(checkpoint)
        content = load_checkpoint(path)
        state = content["state_dict"]
        if needed := needed_options(state, cfg.model):
            cfg = load_config(config, needed | options)
        self._network = _build(cfg, config)
        fit(self._network, state, path, "teacher.config")
        self._network.to(device).eval()
        self.classes = class_names(content["meta"], cfg)
        self.num_classes = int(self._network.num_classes)
        if self.classes is not None and len(self.classes) != self.num_classes:
            raise ValueError(
                f"{path} names {counted(len(self.classes), 'class')}; config {config} has {self.num_classes}"
            )
        if self.num_classes > 255:
            raise ValueError(f"config {config} has {self.num_classes} classes; label maps hold at most 255")
        self._pipeline = _pipeline(cfg, config, tta)
        self._device, self._precision, self._tta = device, precision, tta

    @staticmethod
    def identity(settings: Mapping[str, Any], file_digest: Callable[[Path], str]) -> dict[str, Any]:
        """Return what identifies the config (see `config_identity`) and the weights, and the settings that count.

        Weights are identified by the start of the sha256 in their name, else by their sha256. A URL without a digest in
        its name is identified by the URL.
        """
        checkpoint = str(settings["checkpoint"])
        if is_url(checkpoint):
            identifier = name_digest(local_path(checkpoint, Path()).name)
        else:
            identifier, digest = name_digest(checkpoint), file_digest(Path(checkpoint))
            identifier = identifier if identifier and digest.startswith(identifier) else digest
        return {
            "config": config_identity(str(settings["config"]), file_digest),
            "checkpoint": identifier or checkpoint,
            "precision": settings.get("precision", "float32"),
            "tta": bool(settings.get("tta")),
            "options": settings.get("options") or {},
        }

    @property
    def network(self) -> torch.nn.Module:
        """The network, whose layers have names."""
        return self._network  # type: ignore[no-any-return]

    def label(self, frames: SampledFrames) -> np.ndarray:
        return self._predict(frames, None)[0]

    def label_softly(self, frames: SampledFrames, size: tuple[int, int]) -> tuple[np.ndarray, torch.Tensor]:
        """Return label maps and probabilities: the softmax at the frames' size, averaged over the pixels of `size`."""
        labels_BHW, soft = self._predict(frames, size)
        return labels_BHW, torch.stack(soft)

    @torch.inference_mode()
    def _predict(self, frames: SampledFrames, size: tuple[int, int] | None) -> tuple[np.ndarray, list[torch.Tensor]]:
        """Return labels uint8 [B, H, W] and, if a size is given, probabilities float32 [K, h, w] of each frame."""
        assert frames.images_BHWC is not None
        inputs = [self._pipeline({"img": np.ascontiguousarray(image[..., ::-1])}) for image in frames.images_BHWC]
        if self._tta:
            means = self._averaged(inputs)
            labels = [mean_KHW.argmax(0) for mean_KHW in means]
        else:
            samples = self._test(inputs)
            means = [_probabilities(sample) for sample in samples] if size else []
            labels = [sample.pred_sem_seg.data[0] for sample in samples]
        pooled = [F.adaptive_avg_pool2d(mean_KHW, size) for mean_KHW in means] if size else []
        labels_BHW: np.ndarray = torch.stack(labels).to(torch.uint8).cpu().numpy()
        return labels_BHW, pooled

    def _averaged(self, inputs: list[dict[str, Any]]) -> list[torch.Tensor]:
        """Return the mean probabilities of each image over its views, summed in the order of mmseg's SegTTAModel."""
        num_views = len(inputs[0]["inputs"])
        sums: list[torch.Tensor] = []
        for view in range(num_views):
            samples = self._test([{key: values[view] for key, values in item.items()} for item in inputs])
            each = [_probabilities(sample) for sample in samples]
            sums = [a + b for a, b in zip(sums, each, strict=True)] if sums else each
        return [sum_KHW / num_views for sum_KHW in sums]

    def _test(self, inputs: list[dict[str, Any]]) -> list[Any]:
        """Return mmseg's results (SegDataSample) for images that went through the pipeline."""
        batch = {key: [item[key] for item in inputs] for key in ("inputs", "data_samples")}
        with autocast(self._device, self._precision):
            samples: list[Any] = self._network.test_step(batch)
        for sample in samples:
            refuse_nan(sample.seg_logits.data, "the network of teacher.config")
        return samples


def _build(cfg: Any, config: str) -> Any:
    from mmengine.registry import init_default_scope
    from mmseg.registry import MODELS

    init_default_scope(cfg.get("default_scope", "mmseg"))  # its transforms are looked up there
    supply_point_sample()
    try:
        with quiet():
            network = MODELS.build(cfg.model)
    except Exception as error:
        raise ValueError(f"config {config} builds no network: {error}") from error
    is_binary = network.out_channels != network.num_classes
    refuse_one_output(1 if is_binary else network.out_channels, f"config {config}")
    return network


def _pipeline(cfg: Any, config: str, tta: bool) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Return the config's test (or test-time augmentation) pipeline; it takes arrays and loads no annotations."""
    from mmengine.dataset import Compose

    name = "tta_pipeline" if tta else "test_pipeline"
    if name not in cfg:
        raise ValueError(f"config {config} has no {name}")
    if tta and cfg.get("tta_model", {}).get("type") != "SegTTAModel":
        raise ValueError(f"config {config}: teacher.tta supports the averaging of SegTTAModel only")
    steps = _without_annotations(cfg[name])
    steps[0]["type"] = "LoadImageFromNDArray"
    transform: Callable[[dict[str, Any]], dict[str, Any]] = Compose(steps)
    return transform


def _without_annotations(steps: Any) -> list[Any]:
    kept = []
    for step in copy.deepcopy(list(steps)):
        if isinstance(step, list | tuple):  # alternatives in a test-time augmentation
            kept += [alternatives] if (alternatives := _without_annotations(step)) else []
        elif step["type"] != "LoadAnnotations":
            if step["type"] == "TestTimeAug":
                step["transforms"] = _without_annotations(step["transforms"])
            kept.append(step)
    return kept


def _probabilities(sample: Any) -> torch.Tensor:
    probabilities_KHW: torch.Tensor = sample.seg_logits.data.float().softmax(0)
    return probabilities_KHW
