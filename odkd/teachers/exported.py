"""A network exported as TorchScript (.pt, .ts, .torchscript) or ONNX (.onnx), with its description beside it.

An ONNX file is data: a graph of known operations. A TorchScript file is a program; torch warns that one made with ill
intent can do anything on loading. Load only what you trust.
"""

import logging
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from odkd.common.ignore import IGNORE
from odkd.teachers import SampledFrames
from odkd.teachers.exported_description import SCALES, read_description

logger = logging.getLogger(__name__)
NUMPY_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
Run = Callable[[torch.Tensor], torch.Tensor]


class ExportedTeacher:
    """A network without its source code.

    Args:
        file: the network; what it expects and says is in the YAML of the same name beside it.

    Raises:
        ValueError: no such files, a description that does not fit, onnxruntime is not installed; while labelling:
            frames that the network cannot take, or answers that are not as described.
    """

    needs_images = True

    def __init__(self, file: str, *, device: torch.device) -> None:
        path, description = _files(file)
        self._says = read_description(description)
        self.classes = list(self._says.classes)
        self.num_classes = len(self.classes)
        self._file, self._device = path, device
        self._run = _load_onnx(path, device) if path.suffix == ".onnx" else _load_torchscript(path, device)
        normalization = (self._says.mean, self._says.std)
        self._mean, self._std = (torch.tensor(v, device=device).view(1, 3, 1, 1) for v in normalization)

    @staticmethod
    def identity(settings: Mapping[str, Any], file_digest: Callable[[Path], str]) -> dict[str, Any]:
        """Digests of the network, of weights that ONNX keeps in files named NETWORK.onnx..., and of the description."""
        path, description = _files(settings["file"])
        beside = [other for other in path.parent.glob(f"{path.name}?*") if path.suffix == ".onnx" and other.is_file()]
        files = {other.name.removeprefix(path.name): other for other in beside} | {
            path.suffix: path,
            ".yaml": description,
        }
        return {"files": {ending: file_digest(files[ending]) for ending in sorted(files)}}

    @torch.inference_mode()
    def label(self, frames: SampledFrames) -> np.ndarray:
        answers = list(self._answers(frames))
        return np.stack([answer if isinstance(answer, np.ndarray) else _likeliest(answer) for answer in answers])

    @torch.inference_mode()
    def label_softly(self, frames: SampledFrames, size: tuple[int, int]) -> tuple[np.ndarray, torch.Tensor]:
        """Probabilities at full size (of logits: their softmax), averaged over the pixels that fall on each of `size`.

        Raises:
            ValueError: a network whose output is labels.
        """
        if self._says.output == "labels":
            raise ValueError(f"{self._file} puts out labels only; set teacher.soft.top_k=0, or export its logits")
        labels, probabilities = [], []
        for answer in self._answers(frames):
            assert isinstance(answer, torch.Tensor)
            labels.append(_likeliest(answer))
            answer_KHW = answer.softmax(0) if self._says.output == "logits" else answer
            probabilities.append(F.adaptive_avg_pool2d(answer_KHW, size))
        return np.stack(labels), torch.stack(probabilities)

    def _answers(self, frames: SampledFrames) -> Iterator[torch.Tensor | np.ndarray]:
        """Of each frame, at its size: scores float32 [K, H, W], or labels uint8 [H, W]."""
        assert frames.images_BHWC is not None
        says = self._says
        images_BCHW = torch.from_numpy(frames.images_BHWC).to(self._device).permute(0, 3, 1, 2).float()
        full_size = (images_BCHW.shape[2], images_BCHW.shape[3])
        if says.channel_order == "bgr":
            images_BCHW = images_BCHW.flip(1)
        if says.size and tuple(says.size) != full_size:
            images_BCHW = F.interpolate(images_BCHW, tuple(says.size), mode="bilinear")
        images_BCHW = (images_BCHW * (SCALES[says.scale] / 255) - self._mean) / self._std
        height, width = images_BCHW.shape[2:]
        padding = (0, -width % says.multiple_of, 0, -height % says.multiple_of)
        padded = F.pad(images_BCHW, padding, mode="reflect") if any(padding) else images_BCHW
        output = self._run(padded if says.layout == "nchw" else padded.permute(0, 2, 3, 1)).to(self._device)
        if not output.ndim or len(output) != len(padded):
            raise ValueError(f"{self._file} puts out {list(output.shape)} for {len(padded)} frames")
        for answer in output if says.output == "labels" else self._scores(output):
            yield self._at_size(answer, tuple(padded.shape[2:]), (height, width), full_size)

    def _scores(self, output: torch.Tensor) -> torch.Tensor:
        """The output as float32 [B, K, h, w], if it is what the description says."""
        scores = output.permute(0, 3, 1, 2) if self._says.layout == "nhwc" and output.ndim == 4 else output
        if scores.ndim != 4 or scores.shape[1] != self.num_classes:
            layout = "[B, K, H, W]" if self._says.layout == "nchw" else "[B, H, W, K]"
            raise ValueError(
                f"{self._file} puts out {list(output.shape)} for {len(output)} frames; expected {layout} with "
                f"K = {self.num_classes}, the classes of its description"
            )
        scores = scores.float()
        if self._says.output == "probabilities" and not torch.allclose(scores.sum(1), scores.new_ones(()), atol=1e-2):
            raise ValueError(f"{self._file} puts out numbers that do not sum to 1; its description says probabilities")
        return scores

    def _at_size(
        self, answer: torch.Tensor, padded: tuple[int, ...], seen: tuple[int, int], full: tuple[int, int]
    ) -> torch.Tensor | np.ndarray:
        """From the answer to a padded picture to that for the frame: enlarge it, cut the padding off, resize it."""
        is_labels = self._says.output == "labels"
        answer = self._checked_labels(answer).float()[None, None] if is_labels else answer[None]
        mode = "nearest-exact" if is_labels else "bilinear"
        if tuple(answer.shape[2:]) != padded:
            answer = F.interpolate(answer, padded, mode=mode)
        answer = answer[:, :, : seen[0], : seen[1]]
        if seen != full:
            answer = F.interpolate(answer, full, mode=mode)
        if not is_labels:
            return answer[0]
        labels_HW: np.ndarray = answer[0, 0].to(torch.uint8).cpu().numpy()
        return labels_HW

    def _checked_labels(self, labels: torch.Tensor) -> torch.Tensor:
        labels_hw = labels.squeeze()
        if labels_hw.ndim != 2 or labels_hw.is_floating_point():
            raise ValueError(
                f"{self._file} puts out {list(labels.shape)} {labels.dtype} a frame; expected [H, W] of whole numbers, "
                "since its description says labels"
            )
        unknown = labels_hw[((labels_hw < 0) | (labels_hw >= self.num_classes)) & (labels_hw != IGNORE)]
        if len(unknown):
            raise ValueError(f"{self._file} puts out label {int(unknown[0])}; its description names {self.num_classes}")
        return labels_hw


