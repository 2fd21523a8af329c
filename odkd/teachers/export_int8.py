"""Export of a network as an ONNX file in int8: static quantisation by onnxruntime, calibrated on images.

Activations are uint8 with one scale a tensor, weights int8 with one scale an output channel, between QuantizeLinear
and DequantizeLinear nodes (QDQ). Convolutions and matrix products are quantised; what is cheap stays in float32.
Weights have 7 bits: without VNNI instructions a processor would saturate sums of 8-bit products.
"""

import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import yaml
from torch import Tensor

from odkd.common.files import write_atomic
from odkd.common.optional import optional
from odkd.teachers.export import Export, quiet, write_export

OPERATORS = ["Conv", "ConvTranspose", "Gemm", "MatMul"]


def write_int8(export: Export, path: Path, images: Iterable[Tensor]) -> None:
    """Write a network as ONNX in int8, and the YAML file of the same name.

    Args:
        export: what is written.
        path: of the file, .onnx.
        images: to calibrate on: float32 [1, 3, H, W], as the file takes them.

    Raises:
        ValueError: the network cannot be exported or quantised, or a library for it is missing.
    """
    onnx, _ = (optional(name, "an export to int8") for name in ("onnx", "onnxruntime"))
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static
    from onnxruntime.quantization.shape_inference import quant_pre_process

    with tempfile.TemporaryDirectory() as folder:
        plain, prepared, quantised = (Path(folder) / f"{name}.onnx" for name in ("plain", "prepared", "int8"))
        write_export(export, plain, "onnx")
        try:
            with quiet():
                quant_pre_process(plain, prepared, skip_symbolic_shape=True)
                quantize_static(
                    prepared,
                    quantised,
                    _Reader(images),
                    quant_format=QuantFormat.QDQ,
                    op_types_to_quantize=OPERATORS,
                    per_channel=True,
                    reduce_range=True,
                    activation_type=QuantType.QUInt8,
                    weight_type=QuantType.QInt8,
                )
            model = onnx.load(quantised)
        except Exception as error:  # of the library, which names no kinds
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"the network cannot be quantised: {type(error).__name__}: {reason}") from error
    del model.metadata_props[:]
    for name, value in (export.metadata() | {"quantised": "int8"}).items():
        model.metadata_props.add(key=name, value=value)
    write_atomic(path, model.SerializeToString())
    write_atomic(path.with_suffix(".yaml"), yaml.safe_dump(export.description(), sort_keys=False).encode())


class _Reader:
    """The images, in the form that onnxruntime's calibration asks for."""

    def __init__(self, images: Iterable[Tensor]) -> None:
        self._images: Iterator[Tensor] = iter(images)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next image by the name of the network's input; None at the end."""
        image_BCHW = next(self._images, None)
        return None if image_BCHW is None else {"images": image_BCHW.numpy()}
