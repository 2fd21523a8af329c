"""An epoch of odkd compared with the bare network, and with an epoch that runs the teacher again.

Epochs of `Training` (shuffle, read, learn, validate, keep the best) alternate with the same forward, loss, backward,
optimizer and validation calls of a separate student on resident tensors. The teacher of the last case is SegFormer-B5
with random weights, which take as long as trained ones; its probabilities are in the label store.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from time import perf_counter

import torch
from torch import Tensor

from bench.dataset import CLASSES, make_dataset
from bench.job import make_parts, overrides
from bench.network import BareNetwork, Example
from odkd.config.parts import Parts
from odkd.data.tensor_bank import Batch
from odkd.training.epochs import EpochPlan, Task, Training
from odkd.training.losses import HasParts, wants_soft
from odkd.training.losses.soft import resize_labels

PAIRS = 5
BATCH, STRIDE = 4, 25
CITYSCAPES = (1024, 2048)  # height, width of its images, pixels
FAST = ["precision=bfloat16", "channels_last=true"]


@dataclass(frozen=True)
class Case:
    """A training; `pictures` is the number of images for training and for validation."""

    name: str
    size: tuple[int, int]
    pictures: tuple[int, int]
    settings: Sequence[str]


CASES = (
    Case("TinyNet, kept in memory", (180, 240), (48, 12), FAST),
    Case("TinyNet, read each epoch", (180, 240), (48, 12), [*FAST, "bank.memory_gib=0.004"]),
    Case("TinyNet, kept in memory", (360, 480), (24, 8), FAST),
    Case("TinyNet, read each epoch", (360, 480), (24, 8), [*FAST, "bank.memory_gib=0.008"]),
)
SEED = Case(
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


def measure(folder: Path) -> list[dict[str, object]]:
    """Return one row per case; the last one includes the teacher's time."""
    rows = []
    for case in CASES:
        row, parts, _ = measure_case(folder, case, list(case.settings))
        parts.close()
        rows.append(row)
    teacher = folder / "segformer_b5.pth"
    if not teacher.is_file():
        make_teacher(teacher)
    row, parts, epoch = measure_case(folder, SEED, [*SEED.settings, f"teacher.checkpoint={teacher}"])
    for name, size in {"with_teacher": SEED.size, "with_teacher_at_2048x1024": CITYSCAPES}.items():
        row[f"{name}_over_epoch"] = (epoch + teacher_seconds(size) * SEED.pictures[0]) / epoch
    parts.close()
    return [*rows, row]


def measure_case(folder: Path, case: Case, settings: list[str]) -> tuple[dict[str, object], Parts, float]:
    """Run epochs and bare epochs in turn; return the row, the parts, and the seconds of an epoch."""
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
    ratios, bares, epochs = [], [], []
    for _ in range(PAIRS):
        before, epoch, after = bare.run(), run_epoch(training), bare.run()
        ratios.append(epoch / ((before + after) / 2))
        bares.append((before + after) / 2)
        epochs.append(epoch)
    row: dict[str, object] = {
        "student": case.name,
        "size": f"{width}x{height}",
        "pictures": f"{num_train}+{num_val}",
        "bare_seconds": median(bares),
        "epoch_over_bare": median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
    }
    nothing = dict.fromkeys(("with_teacher_over_epoch", "with_teacher_at_2048x1024_over_epoch"), float("nan"))
    return row | nothing, parts, median(epochs)


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
        self._network = BareNetwork(parts.learner.student, precision=parts.cfg.precision, loss=self._total)

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
