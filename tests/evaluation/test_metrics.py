"""Confusion matrices and scores, compared with scikit-learn and worked by hand."""

import numpy as np
import pytest
import torch
from extras import need
from hypothesis import given, settings
from hypothesis import strategies as st

from odkd.evaluation.metrics import (
    class_iou,
    confusion_matrices,
    count_bins,
    count_bins_without_waiting,
    mean_iou,
    pixel_accuracy,
)


def random_maps(num_classes: int, seed: int, present: int) -> tuple[np.ndarray, np.ndarray]:
    """Return predictions and references [3, 9, 7] of `present` classes; about a fifth of the pixels is ignored."""
    generator = np.random.default_rng(seed)
    classes = generator.choice(num_classes, size=min(present, num_classes), replace=False)
    predicted, reference = generator.choice(classes, size=(2, 3, 9, 7))
    reference[generator.random(reference.shape) < 0.2] = 255
    return predicted.astype(np.uint8), reference.astype(np.uint8)


@settings(max_examples=60, deadline=None)
@given(st.sampled_from([2, 3, 11, 19, 133, 150, 180]), st.integers(0, 10_000), st.integers(1, 20))
def test_matrices_and_scores_equal_those_of_scikit_learn(num_classes: int, seed: int, present: int) -> None:
    sklearn = need("sklearn.metrics")
    predicted, reference = random_maps(num_classes, seed, present)
    ours = confusion_matrices(torch.from_numpy(predicted), torch.from_numpy(reference), num_classes)
    assert ours.dtype == torch.int64
    for frame in range(3):
        valid = reference[frame] != 255
        theirs = sklearn.confusion_matrix(reference[frame][valid], predicted[frame][valid], labels=range(num_classes))
        np.testing.assert_array_equal(ours[frame].numpy(), theirs)
    valid = reference != 255
    total = ours.sum(0)
    seen = np.union1d(reference[valid], predicted[valid]).astype(np.int64)
    ious = sklearn.jaccard_score(reference[valid], predicted[valid], labels=seen, average=None)
    np.testing.assert_allclose(class_iou(total)[seen].numpy(), ious, atol=1e-12)
    assert mean_iou(total).item() == pytest.approx(ious.mean(), abs=1e-12)
    assert class_iou(total).isnan().sum() == num_classes - len(seen)
    assert pixel_accuracy(total).item() == pytest.approx(
        sklearn.accuracy_score(reference[valid], predicted[valid]), abs=1e-12
    )


def test_dataset_miou_and_per_frame_miou_differ_on_a_case_worked_by_hand() -> None:
    # frame 0: reference 0011, predicted 0001 -> IoU 2/3, 1/2; frame 1: reference 0000, predicted 0000 -> IoU 1, absent
    predicted = torch.tensor([[[0, 0, 0, 1]], [[0, 0, 0, 0]]])
    reference = torch.tensor([[[0, 0, 1, 1]], [[0, 0, 0, 0]]])
    frames = confusion_matrices(predicted, reference, 2)
    assert mean_iou(frames.sum(0)).item() == pytest.approx((6 / 7 + 1 / 2) / 2)
    assert mean_iou(frames).mean().item() == pytest.approx(((2 / 3 + 1 / 2) / 2 + 1) / 2)


def test_a_class_that_is_only_predicted_counts_with_iou_0() -> None:
    matrix = confusion_matrices(torch.tensor([[[0, 2]]]), torch.tensor([[[0, 0]]]), 3)[0]
    assert class_iou(matrix)[2] == 0
    assert mean_iou(matrix).item() == pytest.approx((0.5 + 0) / 2)


def test_scores_without_scored_pixels_are_undefined() -> None:
    matrix = confusion_matrices(torch.tensor([[[0, 1]]]), torch.full((1, 1, 2), 255), 2)[0]
    assert mean_iou(matrix).isnan()
    assert pixel_accuracy(matrix).isnan()


def test_counts_are_exact_above_2_to_the_24() -> None:
    zeros = torch.zeros(1, 4100, 4100, dtype=torch.uint8)
    assert confusion_matrices(zeros, zeros, 2)[0, 0, 0].item() == 4100 * 4100


def test_counting_without_waiting_equals_bincount() -> None:
    bins = torch.randint(380, (3, 5000), generator=torch.Generator().manual_seed(0), dtype=torch.int16)
    assert torch.equal(count_bins(bins, 380), count_bins_without_waiting(bins, 380))
