"""Teacher from a segmentation-models-pytorch network, saved by `save_pretrained` or published as smp-hub/....

Such a folder has config.json, model.safetensors and usually the preprocessing of images as albumentations writes it.
That file is read here without albumentations, whose successor is AGPL: Resize (bilinear), Normalize (standard) and
ToTensorV2 are supported, everything else is refused.
"""

import inspect
import logging
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from odkd.common.device import autocast
from odkd.common.optional import optional
from odkd.common.reading import read_json
from odkd.data.labels.own_classes import refuse_one_output
from odkd.students.fitting import check_size, fit
from odkd.students.smp import is_encoder
from odkd.students.weights import read_checkpoint
from odkd.teachers import Precision, SampledFrames, refuse_nan
from odkd.teachers.hub import identify, locate

logger = logging.getLogger(__name__)
PREPROCESSING = "albumentations_config_eval.json"
DIVISOR = 32  # encoders halve the size five times


@dataclass(frozen=True)
class Preprocessing:
    """Preprocessing of an image of 0..255: resize to (height, width) unless None, then (image - mean) / std."""

    size: tuple[int, int] | None = None
    mean: tuple[float, ...] = (0.0, 0.0, 0.0)
    std: tuple[float, ...] = (1.0, 1.0, 1.0)


class SmpHubTeacher:
    """A network and its preprocessing from a folder or the hub.

    Frames are resized as the preprocessing says, padded to multiples of 32 at the bottom and right by reflection,
    and logits are cropped and brought back to the frame's size (bilinear).

    Args:
        model: folder, or hub id.
        device: where the network runs.
        revision: commit of the hub id; anything else causes a warning (see odkd/teachers/hub.py). None for a folder.
        precision: of the network; logits are compared in float32.
        resize: false = frames keep their size even if the preprocessing resizes.
        mean, std: RGB in 0..1, instead of the preprocessing's.

    Raises:
        ValueError: segmentation-models-pytorch is not installed; the weights cannot be loaded, are not in safetensors,
            do not fit, or have one class only; or the preprocessing is not supported.
    """

    needs_images = True
    classes = None  # smp stores their number only

    def __init__(
        self,
        model: str,
        *,
        device: torch.device,
        revision: str | None = None,
        precision: Precision = "float32",
        resize: bool = True,
        mean: list[float] | None = None,
        std: list[float] | None = None,
    ) -> None:
        if (mean is None) != (std is None):
            raise ValueError("teacher.mean and teacher.std go together; set both (RGB in 0..1) or neither")
        optional("segmentation_models_pytorch", f"teacher.model={model}")
        folder = locate(model, revision, needs=(PREPROCESSING,))
        self._network, config = _load(folder)
        self._network.to(device).eval()
        self.num_classes = int(config["classes"])
        found = read_preprocessing(folder, str(config.get("encoder_name")), is_overridden=mean is not None)
        self._size = found.size if resize else None
        scaled = [[255 * v for v in mean], [255 * v for v in std]] if mean and std else [found.mean, found.std]
        self._mean, self._std = (torch.tensor(list(v), device=device).view(1, 3, 1, 1) for v in scaled)
        self._device, self._precision = device, precision

    @staticmethod
    def identity(settings: Mapping[str, Any], file_digest: Callable[[Path], str]) -> dict[str, Any]:
        """Return hub id and commit, or digests of a folder's files, with precision, resize, mean and std."""
        weights = identify(settings["model"], settings.get("revision"), file_digest)
        return {"weights": weights} | {key: settings.get(key) for key in ("precision", "resize", "mean", "std")}

    @property
    def network(self) -> torch.nn.Module:
        """The network, whose layers have names."""
        return self._network

    def seen_size(self, frame_size: tuple[int, int]) -> tuple[int, int]:
        """Return (height, width) of a frame within what the network sees; the rest is padding."""
        return self._size or frame_size

    @torch.inference_mode()
    def label(self, frames: SampledFrames) -> np.ndarray:
        return np.stack([_to_labels(logits_KHW) for logits_KHW in self._logits(frames)])

    @torch.inference_mode()
    def label_softly(self, frames: SampledFrames, size: tuple[int, int]) -> tuple[np.ndarray, torch.Tensor]:
        """Return label maps and probabilities: the softmax at full size, averaged over the pixels of each of `size`."""
        labels, probabilities = [], []
        for logits_KHW in self._logits(frames):
            labels.append(_to_labels(logits_KHW))
            probabilities.append(F.adaptive_avg_pool2d(logits_KHW.softmax(0), size))
        return np.stack(labels), torch.stack(probabilities)

    def _logits(self, frames: SampledFrames) -> Iterator[torch.Tensor]:
        """Yield logits float32 [K, H, W] of each frame, at the frame's size."""
        assert frames.images_BHWC is not None
        images_BCHW = torch.from_numpy(frames.images_BHWC).to(self._device).permute(0, 3, 1, 2).float()
        full_size = images_BCHW.shape[2:]
        if self._size not in (None, tuple(full_size)):
            # Rounded, because the networks were trained and evaluated on uint8 images that OpenCV had resized.
            # Deviation: OpenCV sums in fixed point; one in ten values differs from ours, by one grey level of 255.
            images_BCHW = F.interpolate(images_BCHW, self._size, mode="bilinear").round_()
        images_BCHW = (images_BCHW - self._mean) / self._std
        height, width = images_BCHW.shape[2:]
        padded = F.pad(images_BCHW, (0, -width % DIVISOR, 0, -height % DIVISOR), mode="reflect")
        with autocast(self._device, self._precision):
            output = self._network(padded)
        logits_BKhw = output[0] if isinstance(output, tuple) else output  # with a classifying head: (masks, classes)
        refuse_nan(logits_BKhw, "the network of teacher.model")
        for logits_Khw in logits_BKhw[:, :, :height, :width].float():
            yield F.interpolate(logits_Khw[None], full_size, mode="bilinear")[0] if self._size else logits_Khw


