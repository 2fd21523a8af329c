"""An epoch of odkd compared with the bare network, and with an epoch that runs the teacher again.

Epochs of `Training` (shuffle, read, learn, validate, keep the best) alternate with the same forward, loss, backward,
optimizer and validation calls of a separate student on resident tensors. The teacher of the last case is SegFormer-B5
with random weights, which take as long as trained ones; its probabilities are in the label store.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter

import torch
from torch import Tensor

from bench.core.case import Case
from bench.core.result import Result, measured, size_name
from bench.dataset import CLASSES, make_dataset
from bench.job import FAST, SMALL, make_parts, overrides
from bench.network import BareNetwork, Example
from odkd.config.parts import Parts
from odkd.data.tensor_bank import Batch
from odkd.training.epochs import EpochPlan, Task, Training
from odkd.training.losses import HasParts, wants_soft
from odkd.training.losses.soft import resize_labels

CASE = Case(
    question="What does an epoch cost beyond the network, and what would calling the teacher again cost?",
    method="An epoch of `epochs.Training` (shuffle, read, learn, validate, keep the best) in turn with the same calls "
    "on tensors in memory. *Read each epoch*: the bank holds fewer images than there are. Then the time of "
    "SegFormer-B5's network for the epoch's images is added.",
    repeats=5,
    seconds=350,
    is_long=True,
)
PAIRS = 5
BATCH, STRIDE = 4, 25
CITYSCAPES = (1024, 2048)  # height, width of its images, pixels


@dataclass(frozen=True)
class Epoch:
    """A training; `pictures` is the number of images for training and for validation."""

    name: str
    size: tuple[int, int]
    pictures: tuple[int, int]
    settings: Sequence[str]


CASES = (
    Epoch("TinyNet, kept in memory", (180, 240), (48, 12), FAST),
    Epoch("TinyNet, read each epoch", (180, 240), (48, 12), [*FAST, "bank.memory_gib=0.004"]),
    Epoch("TinyNet, kept in memory", (360, 480), (24, 8), FAST),
    Epoch("TinyNet, read each epoch", (360, 480), (24, 8), [*FAST, "bank.memory_gib=0.008"]),
)
QUICK = Epoch("TinyNet, kept in memory", SMALL, (8, 4), FAST)
SEED = Epoch(
    "Swin-Tiny DeepLabV3+, loss=mckd",
    (512, 512),
    (8, 4),
    [
        "student=swin_tiny_deeplabv3plus",
        "student.encoder_weights=null",
        "loss=mckd",
        "teacher=checkpoint",
        "teacher.soft={top_k: 5, size: [128, 128]}",
        "teacher.batch_size=1",
    ],
)


def measure(folder: Path, *, quick: bool) -> list[Result]:
    """Return an epoch against bare ones, by student and size; for the last, also against epochs with a teacher."""
    results = []
    for case in (QUICK,) if quick else CASES:
        result, parts = measure_case(folder, case, list(case.settings), 1 if quick else PAIRS)
        parts.close()
        results.append(result)
    if quick:
        return results
    teacher = folder / "segformer_b5.pth"
    if not teacher.is_file():
        make_teacher(teacher)
    result, parts = measure_case(folder, SEED, [*SEED.settings, f"teacher.checkpoint={teacher}"], PAIRS)
    parts.close()
    results.append(result)
    for size in (SEED.size, CITYSCAPES):
        with_teacher = result.median + teacher_seconds(size) * SEED.pictures[0]
        what = f"{SEED.name} with SegFormer-B5 at {size_name(size)} in each epoch"
        stored = ("with stored labels", [result.median])
        results.append(measured(what, [with_teacher], "s an epoch", size=size_name(SEED.size), baseline=stored))
    return results


def measure_case(folder: Path, case: Epoch, settings: list[str], pairs: int) -> tuple[Result, Parts]:
    """Run epochs and bare epochs in turn; return the result and the parts."""
    num_train, num_val = case.pictures
    num_positions = num_train + num_val
    height, width = case.size
    root = make_dataset(folder, height=height, width=width, num_frames=num_positions * STRIDE, stride=STRIDE)
    job = overrides(folder, root, size=case.size, stride=STRIDE, learn=num_train, test=num_val)
    parts = make_parts([*job, "stage=distill", *settings])
    plan = EpochPlan(1000, BATCH, drop_last=False, patience=None, best_by="miou", best_against=None)
    train, val = range(num_train), range(num_train, num_positions)
    task = Task("final", train, "teacher", "teacher", val)
    training = Training(parts.learner, parts.evaluator, task, plan, seed=0, schedule=None)
    bare = BareEpoch(parts, [train[i : i + BATCH] for i in range(0, num_train, BATCH)], list(val))
    bare.run()
    run_epoch(training)
    bares, epochs = [], []
    for _ in range(pairs):
        before, epoch, after = bare.run(), run_epoch(training), bare.run()
        bares.append((before + after) / 2)
        epochs.append(epoch)
    what = f"{case.name}, {num_train} + {num_val} images"
    baseline = ("bare network", bares)
    result = measured(what, epochs, "s an epoch", size=size_name(case.size), baseline=baseline, headline=True)
    return result, parts


def run_epoch(training: Training) -> float:
    """Return the seconds of one epoch, validation included."""
    started = perf_counter()
    training.learn()
    training.validate()
    return perf_counter() - started


class BareEpoch:
    """The network calls of an epoch, on resident tensors."""

    def __init__(self, parts: Parts, batches: Sequence[Sequence[int]], validation: Sequence[int]) -> None:
        taken = [parts.bank.get(positions) for positions in batches]
        size = parts.evaluator.batch_size
        ahead = [parts.bank.get(validation[i : i + size]) for i in range(0, len(validation), size)]
        parts.bank.retain([])
        self._batches: list[Example] = [(batch.images_BCHW, batch) for batch in taken]
        self._validation: list[Example] = [(batch.images_BCHW, None) for batch in ahead]
        self._loss = parts.learner.loss
        self._network = BareNetwork.of(parts.learner, loss=self._total)

    def run(self) -> float:
        """Return the seconds of one bare epoch, validation included."""
        return self._network.learn(self._batches) + self._network.evaluate(self._validation)

    def _total(self, logits_BKHW: Tensor, batch: Batch) -> Tensor:
        labels_BHW = resize_labels(batch.labels["teacher"].long(), logits_BKHW.shape[2:])
        loss = self._loss
        if isinstance(loss, HasParts):
            return torch.stack(list(loss.parts(logits_BKHW, labels_BHW, batch.soft["teacher"]).values())).sum()
        assert not wants_soft(loss)
        total: Tensor = loss(logits_BKHW, labels_BHW)  # type: ignore[call-arg]
        return total


def make_teacher(path: Path) -> None:
    """Save a SegFormer-B5 with random weights as a file for `teacher=checkpoint`."""
    import segmentation_models_pytorch as smp

    torch.manual_seed(0)
    network = smp.Segformer("mit_b5", encoder_weights=None, classes=CLASSES)
    content = {"state_dict": network.state_dict(), "arch": "Segformer", "encoder_name": "mit_b5", "classes": CLASSES}
    torch.save(content | {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}, path)


def teacher_seconds(size: tuple[int, int]) -> float:
    """Return the seconds of the teacher's network alone for one image of `size` = (height, width)."""
    import segmentation_models_pytorch as smp

    network = smp.Segformer("mit_b5", encoder_weights=None, classes=CLASSES).eval()
    with torch.inference_mode():
        network(torch.rand(1, 3, 64, 64))
        started = perf_counter()
        network(torch.rand(1, 3, *size))
        return perf_counter() - started
