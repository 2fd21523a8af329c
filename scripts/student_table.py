"""Try every architecture of segmentation-models-pytorch as a student and print the table of docs/own_student.md.

python scripts/student_table.py  (45 seconds on 2 CPU cores)

Each learns from one image, from two, and from two and a last batch of one, at a default size and at an odd one.
"""

import sys
import warnings
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from odkd.students.smp import SmpStudent
from odkd.students.trial import try_student

SIZES = ((128, 224), (97, 161))  # (height, width): of conf/dataset/synthetic.yaml, and odd
BATCHES = ((1,), (2,), (2, 1))
NUM_CLASSES = 3
ENCODERS = {"DPT": "tu-vit_tiny_patch16_224"}  # others: resnet18
CPU = torch.device("cpu")


def architectures() -> list[str]:
    """Return the names of all architectures of the installed version."""
    import segmentation_models_pytorch as smp

    return [kind.__name__ for kind in smp.MODEL_ARCHITECTURES_MAPPING.values()]


def outcome(student: nn.Module, size: tuple[int, int], batches: Sequence[int]) -> str:
    """Learn from batches of these sizes, predict one image, and return "runs" or the message.

    Raises:
        RuntimeError: the student runs and gives what is no number.
    """
    try:
        try_student(student, NUM_CLASSES, size, device=CPU)
    except ValueError as error:
        return str(error)
    optimizer = torch.optim.SGD(student.parameters(), lr=1e-3)
    student.train()
    for batch_size in batches:
        images_BCHW, labels_BHW = torch.rand(batch_size, 3, *size), torch.randint(NUM_CLASSES, (batch_size, *size))
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(student(images_BCHW), labels_BHW))
        optimizer.step()
    student.eval()
    with torch.inference_mode():
        logits_BKHW = student(torch.rand(1, 3, *size))
    if logits_BKHW.shape != (1, NUM_CLASSES, *size) or not logits_BKHW.isfinite().all():
        raise RuntimeError(f"{type(student).__name__} answers {logits_BKHW}")
    return "runs"


def row(arch: str, sizes: Sequence[tuple[int, int]] = SIZES) -> str:
    """Return an architecture's row of the table."""
    torch.manual_seed(0)
    encoder = ENCODERS.get(arch, "resnet18")
    cells = []
    for size in sizes:
        for batches in BATCHES:
            found = outcome(SmpStudent(NUM_CLASSES, arch=arch, encoder=encoder), size, batches)
            if found != "runs":
                print(f"{arch}, {size}, {batches}: {found}", file=sys.stderr)
            cells.append("runs" if found == "runs" else "message")
    return f"| `{arch}` | `{encoder}` | {' | '.join(cells)} |"


def main() -> None:
    """Print the table."""
    warnings.simplefilter("ignore")
    names = [f"{kind}, {height} x {width}" for height, width in SIZES for kind in ("1 image", "2", "2, then 1")]
    print(f"| `student.arch` | `student.encoder` | {' | '.join(names)} |")
    print("|---" * (len(names) + 2) + "|")
    for arch in architectures():
        print(row(arch), flush=True)


if __name__ == "__main__":
    main()
