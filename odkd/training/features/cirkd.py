"""Pixel relations across the images of a batch (CIRKD; Yang et al., CVPR 2022, sec. 3.2, mini-batch-based).

    S of images i, j = cosine similarity of each place of i with each place of j, [N, N]
    loss = mean over pairs i, j and rows of KL(softmax(S of the teacher / T) || softmax(S of the student / T))

With one image in a batch, its places are related to each other only: choose a larger stage.batch_size. Memory grows
with the square of the batch's places: `patch` averages them before.

Deviation: eq. 5 writes KL(student || teacher); the released code computes KL(teacher || student), and so do we. The
memory bank of the paper (sec. 3.3) is left out.
"""

import torch.nn.functional as F
from torch import Tensor

from odkd.common.settings import PositiveFloat, PositiveInt
from odkd.training.features import Projection


class PixelRelations:
    """Compares how places of a batch are like each other. Channels are not compared: their numbers may differ.

    Args:
        temperature: T.
        patch: places [patch x patch] that are averaged to one; 1 = none.
    """

    projection: Projection = "never"

    def __init__(self, temperature: PositiveFloat, patch: PositiveInt) -> None:
        self._temperature, self._patch = temperature, patch

    def __call__(self, student_BCHW: Tensor, teacher_BDHW: Tensor) -> Tensor:
        logs, targets = (F.log_softmax(self._relations(maps), dim=3) for maps in (student_BCHW, teacher_BDHW))
        num_pairs, num_places = logs.shape[0] * logs.shape[1], logs.shape[2]
        return F.kl_div(logs, targets, reduction="sum", log_target=True) / (num_pairs * num_places)

    def _relations(self, maps_BCHW: Tensor) -> Tensor:
        """Return the similarities of all places of all pairs of images, divided by T: [B, B, N, N]."""
        if self._patch > 1:
            maps_BCHW = F.avg_pool2d(maps_BCHW, self._patch, ceil_mode=True)
        places_BCN = F.normalize(maps_BCHW, dim=1).flatten(2)
        rows_B1NC, columns_1BCN = places_BCN.transpose(1, 2)[:, None], places_BCN[None]
        return rows_B1NC @ columns_1BCN / self._temperature
