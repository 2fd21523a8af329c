"""An epoch of MCKD's training with the Swin student: seconds, and the same network calls alone.

Pictures and soft labels are on the device, as they are after the first epoch. The teacher is a small network of random
weights, because its time is not asked for here.
"""

import time
from pathlib import Path
from statistics import median

import torch
from bench.job import make_parts
from bench.network import BareNetwork
from torch import Tensor

from gpu.loop import Case, settings
from gpu.networks import write_teacher
from gpu.place import Place
from gpu.result import Result
from odkd.config.parts import Parts
from odkd.data.tensor_bank import Batch
from odkd.training.epochs import EpochPlan, Task, Training
from odkd.training.losses.soft import resize_labels

AT_MOST, ROUNDS, BATCH = 1.10, 3, 4
PICTURES, PICTURES_DRY = Case((512, 512), 48, 16, 1), Case((32, 32), 4, 4, 1)
EXACT, FAST = ("precision=float32", "channels_last=false"), ("precision=bfloat16", "channels_last=true")


def measure(place: Place, result: Result) -> None:
    """Measure an epoch in float32 and in bfloat16."""
    case = PICTURES_DRY if place.is_dry else PICTURES
    teacher = place.folder / "teacher.pth"
    write_teacher(teacher, "mit_b0", num_classes=11)
    for name, more in {"float32": EXACT, "bfloat16 + channels_last": FAST}.items():
        if place.is_dry and more is FAST:
            result.leave_out(name, "takes too long on a CPU")
            continue
        row = measure_epoch(place, case, teacher, list(more))
        result.row("epochs", precision=name, size=case.name, pictures=f"{case.learn}+{case.test}", **row)
        ratio = row["epoch over bare"]
        result.figure(f"epoch over bare network, {name}", ratio, at_most=AT_MOST, needs_gpu=True)
        result.figure(f"seconds an epoch, {name}", row["seconds an epoch"], unit="s", remark=f"{case.learn} pictures")


def measure_epoch(place: Place, case: Case, teacher: Path, more: list[str]) -> dict[str, float]:
    """Run epochs and bare epochs in turn; return the medians."""
    job = [
        *settings(place, case, num_frames=case.learn + case.test),
        *("student=swin_tiny_deeplabv3plus", "student.encoder_weights=null", "loss=mckd", "stage=distill"),
        *("teacher=checkpoint", f"teacher.checkpoint={teacher}", f"stage.batch_size={BATCH}"),
        f"teacher.soft={{top_k: 3, size: [{case.size[0] // 4},{case.size[1] // 4}]}}",
    ]
    parts = make_parts([*job, *more])
    train, validation = range(case.learn), range(case.learn, case.learn + case.test)
    plan = EpochPlan(1000, BATCH, drop_last=False, patience=None, best_by="miou", best_against=None)
    task = Task("final", train, "teacher", "teacher", validation)
    training = Training(parts.learner, parts.evaluator, task, plan, seed=0, schedule=None)
    bare = _Bare(parts, train, validation)
    epochs: list[float] = []
    bares: list[float] = []
    for number in range((1 if place.is_dry else ROUNDS) + 1):
        place.wait()
        started = time.perf_counter()
        bare.run()
        place.wait()
        halfway = time.perf_counter()
        training.learn()
        training.validate()
        place.wait()
        if number:  # the first round warms up
            bares.append(halfway - started)
            epochs.append(time.perf_counter() - halfway)
    parts.close()
    return {
        "seconds an epoch": median(epochs),
        "bare seconds": median(bares),
        "epoch over bare": median(epoch / alone for epoch, alone in zip(epochs, bares, strict=True)),
        "pictures a second": len(train) / median(epochs),
    }


class _Bare:
    """The network calls of an epoch, on tensors that are on the device."""

    def __init__(self, parts: Parts, train: range, validation: range) -> None:
        self.network = BareNetwork.of(parts.learner, loss=self._total)
        self._batches = [parts.bank.get(train[i : i + BATCH]) for i in range(0, len(train), BATCH)]
        size = parts.evaluator.batch_size
        ahead = [parts.bank.get(validation[i : i + size]) for i in range(0, len(validation), size)]
        self._ahead = [(batch.images_BCHW, batch.labels["teacher"]) for batch in ahead]
        self._parts: object = parts.learner.loss

    def run(self) -> None:
        """Make one bare epoch, validation included."""
        self.network.learn([(batch.images_BCHW, batch) for batch in self._batches])
        self.network.evaluate(self._ahead)

    def _total(self, logits_BKHW: Tensor, batch: Batch) -> Tensor:
        """Return MCKD's loss of a batch."""
        labels_BHW = resize_labels(batch.labels["teacher"].long(), logits_BKHW.shape[2:])
        parts = self._parts.parts(logits_BKHW, labels_BHW, batch.soft["teacher"])  # type: ignore[attr-defined]
        return torch.stack(list(parts.values())).sum()
