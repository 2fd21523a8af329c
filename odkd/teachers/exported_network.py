"""Files of exported networks, as functions from images to their first output: ONNX, torch.export, TorchScript."""

import logging
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from odkd.common.optional import optional

logger = logging.getLogger(__name__)
NUMPY_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
Run = Callable[[torch.Tensor], torch.Tensor]


def open_network(path: Path, device: torch.device) -> Run:
    """Return a function from images to the first output of an exported network; its file is trusted.

    Raises:
        ValueError: the file cannot be loaded; from the function: the network cannot take the images.
    """
    if path.suffix == ".onnx":
        return _load_onnx(path, device)
    return _load_program(path, device) if path.suffix == ".pt2" else _load_torchscript(path, device)


def _load_program(path: Path, device: torch.device) -> Run:
    try:
        network = torch.export.load(path).module().to(device)
    except Exception as error:
        raise ValueError(f"{path} is no program of torch.export: {_brief(error)}") from error
    return _calling(network, path)


def _load_torchscript(path: Path, device: torch.device) -> Run:
    try:
        with warnings.catch_warnings():  # torch calls TorchScript deprecated; users' old exports are still read
            warnings.filterwarnings("ignore", r"`torch\.jit")
            network = torch.jit.load(str(path), map_location=device).eval()  # type: ignore[no-untyped-call]
    except Exception as error:
        raise ValueError(f"{path} is no TorchScript file: {_brief(error)}") from error
    return _calling(network, path)


def _calling(network: Callable[[torch.Tensor], Any], path: Path) -> Run:
    """Return a function from images to the first output of a network of torch."""

    def run(images: torch.Tensor) -> torch.Tensor:
        try:
            output = network(images)
        except (RuntimeError, AssertionError) as error:  # the latter of torch.export: another size
            raise ValueError(_refused(path, images, error)) from error
        first = output[0] if isinstance(output, list | tuple) else output
        if not isinstance(first, torch.Tensor):
            raise ValueError(
                f"{path} puts out a {type(first).__name__}; expected a tensor, or several (the first counts)"
            )
        return first

    return run


def _load_onnx(path: Path, device: torch.device) -> Run:
    onnxruntime = optional("onnxruntime", f"teacher.file={path}")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3  # errors, which are raised as exceptions, too
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
            f"{path} takes {'; '.join(inputs)}; expected one image input of 4 dimensions in float32 or float16"
        )
    if isinstance(entry.shape[0], int) and entry.shape[0] != 1:
        raise ValueError(
            f"{path} takes {entry.shape[0]} frames at a time; export it for any number of them, or for one"
        )
    output = session.get_outputs()[0].name

    def run(images: torch.Tensor) -> torch.Tensor:
        arrays = images.cpu().numpy().astype(NUMPY_TYPES[entry.type], copy=False)
        parts = np.split(arrays, len(arrays)) if entry.shape[0] == 1 else [arrays]
        try:
            outputs = [session.run([output], {entry.name: np.ascontiguousarray(part)})[0] for part in parts]
        except Exception as error:
            raise ValueError(_refused(path, images, error)) from error
        return torch.from_numpy(np.concatenate(outputs))

    return run


def _refused(path: Path, images: torch.Tensor, error: Exception) -> str:
    return (
        f"{path} cannot take images {list(images.shape)}: {_brief(error)}; if it takes one size only, or "
        "multiples of a number, say so in its description (size, multiple_of)"
    )


def _brief(error: Exception) -> str:
    """Return the end of an error's text: the reason, which follows the place of the error."""
    return " ".join(str(error).split())[-300:]
