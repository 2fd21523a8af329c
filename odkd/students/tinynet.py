"""TinyNet, the real-time student of ARTHuS (Cioppa et al., CVPRW 2019) and of Houyon et al. (CVPRW 2023).

829,207 parameters for 19 classes. Every batch norm uses the statistics of the current batch, in training and in
evaluation: a frame's prediction depends on the other frames of the batch, so `evaluation.batch_size` is 1.

Deviation: the released code fixes the pyramid's pooling kernels for images of 1920x1080 (1280x720 in its
"SmallTinyNet"). Pooling to the same grids gives the same network there and works at any size.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odkd.common.settings import Fraction
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
    Args:
        num_classes: K.
        dropout: share of the head's channels that are dropped in training (0.25 in the released code).
    """

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
        levels = [features]
        for grid, conv in zip(GRIDS, self.pyramid, strict=True):
            pooled = F.relu(conv(grid_means(features, grid)))
            levels.append(F.interpolate(pooled, size=features.shape[2:], mode="nearest"))
        head = self.dropout(F.relu(self.squeeze(self.pyramid_norm(torch.cat(levels, 1)))))
        # The stem rounds odd sizes down, so the head is resized to the half and full size rather than by x4 and x2.
        height, width = images_BCHW.shape[2:]
        head = F.relu(self.to_classes(F.interpolate(head, size=(-(-height // 2), -(-width // 2)), mode="nearest")))
        return self.smooth(F.interpolate(head, size=(height, width), mode="nearest"))  # type: ignore[no-any-return]
