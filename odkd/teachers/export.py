"""Export of a network as ONNX, as a program of torch.export, or as TorchScript, with the description beside it.

`exported.py` reads the description. The network gives logits for images of one size, in batches of any length.
"""

import copy
import io
import json
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import yaml
from torch import Tensor, nn

from odkd.common.files import write_atomic
from odkd.common.optional import optional
from odkd.students.equal_forms import use_fast_forms

OPSET = 18  # of ONNX: the oldest that torch's exporter writes without converting
SUFFIXES = {"onnx": ".onnx", "pt2": ".pt2", "torchscript": ".pt"}


@dataclass(frozen=True)
class Export:
    """What is exported.

    Args:
        network: images [B, 3, H, W] to logits [B, K, H, W].
        classes: names, in the order of the ids.
        mean, std: of RGB in 0..1.
        size: (height, width) in pixels; networks may store sizes as constants when they are exported.
        facts: further entries of the file's metadata.
        takes_pixels: the file takes RGB values 0 to 255 and normalizes them itself.
    """

    network: nn.Module
    classes: Sequence[str]
    mean: Sequence[float]
    std: Sequence[float]
    size: tuple[int, int]
    facts: Mapping[str, str] = field(default_factory=dict)
    takes_pixels: bool = False

    def description(self) -> dict[str, Any]:
        """Return the content of the YAML file beside the network."""
        mean, std = ([0.0] * 3, [1.0] * 3) if self.takes_pixels else (list(self.mean), list(self.std))
        scale = {"scale": "0..255"} if self.takes_pixels else {}
        known = {"classes": list(self.classes), "mean": mean, "std": std, **scale}
        alone = {"one_by_one": True} if self.depends_on_batch else {}
        return {**known, "size": list(self.size), **alone, "output": "logits"}

    @cached_property
    def depends_on_batch(self) -> bool:
        """True if the answer for an image depends on the others of its batch, as with batch norms of its statistics."""
        images_BCHW = torch.rand(2, 3, *self.size, generator=torch.Generator().manual_seed(0))
        network = self.plain()
        with torch.inference_mode():
            alone_BKHW, together_BKHW = network(images_BCHW[:1]), network(images_BCHW)[:1]
        return not torch.allclose(alone_BKHW, together_BKHW, rtol=1e-3, atol=1e-3)

    def metadata(self) -> dict[str, str]:
        """Return what is stored within the file: the description and the facts, as text."""
        return {name: json.dumps(value) for name, value in self.description().items()} | dict(self.facts)

    def example(self, batch: int) -> Tensor:
        """Return images that the file takes."""
        return torch.zeros(batch, 3, *self.size)

    def images(self) -> Tensor:
        """Return images to export with: two, so that batches may have any length, or one that goes alone."""
        return self.example(1 if self.depends_on_batch else 2)

    def shapes(self) -> Any:
        """Return which lengths of the images may be others, as torch.export takes it; None = none."""
        return None if self.depends_on_batch else ({0: torch.export.Dim("batch")},)

    def plain(self) -> nn.Module:
        """Return a copy of the network on the CPU, in float32 and evaluation mode, of standard operations alone."""
        plain = copy.deepcopy(self.network).cpu().float().eval().to(memory_format=torch.contiguous_format)
        use_fast_forms(plain, False)
        return _Normalized(plain, self.mean, self.std).eval() if self.takes_pixels else plain


class _Normalized(nn.Module):
    """A network that takes RGB values 0 to 255."""

    def __init__(self, network: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.network = network
        self.mean = nn.Buffer(torch.tensor(mean).view(1, 3, 1, 1) * 255)
        self.std = nn.Buffer(torch.tensor(std).view(1, 3, 1, 1) * 255)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        """Return logits [B, K, H, W]."""
        logits_BKHW: Tensor = self.network((images_BCHW - self.mean) / self.std)
        return logits_BKHW


def write_export(export: Export, path: Path, kind: str) -> None:
    """Write a network as `kind`, and the YAML file of the same name.

    Args:
        export: what is written.
        path: of the file; its suffix is that of SUFFIXES.
        kind: onnx, pt2 or torchscript.

    Raises:
        ValueError: the network cannot be exported, or a library for it is missing.
    """
    writers: dict[str, Callable[[Export], bytes]] = {"onnx": _onnx, "pt2": _program, "torchscript": _torchscript}
    with quiet():
        try:
            content = writers[kind](export)
        except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(f"the network cannot be exported as {kind}: {reason}") from error
    write_atomic(path, content)
    write_atomic(path.with_suffix(".yaml"), yaml.safe_dump(export.description(), sort_keys=False).encode())


def write_torchscript(
    network: nn.Module,
    path: Path,
    *,
    classes: Sequence[str],
    mean: Sequence[float],
    std: Sequence[float],
    size: tuple[int, int],
) -> None:
    """Write a network as TorchScript, `path` (.pt), and the YAML file of the same name; see `Export`."""
    write_export(Export(network, classes, mean, std, size), path, "torchscript")


def _torchscript(export: Export) -> bytes:
    content = io.BytesIO()
    traced = torch.jit.trace(export.plain(), export.example(1))  # type: ignore[no-untyped-call]
    torch.jit.save(traced, content, _extra_files=export.metadata())
    return content.getvalue()


def _program(export: Export) -> bytes:
    content = io.BytesIO()
    program = torch.export.export(export.plain(), (export.images(),), dynamic_shapes=export.shapes())
    torch.export.save(program, content, extra_files=export.metadata())
    return content.getvalue()


def _onnx(export: Export) -> bytes:
    onnx = optional("onnx", "an export to ONNX")
    optional("onnxscript", "an export to ONNX")
    made = torch.onnx.export(
        export.plain(),
        (export.images(),),
        dynamo=True,
        opset_version=OPSET,
        input_names=["images"],
        output_names=["logits"],
        dynamic_shapes=export.shapes(),
        verbose=False,
    )
    assert made is not None
    model = made.model_proto
    for name, value in export.metadata().items():
        model.metadata_props.add(key=name, value=value)
    onnx.checker.check_model(model)
    content: bytes = model.SerializeToString()
    return content


@contextmanager
def quiet() -> Iterator[None]:
    """Keep back what exporters say while they work: torch calls TorchScript deprecated and warns about constants."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(logging.NOTSET)
