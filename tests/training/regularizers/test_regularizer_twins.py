"""Each regularizer against a slow twin: the paper's equation, parameter by parameter and pixel by pixel.

The twins run the same passes in a plain loop, with the same student and optimizer. The warm-up is one pass.
"""

import copy
import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from tiny_learner import (
    CPU,
    NUM_CLASSES,
    PASSES,
    distance,
    learn,
    make_bank,
    make_learner,
    make_optimizer,
    make_student,
    weights_of,
)
from torch import Tensor, nn

from odkd.training.regularizers import Regularizer
from odkd.training.regularizers.ace import Ace
from odkd.training.regularizers.derpp import DerPP
from odkd.training.regularizers.ewc import Ewc
from odkd.training.regularizers.lwf import Lwf
from odkd.training.regularizers.mas import Mas
from odkd.training.regularizers.none import NoRegularizer
from odkd.training.regularizers.rwalk import RWalk

SOON = {"warmup_passes": 1, "update_every_passes": 1}


class Twin:
    """A plain loop over the passes; the twin of a method overrides the steps that it changes."""

    def __init__(self, student: nn.Sequential, optimizer: str) -> None:
        self.student, self.optimizer = student, make_optimizer(student, optimizer)
        self.weights = [p for p in student.parameters() if p.requires_grad]
        self.passes = 0
        self.bank = make_bank()

    def frame(self, position: int) -> tuple[Tensor, Tensor]:
        batch = self.bank.get([position])
        return batch.images_BCHW, batch.labels["teacher"].long()

    def learn(self) -> list[dict[str, float]]:
        means = []
        for one in PASSES:
            self.now = one
            task_losses, penalties = [], []
            for self.positions in one.batches:
                batch = self.bank.get(self.positions)
                self.images, self.labels = batch.images_BCHW, batch.labels["teacher"].long()
                self.before = [w.detach().clone() for w in self.weights]
                logits = self.student(self.images)
                task_loss, penalty = self.task_loss(logits), self.penalty(logits)
                self.task_gradients = torch.autograd.grad(task_loss, self.weights, retain_graph=True)
                self.optimizer.zero_grad()
                (task_loss + penalty).backward()
                self.optimizer.step()
                task_losses.append(task_loss.item())
                penalties.append(torch.as_tensor(penalty).item())
                self.after_update()
            self.passes += 1
            self.after_pass()
            mean = {
                "cross_entropy": sum(task_losses) / len(task_losses),
                "regularizer": sum(penalties) / len(penalties),
            }
            means.append(mean)
        return means

    def task_loss(self, logits: Tensor) -> Tensor:
        if (self.labels == 255).all():
            return logits.sum() * 0
        return F.cross_entropy(logits, self.labels, ignore_index=255)

    def penalty(self, logits: Tensor) -> Tensor | float:
        return 0.0

    def after_update(self) -> None:
        pass

    def after_pass(self) -> None:
        pass

    def of_pass(self) -> list[int]:
        return [position for batch in self.now.batches for position in batch]


class AceTwin(Twin):
    seen: frozenset[int] = frozenset()

    def task_loss(self, logits: Tensor) -> Tensor:
        here = [set(labels.flatten().tolist()) - {255} for labels in self.labels]
        self.seen = self.seen.union(*here)
        is_stream = [position in self.now.stream_positions for position in self.positions]
        now = set().union(*(found for found, is_new in zip(here, is_stream, strict=True) if is_new))
        losses = []
        for logits_KHW, labels_HW, is_new in zip(logits, self.labels, is_stream, strict=True):
            for row in range(8):
                for column in range(8):
                    if (label := int(labels_HW[row, column])) == 255:
                        continue
                    allowed = [c for c in range(NUM_CLASSES) if not is_new or c in now or c not in self.seen]
                    exponentials = [logits_KHW[c, row, column].exp() for c in allowed]
                    losses.append(-(logits_KHW[label, row, column].exp() / sum(exponentials)).log())
        return sum(losses) / len(losses) if losses else logits.sum() * 0  # type: ignore[return-value]


