"""Swin-Tiny encoder with a DeepLabV3+ head: the student of MCKD's reference code (34 M parameters, 6.7 M in the head).

The head uses features of stride 4 (96 channels) and stride 32 (768 channels), with an atrous pyramid on the latter
(Chen et al., ECCV 2018).

Deviation: the reference code takes its encoder from segmentation networks that were trained with the labels of the very
sets that it then treats as unlabelled; ours starts from ImageNet by default. From a file of such a network, the layer
norms behind its encoder are taken too, and features are normalized by them as there; ImageNet weights have none.

Deviation: the head begins with torch's default weights, that of the reference code with He's (Kaiming) normal ones. A
frozen encoder stays in eval mode; the reference code trains with its stochastic depth on.

Deviation: ours is timm's encoder, which shifts windows before it pads the image to complete ones; that of transformers
shifts them afterwards. If the sides of the image are multiples of 224, features are equal up to rounding. At other
sizes they differ, and not only near the border, because each block carries the difference on. At 512x512, the size of
the reference code, with random weights: 81% of the positions of stride 32 differ by more than 1% of their norm (half of
them by more than 7%), and 3% of those of stride 4.
"""

import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odkd.common.optional import optional
from odkd.students.fitting import renamed
from odkd.students.initial_weights import check_hub, of_timm
from odkd.students.swin_weights import NORM, normed_stages, rename_swin
from odkd.students.weights import read_checkpoint

ENCODER = "swin_tiny_patch4_window7_224"  # of timm
PATCH = 4  # pixels
LOW, HIGH = 96, 768  # channels of the encoder's features at stride 4 and 32
WIDTH, LOW_WIDTH = 256, 48
DILATIONS = (12, 24, 36)
DROPOUT = 0.1


