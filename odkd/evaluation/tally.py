"""Confusion counts over many frames, and the scores of a split by their metric names."""

from collections.abc import Sequence

import torch
from torch import Tensor

from odkd.common.metric_names import SCORES, metric_name
from odkd.evaluation.metrics import class_iou, macro_f1, mean_iou, pixel_accuracy, weighted_f1


class Tally:
    """One confusion matrix of all frames, and the mIoU of each frame."""

    def __init__(self, num_classes: int) -> None:
        self.total_KK = torch.zeros(num_classes, num_classes, dtype=torch.int64)
        self._frame_mious: list[Tensor] = []

    def add(self, confusions_NKK: Tensor) -> None:
        """Add the matrices of frames: int64 [N, K, K] on any device."""
        confusions_NKK = confusions_NKK.cpu()
        self.total_KK += confusions_NKK.sum(0)
        self._frame_mious.append(mean_iou(confusions_NKK))

    def scores(self, scope: str, reference: str) -> dict[str, float]:
        """Return dataset mIoU, mean per-frame mIoU, accuracy, weighted and macro F1, by their names in `scope`.

        A score is NaN if no pixel was scored.
        """
        mious = torch.cat(self._frame_mious) if self._frame_mious else torch.empty(0)
        found = (
            mean_iou(self.total_KK),
            mious.nanmean(),
            pixel_accuracy(self.total_KK),
            weighted_f1(self.total_KK),
            macro_f1(self.total_KK),
        )
        names = (metric_name(scope, score, reference) for score in SCORES)
        return {name: value.item() for name, value in zip(names, found, strict=True)}

    def class_scores(self, classes: Sequence[str], scope: str, reference: str) -> dict[str, float]:
        """Return the IoU of each class, named as `SCOPE/iou/road`; NaN for a class in neither map."""
        found = class_iou(self.total_KK).tolist()
        names = (metric_name(scope, "iou", reference, name) for name in classes)
        return dict(zip(names, found, strict=True))