class LwfTwin(Twin):
    alpha, temperature = 5.0, 2.0
    seen: frozenset[int] = frozenset()

    def penalty(self, logits: Tensor) -> Tensor | float:
        if self.passes < 1:
            return 0.0
        with torch.no_grad():
            old = self.copy(self.images)
        total: Tensor | float = 0.0
        for b in range(len(logits)):
            for row in range(8):
                for column in range(8):
                    y_old = torch.stack([(old[b, c, row, column] / self.temperature).exp() for c in self.classes])
                    y_new = torch.stack([(logits[b, c, row, column] / self.temperature).exp() for c in self.classes])
                    y_old, y_new = y_old / y_old.sum(), y_new / y_new.sum()
                    total = total + (y_old * (y_old / y_new).log()).sum()
        return self.alpha * total / (len(logits) * 64)

    def after_update(self) -> None:
        self.seen = self.seen | set(self.labels.flatten().tolist()) - {255}

    def after_pass(self) -> None:
        self.copy, self.classes = copy.deepcopy(self.student), sorted(self.seen)


class MasTwin(Twin):
    strength, decay = 0.3, 0.1

    def penalty(self, logits: Tensor) -> Tensor | float:
        if self.passes < 1:
            return 0.0
        terms = zip(self.omega, self.weights, self.star, strict=True)
        return self.strength * sum((omega * (theta - star) ** 2).sum() for omega, theta, star in terms)

    def after_pass(self) -> None:
        new = [torch.zeros_like(w) for w in self.weights]
        for position in self.of_pass():
            norms = (self.student(self.frame(position)[0])[0] ** 2).sum(0)  # HW
            for total, gradient in zip(new, torch.autograd.grad(norms.mean(), self.weights), strict=True):
                total += gradient.abs() / len(self.of_pass())
        pairs = zip(self.omega, new, strict=True) if self.passes > 1 else []
        self.omega = [self.decay * omega + (1 - self.decay) * n for omega, n in pairs] or new
        self.star = [w.detach().clone() for w in self.weights]


class EwcTwin(Twin):
    strength, decay = 20.0, 0.7

    def penalty(self, logits: Tensor) -> Tensor | float:
        if self.passes < 1:
            return 0.0
        terms = zip(self.fisher, self.weights, self.star, strict=True)
        return self.strength / 2 * sum((f * (theta - star) ** 2).sum() for f, theta, star in terms)

    def after_pass(self) -> None:
        labelled = [p for p in self.of_pass() if (self.frame(p)[1] != 255).any()]
        new = [torch.zeros_like(w) for w in self.weights]
        for position in labelled:
            image, labels = self.frame(position)
            loss = F.cross_entropy(self.student(image), labels, ignore_index=255)
            for total, gradient in zip(new, torch.autograd.grad(loss, self.weights), strict=True):
                total += gradient**2 / len(labelled)
        if self.passes > 1:
            new = [self.decay * old + n for old, n in zip(self.fisher, new, strict=True)]
        self.fisher, self.star = new, [w.detach().clone() for w in self.weights]


class RWalkTwin(Twin):
    strength, decay, delta_t, epsilon = 0.2, 0.3, 2, 1e-3
    updates = 0

    def zeros(self) -> list[Tensor]:
        return [torch.zeros_like(w) for w in self.weights]

    def penalty(self, logits: Tensor) -> Tensor | float:
        if self.passes < 1:
            return 0.0
        total: Tensor | float = 0.0
        top_fisher = max(f.max() for f in self.frozen_fisher)
        top_score = max(s.max() for s in self.score)
        terms = zip(self.frozen_fisher, self.score, self.weights, self.star, strict=True)
        for fisher, score, theta, star in terms:
            total = total + ((fisher / top_fisher + score / top_score) * (theta - star) ** 2).sum()
        return self.strength * total

    def after_update(self) -> None:
        if not hasattr(self, "fisher"):
            self.fisher, self.drop, self.scores, self.start = self.zeros(), self.zeros(), self.zeros(), self.before
        self.fisher = [
            self.decay * f + (1 - self.decay) * g**2 for f, g in zip(self.fisher, self.task_gradients, strict=True)
        ]
        for drop, gradient, theta, before in zip(
            self.drop, self.task_gradients, self.weights, self.before, strict=True
        ):
            drop -= gradient * (theta.detach() - before)
        self.updates += 1
        if self.updates == self.delta_t:
            self.end_stretch()

    def end_stretch(self) -> None:
        for i, theta in enumerate(self.weights):
            moved = theta.detach() - self.start[i]
            self.scores[i] += self.drop[i].clamp(min=0) / (0.5 * self.fisher[i] * moved**2 + self.epsilon)
        self.drop, self.start, self.updates = self.zeros(), [w.detach().clone() for w in self.weights], 0

    def after_pass(self) -> None:
        if self.updates:
            self.end_stretch()
        if self.passes > 1:
            self.score = [0.5 * (old + new) for old, new in zip(self.score, self.scores, strict=True)]
        else:
            self.score = self.scores
        self.scores, self.frozen_fisher = self.zeros(), [f.clone() for f in self.fisher]
        self.star = [w.detach().clone() for w in self.weights]


