"""Teacher from a network exported as TorchScript (.pt, .ts, .torchscript), ONNX (.onnx) or by torch.export (.pt2).

A YAML file beside it describes it. An ONNX file is data: a graph of known operations. The other files are programs, and
torch warns that a malicious one can do anything on loading: they are loaded only with `teacher.trust=true` on the
command line.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from odkd.common.ignore import IGNORE
from odkd.common.names import counted
from odkd.common.settings import ExistingFile
from odkd.teachers import SampledFrames, refuse_nan
from odkd.teachers.exported_description import SCALES, read_description
from odkd.teachers.exported_network import open_network
from odkd.teachers.trust import check_trust

logger = logging.getLogger(__name__)


class ExportedTeacher:
    """A network without its source code.

    Args:
        file: the network; its input and output are described by the YAML file of the same name beside it.
        device: where the network runs.
        trust: load a file that is a program (TorchScript).

    Raises:
        ValueError: a file is missing, it is a program without `trust`, the description does not fit, or onnxruntime is
            not installed; while labelling: the network cannot take the frames, or its output is not as described.
    """

    needs_images = True

    def __init__(self, file: ExistingFile, *, device: torch.device, trust: bool = False) -> None:
        path, description = _files(file)
        self._description = read_description(description)
        self.classes = list(self._description.classes)
        self.num_classes = len(self.classes)
        self._file, self._device = path, device
        if path.suffix != ".onnx":
            kind = "a program of torch.export" if path.suffix == ".pt2" else "a TorchScript file"
            check_trust(path, kind, trust=trust)
        self._run = open_network(path, device)
        normalization = (self._description.mean, self._description.std)
        self._mean, self._std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in normalization)

    @staticmethod
    def identity(settings: Mapping[str, Any], file_digest: Callable[[Path], str]) -> dict[str, Any]:
        """Return digests of the network, its description, and weights that ONNX keeps in files NETWORK.onnx...."""
        path, description = _files(settings["file"])
        beside = [other for other in path.parent.glob(f"{path.name}?*") if path.suffix == ".onnx" and other.is_file()]
        files = {other.name.removeprefix(path.name): other for other in beside} | {
            path.suffix: path,
            ".yaml": description,
        }
        return {"files": {ending: file_digest(files[ending]) for ending in sorted(files)}}

    @torch.inference_mode()
    def label(self, frames: SampledFrames) -> np.ndarray:
        outputs = list(self._outputs(frames))
        return np.stack([output if isinstance(output, np.ndarray) else _likeliest(output) for output in outputs])

    @torch.inference_mode()
    def label_softly(self, frames: SampledFrames, size: tuple[int, int]) -> tuple[np.ndarray, torch.Tensor]:
        """Return label maps and probabilities at full size, averaged over the pixels of each of `size`.

        Logits become probabilities by a softmax.

        Raises:
            ValueError: the output of the network is labels.
        """
        if self._description.output == "labels":
            raise ValueError(f"{self._file} puts out labels only; set teacher.soft.top_k=0, or export its logits")
        labels, probabilities = [], []
        for output in self._outputs(frames):
            assert isinstance(output, torch.Tensor)
            labels.append(_likeliest(output))
            output_KHW = output.softmax(0) if self._description.output == "logits" else output
            probabilities.append(F.adaptive_avg_pool2d(output_KHW, size))
        return np.stack(labels), torch.stack(probabilities)

    def _outputs(self, frames: SampledFrames) -> Iterator[torch.Tensor | np.ndarray]:
        """Yield the output for each frame at the frame's size: scores float32 [K, H, W], or labels uint8 [H, W]."""
        assert frames.images_BHWC is not None
        described = self._description
        images_BCHW = torch.from_numpy(frames.images_BHWC).to(self._device).permute(0, 3, 1, 2).float()
        full_size = (images_BCHW.shape[2], images_BCHW.shape[3])
        if described.channel_order == "bgr":
            images_BCHW = images_BCHW.flip(1)
        if described.size and tuple(described.size) != full_size:
            images_BCHW = F.interpolate(images_BCHW, tuple(described.size), mode="bilinear")
        images_BCHW = (images_BCHW * (SCALES[described.scale] / 255) - self._mean) / self._std
        height, width = images_BCHW.shape[2:]
        padding = (0, -width % described.multiple_of, 0, -height % described.multiple_of)
        padded = F.pad(images_BCHW, padding, mode="reflect") if any(padding) else images_BCHW
        given = padded if described.layout == "nchw" else padded.permute(0, 2, 3, 1)
        parts = torch.split(given, 1 if described.one_by_one else len(given))
        output = torch.cat([self._run(part).to(self._device) for part in parts])
        if not output.ndim or len(output) != len(padded):
            raise ValueError(f"{self._file} puts out {list(output.shape)} for {counted(len(padded), 'frame')}")
        for frame_output in output if described.output == "labels" else self._scores(output):
            yield self._at_size(frame_output, tuple(padded.shape[2:]), (height, width), full_size)

    def _scores(self, output: torch.Tensor) -> torch.Tensor:
        """Return the output as float32 [B, K, h, w]; check it against the description."""
        described = self._description
        scores = output.permute(0, 3, 1, 2) if described.layout == "nhwc" and output.ndim == 4 else output
        if scores.ndim != 4 or scores.shape[1] != self.num_classes:
            layout = "[B, K, H, W]" if described.layout == "nchw" else "[B, H, W, K]"
            raise ValueError(
                f"{self._file} puts out {list(output.shape)} for {counted(len(output), 'frame')}; expected "
                f"{layout} with "
                f"K = {self.num_classes}, the classes of its description"
            )
        scores = scores.float()
        refuse_nan(scores, str(self._file))
        if described.output == "probabilities" and not torch.allclose(scores.sum(1), scores.new_ones(()), atol=1e-2):
            raise ValueError(f"{self._file} puts out numbers that do not sum to 1; its description says probabilities")
        return scores

    def _at_size(
        self, output: torch.Tensor, padded: tuple[int, ...], unpadded: tuple[int, int], full: tuple[int, int]
    ) -> torch.Tensor | np.ndarray:
        """Return the output for one padded image at the frame's size: enlarged, cropped to the image, resized."""
        is_labels = self._description.output == "labels"
        output = self._checked_labels(output).float()[None, None] if is_labels else output[None]
        mode = "nearest-exact" if is_labels else "bilinear"
        if tuple(output.shape[2:]) != padded:
            output = F.interpolate(output, padded, mode=mode)
        output = output[:, :, : unpadded[0], : unpadded[1]]
        if unpadded != full:
            output = F.interpolate(output, full, mode=mode)
        if not is_labels:
            return output[0]
        labels_HW: np.ndarray = output[0, 0].to(torch.uint8).cpu().numpy()
        return labels_HW

    def _checked_labels(self, labels: torch.Tensor) -> torch.Tensor:
        labels_hw = labels.squeeze()
        if labels_hw.ndim != 2 or labels_hw.is_floating_point():
            raise ValueError(
                f"{self._file} puts out {list(labels.shape)} {labels.dtype} for a frame; expected [H, W] of whole "
                "numbers, since its description says labels"
            )
        unknown = labels_hw[((labels_hw < 0) | (labels_hw >= self.num_classes)) & (labels_hw != IGNORE)]
        if len(unknown):
            raise ValueError(f"{self._file} puts out label {int(unknown[0])}; its description names {self.num_classes}")
        return labels_hw


def _likeliest(scores_KHW: torch.Tensor) -> np.ndarray:
    labels_HW: np.ndarray = scores_KHW.max(0).indices.to(torch.uint8).cpu().numpy()
    return labels_HW


def _files(file: str) -> tuple[Path, Path]:
    """Return the paths of a network and of its description; both must exist."""
    path = Path(file)
    description = path.with_suffix(".yaml")
    for wanted, what in {path: "exported network", description: "description of an exported network"}.items():
        if not wanted.is_file():
            raise ValueError(
                f"no {what} {wanted}: teacher.file={file} needs both (see odkd/teachers/exported_description.py)"
            )
    return path, description