def _likeliest(scores_KHW: torch.Tensor) -> np.ndarray:
    labels_HW: np.ndarray = scores_KHW.max(0).indices.to(torch.uint8).cpu().numpy()
    return labels_HW


def _files(file: str) -> tuple[Path, Path]:
    path = Path(file)
    description = path.with_suffix(".yaml")
    for wanted, what in {path: "exported network", description: "description of an exported network"}.items():
        if not wanted.is_file():
            raise ValueError(
                f"no {what} {wanted}: teacher.file={file} needs both (see odkd/teachers/exported_description.py)"
            )
    return path, description


def _load_torchscript(path: Path, device: torch.device) -> Run:
    try:
        with warnings.catch_warnings():  # torch calls TorchScript deprecated; what users have exported is still read
            warnings.simplefilter("ignore", FutureWarning)
            network = torch.jit.load(str(path), map_location=device).eval()  # type: ignore[no-untyped-call]  # as torch has it
    except Exception as error:
        raise ValueError(f"{path} is no TorchScript file: {_brief(error)}") from error

    def run(images: torch.Tensor) -> torch.Tensor:
        try:
            output = network(images)
        except RuntimeError as error:
            raise ValueError(_refused(path, images, error)) from error
        first = output[0] if isinstance(output, list | tuple) else output
        if not isinstance(first, torch.Tensor):
            raise ValueError(
                f"{path} puts out a {type(first).__name__}; expected a tensor, or several (the first counts)"
            )
        return first

    return run


def _load_onnx(path: Path, device: torch.device) -> Run:
    try:
        import onnxruntime
    except ImportError as error:
        raise ValueError(f"{path} needs onnxruntime ({error}): pip install 'odkd[onnx]'") from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors; they come as exceptions
    providers: list[Any] = ["CPUExecutionProvider"]
    if device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        providers.insert(0, ("CUDAExecutionProvider", {"device_id": device.index or 0}))
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:
        raise ValueError(f"{path} is no ONNX file that onnxruntime can run: {_brief(error)}") from error
    if device.type != "cpu" and session.get_providers()[0] == "CPUExecutionProvider":
        logger.warning("%s runs on the CPU: the onnxruntime installed cannot use %s", path, device)
    (entry, *others) = session.get_inputs()
    if others or entry.type not in NUMPY_TYPES or len(entry.shape) != 4:
        inputs = [f"{one.name}: {one.type} {one.shape}" for one in session.get_inputs()]
        raise ValueError(
            f"{path} takes {'; '.join(inputs)}; expected one picture of 4 dimensions in float32 or float16"
        )
    if isinstance(entry.shape[0], int) and entry.shape[0] != 1:
        raise ValueError(
            f"{path} takes {entry.shape[0]} frames at a time; export it for any number of them, or for one"
        )
    output = session.get_outputs()[0].name

    def run(images: torch.Tensor) -> torch.Tensor:
        pictures = images.cpu().numpy().astype(NUMPY_TYPES[entry.type], copy=False)
        parts = np.split(pictures, len(pictures)) if entry.shape[0] == 1 else [pictures]
        try:
            answers = [session.run([output], {entry.name: np.ascontiguousarray(part)})[0] for part in parts]
        except Exception as error:
            raise ValueError(_refused(path, images, error)) from error
        return torch.from_numpy(np.concatenate(answers))

    return run


def _refused(path: Path, images: torch.Tensor, error: Exception) -> str:
    return (
        f"{path} cannot take pictures {list(images.shape)}: {_brief(error)}; if it takes one size only, or "
        "multiples of a number, say so in its description (size, multiple_of)"
    )


def _brief(error: Exception) -> str:
    """Its last words, which say what was wrong; before them stands where."""
    return " ".join(str(error).split())[-300:]