class DerPPTwin(Twin):
    alpha, pool = 0.7, 3

    def __init__(self, student: nn.Sequential, optimizer: str) -> None:
        super().__init__(student, optimizer)
        self.stored: dict[int, Tensor] = {}

    def pooled(self, logits_KHW: Tensor) -> Tensor:
        edges = [0, 3, 6, 8]  # 8 pixels in squares of 3: the last squares are smaller
        squares = [(slice(*edges[i : i + 2]), slice(*edges[j : j + 2])) for i in range(3) for j in range(3)]
        return torch.stack([logits_KHW[:, rows, columns].mean(dim=(1, 2)) for rows, columns in squares])

    def penalty(self, logits: Tensor) -> Tensor | float:
        total: Tensor | float = 0.0
        for position, logits_KHW in zip(self.positions, logits, strict=True):
            if position in self.stored and position not in self.now.stream_positions:
                total = total + ((self.pooled(logits_KHW) - self.stored[position]) ** 2).mean() / len(logits)
            if position not in self.stored:
                self.stored = self.stored | {position: self.pooled(logits_KHW.detach()).half().float()}
        return self.alpha * total

    def after_pass(self) -> None:
        self.stored = {position: z for position, z in self.stored.items() if position in self.now.kept}


def lwf(student: nn.Module) -> Regularizer:
    return Lwf(student, NUM_CLASSES, CPU, alpha=5.0, temperature=2.0, reduction="mean", **SOON)


def rwalk(student: nn.Module) -> Regularizer:
    return RWalk(student, strength=0.2, decay=0.3, delta_t=2, epsilon=1e-3, is_active=True, **SOON)


METHODS: dict[str, tuple[type[Twin], Callable[[nn.Module], Regularizer]]] = {
    "none": (Twin, lambda _: NoRegularizer()),
    "ace": (AceTwin, lambda _: Ace(NUM_CLASSES, CPU)),
    "lwf": (LwfTwin, lwf),
    "mas": (MasTwin, lambda student: Mas(student, strength=0.3, decay=0.1, first_importance="whole", **SOON)),
    "ewc": (EwcTwin, lambda student: Ewc(student, strength=20.0, decay=0.7, **SOON)),
    "rwalk": (RWalkTwin, rwalk),
    "derpp": (DerPPTwin, lambda _: DerPP(CPU, alpha=0.7, pool=3)),
}


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("name", METHODS)
def test_losses_and_weights_equal_those_of_the_slow_twin(name: str, optimizer: str) -> None:
    twin_class, make = METHODS[name]
    student = make_student()
    learner = make_learner(student, make(student), optimizer)
    with make_bank() as bank:
        losses = learn(learner, bank, PASSES)
    twin = twin_class(make_student(), optimizer)
    with twin.bank:
        expected = twin.learn()
    for ours, theirs in zip(losses, expected, strict=True):
        assert ours["cross_entropy"] == pytest.approx(theirs["cross_entropy"], rel=1e-6, abs=1e-6)
        assert ours.get("regularizer", 0.0) == pytest.approx(theirs["regularizer"], rel=1e-6, abs=1e-6)
        assert math.isclose(ours["total"], sum(theirs.values()), rel_tol=1e-6, abs_tol=1e-6)
    assert distance(weights_of(student), weights_of(twin.student)) < 1e-6

    if name != "none":  # the effect of the method is far above the tolerance
        plain = make_student()
        with make_bank() as bank:
            learn(make_learner(plain, NoRegularizer(), optimizer), bank, PASSES)
        assert distance(weights_of(student), weights_of(plain)) > 1e-3
