"""TinyNet, the real-time student of ARTHuS (Cioppa et al., CVPRW 2019) and of Houyon et al. (CVPRW 2023).

829,207 parameters for 19 classes. Every batch norm uses the statistics of the current batch, in training and in
evaluation: a frame's prediction depends on the other frames of the batch, so `evaluation.batch_size` is 1.

Deviation: the released code fixes the pyramid's pooling kernels for images of 1920x1080 (1280x720 in its
"SmallTinyNet"). Pooling to the same grids gives the same network there and works at any size. ARTHuS's own code pools
the third grid to 5x3 instead of 5x4; we have that of Houyon et al.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odkd.common.settings import Fraction
from odkd.students.equal_forms import upsampled_batch_norm, upsampled_conv, upsampled_grids_conv
from odkd.students.pooling import grid_means

WIDTH = 64
GRIDS = ((1, 1), (3, 2), (5, 4), (9, 8))  # rows x columns of the pyramid


def conv_block(channels_in: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Return a convolution with bias and "same" padding, batch norm without running statistics, and ReLU."""
    return nn.Sequential(
        nn.Conv2d(channels_in, WIDTH, kernel, stride, padding=kernel // 2),
        nn.BatchNorm2d(WIDTH, track_running_stats=False),
        nn.ReLU(inplace=True),
    )


class TinyNet(nn.Module):
    """A network from images [B, 3, H, W] of any size to logits [B, K, H, W].

    With `fast_forms`, what follows an upsampling is computed before it (`equal_forms`): equal up to rounding.

    Args:
        num_classes: K.
        dropout: share of the head's channels that are dropped in training (0.25 in the released code).
    """

    fast_forms = False

    def __init__(self, num_classes: int, dropout: Fraction = 0.25) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            conv_block(3, 3, stride=2), conv_block(WIDTH, 3), nn.MaxPool2d(2), conv_block(WIDTH, 3), nn.MaxPool2d(2)
        )
        self.residual = nn.Sequential(conv_block(WIDTH, 3), conv_block(WIDTH, 9), conv_block(WIDTH, 3))
        self.merge = conv_block(WIDTH, 3)
        self.pyramid = nn.ModuleList(
            nn.Identity() if grid == (1, 1) else nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for grid in GRIDS
        )
        self.pyramid_norm = nn.BatchNorm2d(WIDTH * (1 + len(GRIDS)), track_running_stats=False)
        self.squeeze = nn.Conv2d(WIDTH * (1 + len(GRIDS)), WIDTH, 3, padding=1)
        self.dropout = nn.Dropout2d(dropout)
        self.to_classes = nn.Conv2d(WIDTH, num_classes, 3, padding=1)
        self.smooth = nn.Conv2d(num_classes, num_classes, 3, padding=1)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        stem = self.stem(images_BCHW)
        features = self.merge(self.residual(stem) + stem)
        pooled = [F.relu(conv(grid_means(features, grid))) for grid, conv in zip(GRIDS, self.pyramid, strict=True)]
        head = self.dropout(F.relu(self._squeezed(features, pooled)))
        # The stem rounds odd sizes down, so the head is resized to the half and full size rather than by x4 and x2.
        height, width = images_BCHW.shape[2:]
        half = (-(-height // 2), -(-width // 2))
        is_multiple = (height, width) == (8 * head.shape[2], 8 * head.shape[3])
        if self.fast_forms and is_multiple:
            return upsampled_conv(upsampled_conv(head, self.to_classes, 4, rectify=True), self.smooth, 2)
        head = F.relu(self.to_classes(F.interpolate(head, size=half, mode="nearest")))
        return self.smooth(F.interpolate(head, size=(height, width), mode="nearest"))  # type: ignore[no-any-return]

    def _squeezed(self, features: Tensor, pooled: list[Tensor]) -> Tensor:
        """Return the squeezed pyramid [B, WIDTH, H / 8, W / 8] of features and their pooled grids."""
        size = (features.shape[2], features.shape[3])
        if not self.fast_forms:
            upsampled = [F.interpolate(grid, size=size, mode="nearest") for grid in pooled]
            return self.squeeze(self.pyramid_norm(torch.cat([features, *upsampled], 1)))  # type: ignore[no-any-return]
        norm, weight, bias = self.pyramid_norm, self.squeeze.weight, self.squeeze.bias
        scales, shifts = norm.weight.chunk(1 + len(GRIDS)), norm.bias.chunk(1 + len(GRIDS))
        normed = F.batch_norm(features, None, None, scales[0], shifts[0], training=True, eps=norm.eps)
        fine = F.conv2d(normed, weight[:, :WIDTH], bias, padding=1)
        with torch.autocast(features.device.type, enabled=False):  # little work, and many roundings
            grids = [
                upsampled_batch_norm(grid.to(scale.dtype), scale, shift, size, norm.eps)
                for grid, scale, shift in zip(pooled, scales[1:], shifts[1:], strict=True)
            ]
            return fine + upsampled_grids_conv(grids, weight[:, WIDTH:], size).to(fine.dtype)