def _to_labels(logits_KHW: torch.Tensor) -> np.ndarray:
    labels_HW: np.ndarray = logits_KHW.max(0).indices.to(torch.uint8).cpu().numpy()
    return labels_HW


def _load(folder: Path) -> tuple[torch.nn.Module, dict[str, Any]]:
    if not (folder / "model.safetensors").is_file():
        raise ValueError(f"{folder} has no model.safetensors; save the network again with smp's save_pretrained")
    config = read_json(folder / "config.json", dict[str, Any])
    if "_model_class" in config:
        refuse_one_output(config.get("classes", 1), f"{folder}/config.json")
    if "_model_class" not in config or not 2 <= config.get("classes", 1) <= 255 or config.get("in_channels", 3) != 3:
        raise ValueError(
            f"{folder}/config.json does not describe a network of segmentation-models-pytorch for images of 3 channels "
            "and 2 to 255 classes; load a network of transformers with teacher=transformers"
        )
    kind, path = str(config["_model_class"]), folder / "model.safetensors"
    make = _maker(folder, kind, config)
    state = read_checkpoint(path, "teacher.model")["state_dict"]
    try:
        check_size(make, [path], folder / "config.json")
        network = make()
    except Exception as error:
        raise ValueError(f"{folder}/config.json builds no {kind}: {' '.join(str(error).split())[:300]}") from error
    assert isinstance(network, torch.nn.Module)
    fit(network, state, path, kind)
    return network, config


