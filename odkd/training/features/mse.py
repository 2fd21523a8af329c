"""Mean squared error of projected features (FitNets, Romero et al. 2015, eq. 3, as a mean over all numbers)."""

import torch.nn.functional as F
from torch import Tensor

from odkd.training.features import Projection


class MeanSquaredError:
    """Compares each number of the student's projected map with the teacher's."""

    projection: Projection = "always"

    def __call__(self, student_BCHW: Tensor, teacher_BCHW: Tensor) -> Tensor:
        return F.mse_loss(student_BCHW, teacher_BCHW)
