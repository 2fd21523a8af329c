"""Every replay memory against a slow twin in the paper's notation, with a real student that learns; the scorer.

The twins share with odkd only the random numbers: they draw the same ones from a generator of the same name.
"""

import copy
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
import torch
from paths import CONF
from torch import Tensor, nn

from odkd.common.seeds import named_generator
from odkd.data.tensor_bank import Bank, Normalization
from odkd.evaluation.evaluate import Evaluator
from odkd.training.learn import Learner
from odkd.training.losses import CrossEntropy
from odkd.training.regularizers.none import NoRegularizer
from odkd.training.replay import Replay
from odkd.training.replay.class_balanced import ClassBalanced
from odkd.training.replay.fifo import Fifo
from odkd.training.replay.first import First
from odkd.training.replay.memoryless import Memoryless
from odkd.training.replay.mir import Mir
from odkd.training.replay.nothing import Nothing
from odkd.training.replay.prioritized import Prioritized
from odkd.training.replay.reservoir import Reservoir
from odkd.training.replay.uniform import Uniform
from odkd.training.scorer import StudentScorer

CPU = torch.device("cpu")
BATCH, STEP, LEARN, ITERATIONS = 2, 3, 7, 12  # STEP is no multiple of BATCH: the last batch of a pass is smaller


class Frames:
    """Random frames, different at each position."""

    def read(self, positions: Sequence[int]) -> np.ndarray:
        return np.stack([np.random.default_rng(p).integers(0, 256, (4, 6, 3), dtype=np.uint8) for p in positions])


class Labels:
    """Label maps of random classes 0..2 with some unlabelled pixels."""

    def read(self, position: int) -> np.ndarray:
        labels = np.random.default_rng(1000 + position).integers(0, 3, (4, 6), dtype=np.uint8)
        labels[0, : position % 4] = 255
        return labels


@pytest.fixture
def bank() -> Iterator[Bank]:
    with Bank(
        Frames(),
        {"teacher": Labels()},
        num_classes=3,
        device=CPU,
        memory_bytes=10**9,
        normalization=Normalization(),
        channels_last=False,
    ) as bank:
        yield bank


def make_learner() -> Learner:
    torch.manual_seed(0)
    # No bias before the normalization: its gradient is rounding noise, which Adam would scale up to full steps.
    student = nn.Sequential(
        nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4), nn.Dropout2d(0.25), nn.Conv2d(4, 3, 1)
    )
    optimizer = torch.optim.Adam(student.parameters(), lr=0.02)
    return Learner(
        student, optimizer, CrossEntropy(), NoRegularizer(), source="teacher", precision="float32", device=CPU
    )


def make_scorer(learner: Learner, bank: Bank) -> StudentScorer:
    return StudentScorer(learner, Evaluator(bank, 4, "float32", CPU), batch_size=BATCH)


@dataclass
class World:
    """The data that twins may use: the learner, the bank and all past positions by iteration."""

    learner: Learner
    bank: Bank
    past: list[list[int]] = field(default_factory=list)

    def loss(self, position: int, student: nn.Module | None = None) -> float:
        """Return the mean of -log softmax over the labelled pixels of one frame, pixel by pixel."""
        network = copy.deepcopy(student or self.learner.student).eval()
        batch = self.bank.get([position])
        with torch.no_grad():
            logits_KHW = network(batch.images_BCHW)[0].double()
        labels_HW, total, count = batch.labels["teacher"][0], 0.0, 0
        for y in range(4):
            for x in range(6):
                if (label := int(labels_HW[y, x])) != 255:
                    z = [float(logits_KHW[k, y, x]) for k in range(3)]
                    total += math.log(sum(math.exp(value) for value in z)) - z[label]
                    count += 1
        return total / count

    def virtual(self, stream: Sequence[int], learning_rate: float | None = None) -> nn.Module:
        """Return a copy of the student after one pass over `stream` with Adam (Kingma and Ba 2015, algorithm 1)."""
        noise = torch.get_rng_state()
        theta = copy.deepcopy(self.learner.student).train()
        optimizer, parameters = self.learner.optimizer, list(theta.parameters())
        nothing = {"step": 0, "exp_avg": torch.tensor(0.0), "exp_avg_sq": torch.tensor(0.0)}
        known = [optimizer.state.get(parameter, nothing) for parameter in self.learner.student.parameters()]
        m = [state["exp_avg"].clone() for state in known]
        v = [state["exp_avg_sq"].clone() for state in known]
        t = int(known[0]["step"])
        lr = optimizer.param_groups[0]["lr"] if learning_rate is None else learning_rate
        beta1, beta2 = optimizer.param_groups[0]["betas"]
        for start in range(0, len(stream), BATCH):
            batch = self.bank.get(stream[start : start + BATCH])
            labels = batch.labels["teacher"].long()
            loss = nn.functional.cross_entropy(theta(batch.images_BCHW), labels, ignore_index=255)
            gradients = torch.autograd.grad(loss, parameters)
            t += 1
            with torch.no_grad():
                for i, (parameter, g) in enumerate(zip(parameters, gradients, strict=True)):
                    m[i] = beta1 * m[i] + (1 - beta1) * g
                    v[i] = beta2 * v[i] + (1 - beta2) * g * g
                    m_hat, v_hat = m[i] / (1 - beta1**t), v[i] / (1 - beta2**t)
                    parameter -= lr * m_hat / (v_hat.sqrt() + 1e-8)
        torch.set_rng_state(noise)
        return theta


