"""CPU and GPU side by side in float32, TF32 off: first one forward and backward pass, then a whole run.

Both add up the same products in another order, so that sums differ in their last bits: about 1e-7 of the largest value
per sum, more after many layers. A pixel changes its class only where two logits are nearly equal. Learning amplifies
such differences from iteration to iteration, as any two orders of summation do on one device; the run's bound is wider
for that. In a dry run the other side is the CPU with channels-last memory, which sums in another order, too.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from bench.job import call_online, make_parts
from torch import Tensor, nn

from gpu.loop import Case, examples_of, settings
from gpu.place import Place
from gpu.result import Result
from odkd.training.losses import CrossEntropy

CASE, CASE_DRY = Case((180, 320), 20, 10, 4), Case((32, 64), 4, 4, 2)
STUDENTS = {"TinyNet": ["student=tinynet", "student.dropout=0"], "Unet ResNet-18": ["student=smp"]}
LOGITS, PIXELS, LOSS, GRADIENT = 1e-4, 1e-3, 1e-5, 1e-2
FIRST_MIOU, RUN_MIOU = 1e-3, 0.03


@dataclass(frozen=True)
class Side:
    """What one device gives: logits [1, K, H, W], loss, gradient [P], and the metrics lines of a run."""

    logits: Tensor
    loss: float
    gradient_P: Tensor
    lines: list[dict[str, Any]]


def measure(place: Place, result: Result) -> None:
    """Compare each student on both devices."""
    case = CASE_DRY if place.is_dry else CASE
    other = Place(torch.device("cpu"), place.folder / "cpu", place.shared, place.seconds)
    for name, more in STUDENTS.items():
        if place.is_dry and name != "TinyNet":
            result.leave_out(name, "takes too long on a CPU")
            continue
        cpu = one_side(other, case, more)
        here = one_side(place, case, [*more, "channels_last=true"] if place.is_dry else more)
        compare(result, name, cpu, here)


def one_side(place: Place, case: Case, more: list[str]) -> Side:
    """Return what a device gives."""
    place.folder.mkdir(parents=True, exist_ok=True)
    parts = make_parts([*settings(place, case), "precision=float32", *more])
    student: nn.Module = parts.learner.student
    ((images_BCHW, labels_BHW),) = examples_of(parts, 1)
    student.eval()
    with torch.inference_mode():
        logits = student(images_BCHW).float().cpu()
    weights = [weight for weight in student.parameters() if weight.requires_grad]
    loss = CrossEntropy()(student(images_BCHW), labels_BHW)
    gradients = torch.autograd.grad(loss, weights)
    gradient_P = torch.cat([gradient.flatten().cpu().double() for gradient in gradients])
    run = call_online(parts, place.folder / "run")
    lines = [json.loads(line) for line in (Path(run.folder) / "metrics.jsonl").read_text().splitlines()]
    return Side(logits, loss.item(), gradient_P, lines)


def compare(result: Result, name: str, cpu: Side, here: Side) -> None:
    """Add the figures of a student."""
    largest = cpu.logits.abs().max()
    result.figure(
        f"logits, largest difference over largest value, {name}",
        ((here.logits - cpu.logits).abs().max() / largest).item(),
        at_most=LOGITS,
    )
    differing = (here.logits.max(1).indices != cpu.logits.max(1).indices).double().mean().item()
    result.figure(f"share of pixels of another class, {name}", differing, at_most=PIXELS)
    result.figure(f"loss, relative difference, {name}", abs(here.loss / cpu.loss - 1), at_most=LOSS)
    norm = torch.linalg.vector_norm(cpu.gradient_P)
    distance = (torch.linalg.vector_norm(here.gradient_P - cpu.gradient_P) / norm).item()
    result.figure(f"gradient, relative distance, {name}", distance, at_most=GRADIENT)
    mious = [
        (one["metrics"]["test/miou"], two["metrics"]["test/miou"])
        for one, two in zip(cpu.lines, here.lines, strict=True)
    ]
    result.figure(f"first mIoU, difference, {name}", abs(mious[0][1] - mious[0][0]), at_most=FIRST_MIOU)
    mean = abs(sum(two - one for one, two in mious)) / len(mious)
    result.figure(f"mean mIoU of the run, difference, {name}", mean, at_most=RUN_MIOU)
    for number, (one, two) in enumerate(mious):
        result.row("mIoU by iteration", student=name, iteration=number, cpu=one, here=two, difference=two - one)
