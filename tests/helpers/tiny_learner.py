"""A student of two convolutions on 8x8 pictures of 4 classes, for tests of learning and regularizers."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from odkd.data.tensor_bank import Bank, Normalization
from odkd.training.learn import Learner
from odkd.training.losses import CrossEntropy
from odkd.training.regularizers import Regularizer

NUM_CLASSES = 4
CPU = torch.device("cpu")


class Frames:
    """Frames of noise that differ by position."""

    def read(self, positions: Sequence[int]) -> np.ndarray:
        return np.stack([np.random.default_rng(p).integers(0, 256, (8, 8, 3), dtype=np.uint8) for p in positions])


class Labels:
    """Labels of two classes and 255 at each position; class 3 occurs from position 5; position 2 has no labels."""

    def read(self, position: int) -> np.ndarray:
        choices = [255] if position == 2 else [position % 3, (position % 4 if position >= 5 else position % 2), 255]
        return np.random.default_rng(1000 + position).choice(np.array(choices, np.uint8), (8, 8))


@dataclass(frozen=True)
class Pass:
    """The arguments of one call of `Learner.learn`."""

    batches: list[list[int]]
    stream_positions: Collection[int]
    kept: Collection[int]


# Frames that are dropped, replayed, learned alone and together with other frames.
PASSES = [
    Pass([[0, 1], [2]], {0, 1, 2}, {0, 1, 2, 3, 4}),
    Pass([[3, 0], [4, 1], [2]], {3, 4}, {0, 1, 3, 4, 5, 6}),
    Pass([[5, 1], [6, 3], [4]], {5, 6}, {1, 3, 4, 5, 7}),
    Pass([[7, 3], [5, 4]], {7}, {1, 3, 5, 7, 8, 9}),
    Pass([[8, 1], [9, 7], [5], [3]], {8, 9}, {1, 3, 5, 8, 10}),
    Pass([[10, 8], [1]], {10}, {1, 3, 5, 8, 10}),
]


def make_bank(device: torch.device = CPU) -> Bank:
    return Bank(
        Frames(),
        {"teacher": Labels()},
        num_classes=NUM_CLASSES,
        device=device,
        memory_bytes=10**7,
        normalization=Normalization(),
        channels_last=False,
    )


def make_student(*between: nn.Module) -> nn.Sequential:
    """Return a student whose first bias is frozen: regularizers ignore it."""
    torch.manual_seed(0)
    student = nn.Sequential(nn.Conv2d(3, 5, 3, padding=1), *between, nn.ReLU(), nn.Conv2d(5, NUM_CLASSES, 1))
    student[0].bias.requires_grad_(False)
    return student


def make_optimizer(student: nn.Module, name: str = "sgd") -> torch.optim.Optimizer:
    weights = [p for p in student.parameters() if p.requires_grad]
    return torch.optim.Adam(weights, 0.03) if name == "adam" else torch.optim.SGD(weights, 0.3)


def make_learner(
    student: nn.Module,
    regularizer: Regularizer,
    optimizer: str = "sgd",
    precision: str = "float32",
    device: torch.device = CPU,
) -> Learner:
    return Learner(
        student,
        make_optimizer(student, optimizer),
        CrossEntropy(),
        regularizer,
        source="teacher",
        precision=precision,
        device=device,
    )


def learn(learner: Learner, bank: Bank, passes: Sequence[Pass]) -> list[dict[str, float]]:
    return [learner.learn(bank, one.batches, stream_positions=one.stream_positions, kept=one.kept) for one in passes]


def weights_of(student: nn.Module) -> list[Tensor]:
    return [p.detach().clone() for p in student.parameters()]


def distance(ones: list[Tensor], others: list[Tensor]) -> float:
    """Return the largest difference between two lists of weights."""
    return max((one - other).abs().max().item() for one, other in zip(ones, others, strict=True))