def _maker(folder: Path, kind: str, config: Mapping[str, Any]) -> Callable[[], Any]:
    """Return what makes the network: from settings that its class names, and of what the class hands on, numbers alone.

    Raises:
        ValueError: there is no such class or encoder, or a setting may lead elsewhere.
    """
    import segmentation_models_pytorch as smp

    made = {made.__name__: made for made in smp.MODEL_ARCHITECTURES_MAPPING.values()}.get(kind)
    encoder = str(config.get("encoder_name", "resnet34"))
    if made is None or not is_encoder(encoder):
        raise ValueError(f"{folder}/config.json: segmentation-models-pytorch has no {kind} with the encoder {encoder}")
    named = {name for name, one in inspect.signature(made).parameters.items() if one.kind is not one.VAR_KEYWORD}
    settings = {key: value for key, value in config.items() if not key.startswith("_")}
    for key, value in settings.items():
        is_handed_on = key not in named
        if is_handed_on and (not isinstance(value, int | float | None) or key.startswith("pretrained")):
            raise ValueError(f"{folder}/config.json: {key} is no setting of {kind}; remove it")
    # Skip the encoder's ImageNet weights, which would be downloaded only to be overwritten, and get logits, no softmax.
    return partial(made, **settings | {"encoder_name": encoder, "encoder_weights": None, "activation": None})


def read_preprocessing(folder: Path, encoder_name: str, *, is_overridden: bool) -> Preprocessing:
    """Read the preprocessing that albumentations has written; without it, warn and use the encoder's for ImageNet.

    Raises:
        ValueError: a transform is not supported; or there is no file and the encoder's preprocessing is unknown.
    """
    path = folder / PREPROCESSING
    if path.is_file():
        return parse_albumentations(read_json(path), str(path))
    if is_overridden:
        return Preprocessing()
    import segmentation_models_pytorch as smp

    try:
        found = smp.encoders.get_preprocessing_params(encoder_name)
    except Exception as error:
        raise ValueError(f"{folder} has no {PREPROCESSING}: set teacher.mean and teacher.std (RGB in 0..1)") from error
    if found["input_space"] != "RGB":
        raise ValueError(f"{encoder_name} takes {found['input_space']}: set teacher.mean and teacher.std by hand")
    logger.warning(
        "%s has no %s: frames are normalized as ImageNet's were for %s (mean %s, std %s), which may differ from this "
        "network's training; set teacher.mean and teacher.std if you know its values",
        *(folder, PREPROCESSING, encoder_name, found["mean"], found["std"]),
    )
    scale = 255 / found["input_range"][1]
    return Preprocessing(None, *(tuple(scale * v for v in found[key]) for key in ("mean", "std")))


def parse_albumentations(config: Mapping[str, Any], where: str) -> Preprocessing:
    """Return the preprocessing in a file of albumentations: Resize, Normalize and ToTensorV2.

    >>> normalize = {"__class_fullname__": "Normalize", "mean": [0.5] * 3, "std": [0.25] * 3, "max_pixel_value": 255.0}
    >>> parse_albumentations({"transform": {"__class_fullname__": "Compose", "transforms": [normalize]}}, "here")
    Preprocessing(size=None, mean=(127.5, 127.5, 127.5), std=(63.75, 63.75, 63.75))

    Raises:
        ValueError: another transform, another variant of these, or one that is applied at random.
    """
    size, mean, std = None, Preprocessing.mean, Preprocessing.std
    for transform in config.get("transform", {}).get("transforms", []):
        name = str(transform.get("__class_fullname__")).rpartition(".")[2]
        is_plain = transform.get("p", 1) == 1
        if name == "Resize" and is_plain:
            is_plain = transform.get("interpolation", 1) == 1 and not transform.get("area_for_downscale")
            size = (int(transform["height"]), int(transform["width"]))
        elif name == "Normalize" and is_plain:
            is_plain = transform.get("normalization", "standard") == "standard"
            top = transform.get("max_pixel_value", 255.0)
            mean, std = (tuple(top * v for v in transform[key]) for key in ("mean", "std"))
        elif name not in ("ToTensorV2", "NoOp"):
            is_plain = False
        if not is_plain:
            raise ValueError(
                f"{where}: {transform} is not supported (supported: Resize bilinear, Normalize standard, ToTensorV2); "
                "make a copy of the folder without it"
            )
    return Preprocessing(size, mean, std)