class Twin:
    """Slow replay memory; `select` is called once per iteration with its stream frames X, before the student learns."""

    def __init__(self, world: World) -> None:
        self.world, self.M, self.losses, self.t = world, list[int](), dict[int, float](), 0
        self.generator = named_generator(5, "replay", type(self).__name__.removesuffix("Twin").lower())

    def sample(self, positions: list[int], size: int) -> list[int]:
        permutation = torch.randperm(len(positions), generator=self.generator).tolist()
        return [positions[permutation[i]] for i in range(min(size, len(positions)))]

    def randrange(self, bound: int) -> int:
        return int(torch.randint(bound, (1,), generator=self.generator).item())

    def choice(self, weights: list[float], size: int) -> list[int]:
        """Draw indices by clocks of rate w; an index is drawn when its clock rings and then removed."""
        clocks = torch.rand(len(weights), dtype=torch.float64, generator=self.generator).tolist()
        running = {i: -math.log(1 - u) / w for i, (u, w) in enumerate(zip(clocks, weights, strict=True))}
        chosen = []
        while running and len(chosen) < size:
            first = min(running, key=lambda i: running[i])
            chosen.append(first)
            del running[first]
        return chosen

    def select(self, X: list[int]) -> list[int]:
        raise NotImplementedError

    def store(self, X: list[int]) -> None:
        """Store the stream frames after the student has learned."""


class FifoTwin(Twin):
    def select(self, X: list[int]) -> list[int]:
        everything = [position for frames in self.world.past for position in frames]
        return [p for i, p in enumerate(everything) if i >= len(everything) - min(LEARN, 9)]


class NothingTwin(Twin):
    def select(self, X: list[int]) -> list[int]:
        return []


class FirstTwin(Twin):
    def select(self, X: list[int]) -> list[int]:
        everything = [position for frames in self.world.past for position in frames]
        if len(everything) - len(X) >= 10:  # all of the first ten have been learned from
            return []
        everything = everything[:10]
        while len(everything) > LEARN:
            del everything[0]
        return everything


class MemorylessTwin(Twin):
    def select(self, X: list[int]) -> list[int]:
        return X


class UniformTwin(Twin):
    def select(self, X: list[int]) -> list[int]:
        return X + self.sample(self.M, LEARN - len(X))

    def store(self, X: list[int]) -> None:
        for x in X:
            if len(self.M) == 9:
                i = self.randrange(9)
                self.M = [*self.M[:i], x, *self.M[i + 1 :]]
            else:
                self.M = [*self.M, x]


class ReservoirTwin(UniformTwin):
    def store(self, X: list[int]) -> None:
        for x in X:
            self.t += 1
            if self.t <= 9:
                self.M = [*self.M, x]
            else:
                i = self.randrange(self.t)
                self.M = [x if j == i else old for j, old in enumerate(self.M)]


