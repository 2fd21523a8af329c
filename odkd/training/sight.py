"""What a pace may ask about frames (`pace.Sight`): scores of the student, labels against labels, confidence."""

from collections.abc import Callable

from torch import Tensor, nn

from odkd.common.ignore import IGNORE
from odkd.data.tensor_bank import Batch
from odkd.evaluation.evaluate import Evaluator
from odkd.evaluation.metrics import class_iou, confusion_matrices, mean_iou
from odkd.training.learn import Learner


class StudentSight:
    """Measures of the student that learns, of the one that is deployed, and of labels.

    Args:
        deployed: returns the network that answers just now.
    """

    def __init__(self, learner: Learner, evaluator: Evaluator, deployed: Callable[[], nn.Module]) -> None:
        self._learner, self._evaluator, self._deployed = learner, evaluator, deployed

    def student_iou(self, position: int) -> float:
        """Return the smallest IoU over the classes of a label; 1 for a label that has none."""
        source = self._learner.source
        confusion_KK = self._evaluator.confusions(self._learner.student, [position])[source][0]
        iou_N = class_iou(confusion_KK)[confusion_KK.sum(1) > 0]
        return float(iou_N.min()) if len(iou_N) else 1.0

    def agreement(self, before: int, after: int) -> float:
        """Return the mIoU of one label against another, of the pixels that both have; 1 where there is none."""
        first_HW, second_HW = self._evaluator.bank.get([before, after]).labels[self._learner.source]
        return agreement_of(first_HW, second_HW, self._evaluator.bank.num_classes)

    def has_label(self, position: int) -> bool:
        """Return whether a pixel of the frame's label counts."""
        return bool((self._evaluator.bank.get([position]).labels[self._learner.source] != IGNORE).any())

    def confidence(self, position: int) -> float:
        """Return the mean over the pixels of the largest probability, by the student that is deployed."""
        found: list[float] = []

        def measure(_: Batch, logits_BKHW: Tensor) -> None:
            found.append(float(logits_BKHW.float().softmax(1).amax(1).double().mean()))

        self._evaluator.each_logits(self._deployed(), [position], measure)
        return found[0]


def agreement_of(first_HW: Tensor, second_HW: Tensor, num_classes: int) -> float:
    """Return the mIoU of the second label against the first, of the pixels that both have; 1 where there is none."""
    is_left_out = (first_HW == IGNORE) | (second_HW == IGNORE)
    confusions = confusion_matrices(
        second_HW.masked_fill(is_left_out, 0)[None],
        first_HW.masked_fill(is_left_out, IGNORE)[None],
        num_classes,
    )
    value = float(mean_iou(confusions[0]))
    return value if value == value else 1.0
