"""Swin-Tiny encoder with a DeepLabV3+ head: the student of the MCKD seed (34 M parameters, 6.7 M of them the head's).

Features of stride 4 (96 channels) and stride 32 (768); atrous pyramid on the latter (Chen et al., ECCV 2018).

Deviation: the seed takes its encoder from networks that were trained for segmentation with the labels of the very
sets that it then calls unlabelled; ours starts from ImageNet unless told otherwise. It is timm's, which shifts windows
before it pads the picture to whole ones: unless its sides are multiples of 224, features near the border differ a
little from transformers', the seed's.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odkd.students import read_weights
from odkd.students.swin_weights import rename_swin

PATCH = 4  # pixels
LOW, HIGH = 96, 768  # channels of the encoder's features at stride 4 and 32
WIDTH, LOW_WIDTH = 256, 48
DILATIONS = (12, 24, 36)
DROPOUT = 0.1
UPSAMPLE = ("always", "evaluation")


class SwinTinyDeepLabV3Plus(nn.Module):
    """Logits [B, K, H, W] for images [B, 3, H, W] of any size.

    Args:
        num_classes: K.
        encoder_weights: "imagenet" (timm's, downloaded on first use), a file of weights (timm's names, or those of
            transformers: a Swin, MaskFormer or Mask2Former whose backbone is a Swin-Tiny), or None for a random start.
        upsample: "always" brings logits to the images' size, bilinearly; "evaluation" leaves them at stride 4 in
            training mode, where labels are then brought to them (the seed's 128x128 of 512x512).

    Raises:
        ValueError: another word, no such file, or weights that do not fit.
    """

    def __init__(self, num_classes: int, *, encoder_weights: str | None = "imagenet", upsample: str = "always") -> None:
        super().__init__()
        import timm

        if upsample not in UPSAMPLE:
            raise ValueError(f"student.upsample={upsample}; expected one of {', '.join(UPSAMPLE)}")
        self._upsamples_always = upsample == "always"
        if encoder_weights not in (None, "imagenet") and not Path(encoder_weights).is_file():
            raise ValueError(
                f"student.encoder_weights={encoder_weights}: no such file; expected imagenet, a file, or null"
            )
        self.encoder = timm.create_model(
            "swin_tiny_patch4_window7_224",
            pretrained=encoder_weights == "imagenet",
            features_only=True,
            out_indices=(0, 3),
            img_size=512,  # the seed's: larger than 7 windows at stride 32, so that windows shift there too
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
        low, high = (features.permute(0, 3, 1, 2) for features in self.encoder(images_BCHW))
        high = F.interpolate(self.pyramid(high), size=low.shape[2:], mode="bilinear", align_corners=False)
        logits: Tensor = self.to_classes(self.fuse(torch.cat([self.low(low), high], 1)))
        if self.training and not self._upsamples_always:
            return logits
        size = images_BCHW.shape[2:]
        return F.interpolate(logits, size=size, mode="bilinear", align_corners=False)[:, :, :height, :width]

    def _load_encoder(self, path: Path) -> None:
        state = rename_swin(read_weights(path))
        wanted = self.encoder.state_dict()
        if lacking := [name for name in wanted if name not in state or state[name].shape != wanted[name].shape]:
            raise ValueError(
                f"student.encoder_weights={path} is no Swin-Tiny: {len(lacking)} of {len(wanted)} weights are not "
                f"there or have another shape, such as {lacking[0]}"
            )
        self.encoder.load_state_dict({name: state[name] for name in wanted})


class Pyramid(nn.Module):
    """Atrous spatial pyramid pooling: 1x1, three dilated 3x3, and the picture's mean; projected to 256 channels."""

    def __init__(self) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            [conv_block(HIGH, WIDTH, 1), *(conv_block(HIGH, WIDTH, 3, dilation) for dilation in DILATIONS)]
        )
        self.pooled = PooledNorm(HIGH, WIDTH)
        self.project = nn.Sequential(conv_block(WIDTH * (len(DILATIONS) + 2), WIDTH, 1), nn.Dropout(DROPOUT))

    def forward(self, features: Tensor) -> Tensor:
        pooled = self.pooled(features).expand(-1, -1, *features.shape[2:])
        return self.project(torch.cat([*(branch(features) for branch in self.branches), pooled], 1))  # type: ignore[no-any-return]


class PooledNorm(nn.Module):
    """1x1 convolution, batch norm, ReLU of the picture's mean.

    One picture alone has one value a channel, which no batch norm can be trained on: it is then normalised by the
    running statistics, which stay.
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
    """Convolution with "same" padding and without bias, batch norm, ReLU."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(inplace=True),
    )
