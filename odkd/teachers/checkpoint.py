"""Teacher from a local checkpoint: any architecture of segmentation-models-pytorch."""

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from odkd.common.argmax import largest_class
from odkd.common.device import autocast
from odkd.common.names import counted
from odkd.common.settings import ExistingFile, PositiveInt, check_rgb
from odkd.data.labels.own_classes import refuse_one_output
from odkd.students.fitting import check_size, fit
from odkd.students.smp import create_network
from odkd.students.weights import read_checkpoint
from odkd.teachers import Precision, SampledFrames, refuse_nan

DIVISOR = 32  # encoders halve the size five times


class CheckpointTeacher:
    """A network saved as a state dict, alone or as a trainer wraps it.

    Beside it there may be `arch`, `encoder_name`, `decoder`, `classes`, `mean` and `std`.

    Images are padded to multiples of 32 at the bottom and right, by reflection, and logits are cropped back.

    Args:
        checkpoint: file of torch or safetensors; nothing pickled in it is run.
        device: where the network runs.
        precision: of the network.
        arch, encoder_name, num_classes, mean, std: for checkpoints that lack them; mean and std of RGB in 0..1.

    Raises:
        ValueError: segmentation-models-pytorch is not installed; the file does not exist, is not such a dict, or does
            not fit the architecture.
    """

    needs_images = True

    def __init__(
        self,
        checkpoint: ExistingFile,
        *,
        device: torch.device,
        precision: Precision = "float32",
        arch: str | None = None,
        encoder_name: str | None = None,
        num_classes: PositiveInt | None = None,
        mean: list[float] | None = None,
        std: list[float] | None = None,
    ) -> None:
        content = read_checkpoint(Path(checkpoint), "teacher.checkpoint")
        arch = arch or content.get("arch")
        encoder_name = encoder_name or content.get("encoder_name")
        classes = content.get("classes")
        self.classes = [str(name) for name in classes] if isinstance(classes, list | tuple) else None
        stored = num_outputs(content["state_dict"]) or (
            classes if isinstance(classes, int) else len(self.classes or ())
        )
        refuse_one_output(stored, checkpoint)
        if num_classes and stored and num_classes != stored:
            raise ValueError(
                f"{checkpoint} has {counted(stored, 'class')}, and teacher.label_set or .num_classes says {num_classes}"
            )
        if self.classes is not None and len(self.classes) != stored:
            raise ValueError(
                f"{checkpoint} names {counted(len(self.classes), 'class')} and has {counted(stored, 'output')}; "
                "expected a name for each: correct `classes` in the file"
            )
        num_classes = num_classes or stored
        if not (arch and encoder_name and num_classes):
            raise ValueError(
                f"{checkpoint} does not say its architecture: set teacher.arch, .encoder_name and .num_classes"
            )
        self.num_classes = num_classes
        self._device, self._precision = device, precision
        mean, std = mean or content.get("mean"), std or content.get("std")
        if mean is None or std is None:
            raise ValueError(
                f"{checkpoint} does not say its normalization: set teacher.mean and teacher.std (RGB in 0..1)"
            )
        mean, std = ([float(number) for number in values] for values in (mean, std))
        for name, values in (("mean", mean), ("std", std)):
            check_rgb(f"{checkpoint}: {name}", values)
        self._mean, self._std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in (mean, std))
        decoder = content.get("decoder") or {}
        if not isinstance(decoder, dict):
            raise ValueError(f"{checkpoint}: its decoder is {decoder!r:.40}; expected settings by name")
        make = partial(create_network, arch, encoder_name, None, num_classes, decoder, of="teacher")
        check_size(make, [Path(checkpoint)], checkpoint)
        network = make()
        fit(network, content["state_dict"], Path(checkpoint), f"{arch} with {encoder_name}")
        self._network = network.to(device).eval()

    @property
    def network(self) -> torch.nn.Module:
        """The network, whose layers have names."""
        return self._network  # type: ignore[no-any-return]

    def seen_size(self, frame_size: tuple[int, int]) -> tuple[int, int]:
        """Return (height, width) of a frame within what the network sees; the rest is padding."""
        return frame_size

    def label(self, frames: SampledFrames) -> np.ndarray:
        return self._labels(self._logits(frames))

    def label_softly(self, frames: SampledFrames, size: tuple[int, int]) -> tuple[np.ndarray, torch.Tensor]:
        """Return label maps and probabilities: the softmax at full size, averaged over the pixels of each of `size`."""
        logits_BKHW = self._logits(frames)
        return self._labels(logits_BKHW), F.adaptive_avg_pool2d(logits_BKHW.float().softmax(1), size)

    def _labels(self, logits_BKHW: torch.Tensor) -> np.ndarray:
        labels_BHW: np.ndarray = largest_class(logits_BKHW).cpu().numpy()
        return labels_BHW

    @torch.inference_mode()
    def _logits(self, frames: SampledFrames) -> torch.Tensor:
        assert frames.images_BHWC is not None
        images_BCHW = torch.from_numpy(frames.images_BHWC).to(self._device).permute(0, 3, 1, 2).float().div_(255)
        images_BCHW = (images_BCHW - self._mean) / self._std
        height, width = images_BCHW.shape[2:]
        padded = F.pad(images_BCHW, (0, -width % DIVISOR, 0, -height % DIVISOR), mode="reflect")
        with autocast(self._device, self._precision):
            logits_BKHW: torch.Tensor = self._network(padded)[:, :, :height, :width]
        refuse_nan(logits_BKHW, "the network of teacher.checkpoint")
        return logits_BKHW


def num_outputs(state: Mapping[str, Any]) -> int | None:
    """Return the channels of the last layer of a segmentation_models_pytorch network; None for one of another kind.

    A trainer's prefix may stand before the names.

    >>> num_outputs({"encoder.conv1.weight": torch.zeros(64, 3, 7, 7), "segmentation_head.0.bias": torch.zeros(3)})
    3
    """
    entries = state.items() if isinstance(state, Mapping) else ()
    head = [value for name, value in entries if "segmentation_head." in name and hasattr(value, "shape")]
    return int(head[-1].shape[0]) if head and head[-1].ndim else None