class ClassBalancedTwin(UniformTwin):
    """Rare class sampling with T = 0.3; a frame shows a class by 7 of its 24 pixels."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.generator = named_generator(5, "replay", "class_balanced")

    def sample(self, positions: list[int], size: int) -> list[int]:
        counts = {x: [0, 0, 0] for x in positions}
        for x in positions:
            for label in self.world.bank.get([x]).labels["teacher"].flatten().tolist():
                if label != 255:
                    counts[x][label] += 1
        total = sum(map(sum, counts.values()))
        f = [sum(counts[x][c] for x in positions) / max(total, 1) for c in range(3)]
        left, drawn = list(positions), list[int]()
        while left and len(drawn) < size:
            classes = [c for c in range(3) if any(counts[x][c] >= 7 for x in left)]
            frames = left
            if classes:
                c = classes[self.choice([math.exp((1 - f[c]) / 0.3) / math.exp(1 / 0.3) for c in classes], 1)[0]]
                frames = [x for x in left if counts[x][c] >= 7]
            drawn.append(frames[self.randrange(len(frames))])
            left.remove(drawn[-1])
        return drawn


class PrioritizedTwin(Twin):
    refresh = False

    def importance(self) -> list[float]:
        return [(1 / self.losses[x]) ** 0.5 for x in self.M]

    def select(self, X: list[int]) -> list[int]:
        if self.refresh:
            self.losses = {x: self.world.loss(x) for x in self.M}
        return X + [self.M[i] for i in self.choice(self.importance(), LEARN - len(X))]

    def store(self, X: list[int]) -> None:
        for x in X:
            if len(self.M) == 9:
                (i,) = self.choice(self.importance(), 1)
                self.M = [*self.M[:i], x, *self.M[i + 1 :]]
            else:
                self.M = [*self.M, x]
            self.losses[x] = self.world.loss(x)


class MirTwin(UniformTwin):
    learning_rate: float | None = None

    def select(self, X: list[int]) -> list[int]:
        k = LEARN - len(X)
        C = self.sample(self.M, 6)
        if len(self.M) <= k or not X:
            return X + C[:k]
        theta_v = self.world.virtual(X, self.learning_rate)
        s = {c: self.world.loss(c, theta_v) - self.world.loss(c) for c in C}
        chosen: list[int] = []
        while len(chosen) < k:
            chosen.append(max((c for c in C if c not in chosen), key=lambda c: s[c]))
        return X + chosen


class Refreshed(PrioritizedTwin):
    refresh = True

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.generator = named_generator(5, "replay", "prioritized")


class Faster(MirTwin):
    learning_rate = 0.5

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.generator = named_generator(5, "replay", "mir")


PAIRS: dict[str, tuple[Callable[[], Replay], type[Twin]]] = {
    "fifo": (lambda: Fifo(9), FifoTwin),
    "nothing": (Nothing, NothingTwin),
    "first": (lambda: First(10), FirstTwin),
    "memoryless": (Memoryless, MemorylessTwin),
    "uniform": (lambda: Uniform(9, 5), UniformTwin),
    "reservoir": (lambda: Reservoir(9, 5), ReservoirTwin),
    "class_balanced": (lambda: ClassBalanced(9, 5, temperature=0.3, smallest=7), ClassBalancedTwin),
    "prioritized": (lambda: Prioritized(9, 5), PrioritizedTwin),
    "prioritized, refreshed": (lambda: Prioritized(9, 5, refresh=True), Refreshed),
    "mir": (lambda: Mir(9, 5, candidates=6), MirTwin),
    "mir, faster": (lambda: Mir(9, 5, candidates=6, virtual_learning_rate=0.5), Faster),
}


@pytest.mark.parametrize("name", PAIRS)
def test_selections_equal_those_of_the_slow_twin(name: str, bank: Bank) -> None:
    learner = make_learner()
    world, scorer = World(learner, bank), make_scorer(learner, bank)
    replay, twin = PAIRS[name][0](), PAIRS[name][1](world)
    X: list[int] = []
    for iteration in range(ITERATIONS):
        torch.manual_seed(iteration)
        expected = twin.select(X)
        assert replay.select(LEARN, scorer) == expected, f"iteration {iteration}"
        learner.learn(bank, [expected[i : i + BATCH] for i in range(0, len(expected), BATCH)], stream_positions=X)
        fresh = range(iteration * STEP, (iteration + 1) * STEP)
        replay.observe(fresh, scorer)
        twin.store(X)
        X = list(fresh)
        world.past.append(X)
    assert name in ("nothing", "first") or len(expected) == (STEP if name == "memoryless" else LEARN)


def test_every_replay_memory_has_a_twin() -> None:
    choices = {path.stem for path in (CONF / "replay").glob("*.yaml")}
    assert {name.split(",")[0] for name in PAIRS} == choices


def test_interference_changes_the_selection(bank: Bank) -> None:
    """Check that the twin of MIR could fail: with equal random numbers, interference selects other positions."""
    learner = make_learner()
    scorer, by_interference, at_random = make_scorer(learner, bank), Mir(9, 5), Mir(9, 5, virtual_learning_rate=0)
    for replay in (by_interference, at_random):
        replay.observe(range(9), scorer)
        replay.observe(range(9, 12), scorer)
    assert by_interference.select(LEARN, scorer) != at_random.select(LEARN, scorer)


@pytest.mark.parametrize("learning_rate", [None, 0.1])
@pytest.mark.parametrize("num_learned", [0, 4])  # a fresh optimizer; one with moments
def test_losses_after_a_virtual_pass_equal_those_of_adam_by_hand(
    bank: Bank, num_learned: int, learning_rate: float | None
) -> None:
    learner = make_learner()
    learner.learn(bank, [[p] for p in range(20, 20 + num_learned)])
    world, scorer = World(learner, bank), make_scorer(learner, bank)
    stream, candidates = [1, 2, 3, 4, 5], list(range(6, 16))
    torch.manual_seed(3)
    student = world.virtual(stream, learning_rate)
    later = scorer.after_learning(stream, learning_rate=learning_rate)(candidates)
    expected = torch.tensor([world.loss(c, student) for c in candidates])
    torch.testing.assert_close(later, expected, atol=1e-6, rtol=0)
    now = torch.tensor([world.loss(c) for c in candidates])
    torch.testing.assert_close(scorer(candidates), now, atol=1e-6, rtol=0)
    assert (later - now).abs().min() > 1e-4  # the pass changed the copy


def snapshot(learner: Learner) -> list[Tensor]:
    """Return copies of all tensors that learning reads or changes."""
    state = learner.optimizer.state_dict()
    found = [value.clone() for value in learner.student.state_dict().values()]
    found += [value.clone() for moments in state["state"].values() for value in moments.values()]
    found += [p.grad.clone() for p in learner.student.parameters() if p.grad is not None]
    found += [torch.tensor([group["lr"] for group in state["param_groups"]], dtype=torch.float64)]
    return [*found, torch.get_rng_state(), torch.tensor([module.training for module in learner.student.modules()])]


def test_scoring_does_not_change_the_learner(bank: Bank) -> None:
    learner = make_learner()
    learner.learn(bank, [[20, 21], [22]])
    scorer = make_scorer(learner, bank)
    before = snapshot(learner)
    scorer([1, 2, 3])
    later = scorer.after_learning([1, 2, 3], learning_rate=0.3)
    later([4, 5])
    later.after_learning([6])([7])
    after = snapshot(learner)
    assert len(before) == len(after)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(before, after, strict=True))


def test_learning_is_bit_identical_with_and_without_scoring(bank: Bank) -> None:
    scored, plain = make_learner(), make_learner()
    scorer, losses = make_scorer(scored, bank), []
    for learner in (scored, plain):
        torch.manual_seed(1)
        for iteration in range(3):
            if learner is scored:
                scorer.after_learning([iteration, 9])([1, 2])
            losses.append(learner.learn(bank, [[iteration, 5], [6]]))
    assert losses[:3] == losses[3:]
    assert all(torch.equal(a, b) for a, b in zip(snapshot(scored), snapshot(plain), strict=True))


def test_a_virtual_student_does_not_change_when_the_student_learns(bank: Bank) -> None:
    learner = make_learner()
    scorer = make_scorer(learner, bank)
    later = scorer.after_learning([1, 2, 3])
    before = later([4, 5])
    learner.learn(bank, [[6], [7]])
    assert torch.equal(later([4, 5]), before)
