"""Channel-wise distillation (CWD; Shu et al., ICCV 2021, eq. 5 and 6).

    p of a channel = softmax over its places of F / T
    loss = T^2 / (B * C) * sum over images and channels of KL(p of the teacher || p of the student)

The student's channels are projected where their number differs, as in the paper.
"""

import torch.nn.functional as F
from torch import Tensor

from odkd.common.settings import PositiveFloat
from odkd.training.features import Projection


class ChannelWise:
    """Compares, channel by channel, how features are distributed over a map.

    Args:
        temperature: T.
    """

    projection: Projection = "if_needed"

    def __init__(self, temperature: PositiveFloat) -> None:
        self._temperature = temperature

    def __call__(self, student_BCHW: Tensor, teacher_BCHW: Tensor) -> Tensor:
        logs_BCN, targets_BCN = (
            F.log_softmax(features_BCHW.flatten(2) / self._temperature, dim=2)
            for features_BCHW in (student_BCHW, teacher_BCHW)
        )
        divergence = F.kl_div(logs_BCN, targets_BCN, reduction="sum", log_target=True)
        return self._temperature**2 * divergence / (student_BCHW.shape[0] * student_BCHW.shape[1])