class SwinTinyDeepLabV3Plus(nn.Module):
    """A network from images [B, 3, H, W] of any size to logits [B, K, H, W].
    Args:
        num_classes: K.
        encoder_weights: "imagenet" (timm's, downloaded on first use), a file of weights (timm's names, or those of
            transformers: a Swin, MaskFormer or Mask2Former whose backbone is a Swin-Tiny), or None for a random start.
        upsample: "always" upsamples logits bilinearly to the size of the images; "evaluation" leaves them at stride 4
            in training mode, to which labels are resized (128x128 for 512x512 in the reference code).

    Raises:
        ValueError: timm is not installed, or the file of encoder weights does not exist or does not fit.
    """

    libraries = ("timm",)  # part of the run key: layers and initial weights of the encoder are its

    def __init__(
        self,
        num_classes: int,
        *,
        encoder_weights: str | None = "imagenet",
        upsample: Literal["always", "evaluation"] = "always",
    ) -> None:
        super().__init__()
        timm = optional("timm", "the encoder of SwinTinyDeepLabV3Plus")
        self._upsamples_always = upsample == "always"
        if encoder_weights not in (None, "imagenet") and not Path(encoder_weights).is_file():
            raise ValueError(
                f"student.encoder_weights={encoder_weights}: no such file; expected imagenet, a file, or null"
            )
        if encoder_weights == "imagenet" and (source := of_timm(ENCODER)):
            then = "set student.encoder_weights=FOLDER/model.safetensors"
            check_hub(source, "student.encoder_weights=imagenet", then)
        self.encoder = timm.create_model(
            ENCODER,
            pretrained=encoder_weights == "imagenet",
            features_only=True,
            out_indices=(0, 3),
            img_size=512,  # as the reference code: more than a window of 7 at stride 32, so that windows shift there
            strict_img_size=False,
        )
        if encoder_weights not in (None, "imagenet"):
            self._load_encoder(Path(encoder_weights))
        self.low = conv_block(LOW, LOW_WIDTH, 1)
        self.pyramid = Pyramid()
        self.fuse = nn.Sequential(conv_block(WIDTH + LOW_WIDTH, WIDTH, 3), nn.Dropout(DROPOUT))
        self.to_classes = nn.Conv2d(WIDTH, num_classes, 1)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        height, width = images_BCHW.shape[2:]
        bottom, right = -height % PATCH, -width % PATCH
        if bottom or right:
            images_BCHW = F.pad(images_BCHW, (0, right, 0, bottom), mode="reflect")
        low, high = self.features(images_BCHW)
        high = F.interpolate(self.pyramid(high), size=low.shape[2:], mode="bilinear", align_corners=False)
        logits: Tensor = self.to_classes(self.fuse(torch.cat([self.low(low), high], 1)))
        if self.training and not self._upsamples_always:
            return logits
        size = images_BCHW.shape[2:]
        return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)[:, :, :height, :width]

    def features(self, images_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """Return the features of stride 4, [B, 96, H/4, W/4], and of stride 32, [B, 768, H/32, W/32]."""
        low, high = self.encoder(images_BCHW)
        if norm := getattr(self.encoder.layers_0, NORM, None):
            low = norm(low)
        if norm := getattr(self.encoder.layers_3, NORM, None):
            high = norm(high)
        return low.permute(0, 3, 1, 2), high.permute(0, 3, 1, 2)

    def expect(self, names: Iterable[str]) -> None:
        """Have norms behind the encoder if the weights to be loaded, of these names, have them."""
        stages = normed_stages(names)
        for stage, width in (("0", LOW), ("3", HIGH)):
            if stage in stages:  # a part of the encoder's stage, so that `freeze: encoder.*` covers it
                self.encoder.get_submodule(f"layers_{stage}").add_module(NORM, nn.LayerNorm(width))

    @staticmethod
    def facts(settings: Mapping[str, Any]) -> list[str]:
        """Return what determines the numbers of a run besides its settings: whether there are norms in the file.

        Runs from before they were loaded have another network, and so another key.
        """
        path = Path(str(settings.get("encoder_weights")))
        if not path.is_file() or not _has_norms(path, path.stat().st_mtime_ns):
            return []
        return ["norms of the encoder's features"]

    def _load_encoder(self, path: Path) -> None:
        found = read_checkpoint(path, "student.encoder_weights")["state_dict"]
        self.expect(found)
        wanted = self.encoder.state_dict()
        state = renamed(rename_swin(found), wanted, path)
        if lacking := [name for name in wanted if name not in state or state[name].shape != wanted[name].shape]:
            raise ValueError(
                f"student.encoder_weights={path} is no Swin-Tiny: {len(lacking)} of {len(wanted)} weights are missing "
                f"or have another shape, such as {lacking[0]}"
            )
        self.encoder.load_state_dict({name: state[name] for name in wanted})


@functools.cache
def _has_norms(path: Path, _changed_ns: int) -> bool:
    """Return True if a file of encoder weights has norms of features; read once per change."""
    return bool({"0", "3"} & normed_stages(read_checkpoint(path, "student.encoder_weights")["state_dict"]))


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: 1x1, three dilated 3x3, and the image's mean; projected to 256 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [conv_block(HIGH, WIDTH, 1), *(conv_block(HIGH, WIDTH, 3, dilation) for dilation in DILATIONS)]
        )
        self.pooled = PooledNorm(HIGH, WIDTH)
        self.project = nn.Sequential(conv_block(WIDTH * (len(DILATIONS) + 2), WIDTH, 1), nn.Dropout(DROPOUT))

    def forward(self, features: Tensor) -> Tensor:
        pooled = self.pooled(features).expand(-1, -1, *features.shape[2:])
        projected: Tensor = self.project(torch.cat([*(branch(features) for branch in self.branches), pooled], 1))
        return projected


class PooledNorm(nn.Module):
    """1x1 convolution, batch norm and ReLU of the image's mean.

    A batch of one image has one value per channel, on which no batch norm can be trained: it is normalized by the
    running statistics, which stay unchanged.
    """

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels_out)

    def forward(self, features: Tensor) -> Tensor:
        pooled = self.conv(features.mean((2, 3), keepdim=True))
        if self.training and len(pooled) == 1:
            norm = self.norm
            return F.relu(
                F.batch_norm(pooled, norm.running_mean, norm.running_var, norm.weight, norm.bias, eps=norm.eps)
            )
        return F.relu(self.norm(pooled))


def conv_block(channels_in: int, channels_out: int, kernel: int, dilation: int = 1) -> nn.Sequential:
    """Return a convolution with "same" padding and without bias, followed by batch norm and ReLU."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )
