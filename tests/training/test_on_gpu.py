"""What learning does on a GPU, without one: torch's device `meta`, whose tensors have a shape and no values.

It stands for any device that computes while the process goes on.
"""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from omegaconf import OmegaConf
from tiny_learner import NUM_CLASSES, PASSES, make_optimizer, make_student
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from odkd.config.compose import compose_config
from odkd.config.construct import construct
from odkd.config.known import CONF
from odkd.data.labels.soft import SoftLabels
from odkd.data.tensor_bank import Batch
from odkd.evaluation import evaluate
from odkd.evaluation.evaluate import Evaluator
from odkd.students.pooling import grid_means_by_products
from odkd.training import augment, learn
from odkd.training.learn import Learner

GPU = torch.device("meta")
SOON = {"warmup_passes": 1, "update_every_passes": 1}


class Resident:
    """A bank whose frames are on the GPU already."""

    sources, num_classes = ("teacher",), NUM_CLASSES

    def get(self, positions: Sequence[int]) -> Batch:
        size = len(positions)
        soft = SoftLabels(
            torch.zeros(size, 2, 4, 4, dtype=torch.uint8, device=GPU), torch.zeros(size, 2, 4, 4, device=GPU)
        )
        labels = torch.zeros(size, 8, 8, dtype=torch.uint8, device=GPU)
        return Batch(torch.zeros(size, 3, 8, 8, device=GPU), {"teacher": labels}, {"teacher": soft})

    def prefetch(self, positions: Sequence[int]) -> None:
        pass


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


class Waits(TorchDispatchMode):
    """Notes each operation for which a process waits for a GPU: a value read from it, a copy in the foreground."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def __torch_dispatch__(self, function: Any, types: Any, arguments: Any = (), named: Any = None) -> Any:
        made = function(*arguments, **(named or {}))
        name, source = function.overloadpacket.__name__, arguments[0] if arguments else None
        moves = name in ("_to_copy", "copy_") and isinstance(source, Tensor) and made.device != source.device
        if moves and not (made.is_meta and (named or {}).get("non_blocking")):
            self.found.append(f"{name} to {made.device}")
        return made


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """What the process waits for, in the order in which it does."""
    own = Tensor.item

    def item(tensor: Tensor) -> Any:
        if not tensor.is_meta:
            return own(tensor)
        mode.found.append("item")
        return 0.5

    def tensor(values: Any, **named: Any) -> Tensor:
        mode.found.extend(["tensor"] if named.get("device") == GPU else [])
        return make(values, **named)

    make = torch.tensor
    monkeypatch.setattr(torch, "tensor", tensor)

    def tolist(tensor: Tensor) -> Any:
        if not tensor.is_meta:
            return numbers(tensor)
        mode.found.append("tolist")
        return [0.5] * tensor.numel()

    numbers = Tensor.tolist
    monkeypatch.setattr(Tensor, "tolist", tolist)

    def cpu(tensor: Tensor) -> Tensor:
        mode.found.extend(["cpu"] if tensor.is_meta else [])
        return torch.zeros(tensor.shape, dtype=tensor.dtype)

    monkeypatch.setattr(Tensor, "cpu", cpu)
    monkeypatch.setattr(Tensor, "item", item)
    monkeypatch.setattr(evaluate, "autocast", lambda *_: nullcontext())
    monkeypatch.setattr(learn, "autocast", lambda *_: nullcontext())  # there is none for `meta`
    for module in (learn, augment):  # as from pinned memory
        monkeypatch.setattr(module, "upload", lambda tensor, device: tensor.to(device, non_blocking=True))
    with Waits() as mode:
        yield mode.found


def learner_of(choices: dict[str, str]) -> Learner:
    """Return a learner on the GPU with these parts, as a run constructs them."""
    cfg = compose_config([*(f"{group}={name}" for group, name in choices.items()), "teacher.soft.top_k=2"])
    with GPU:
        student = make_student()
    offered = {"num_classes": NUM_CLASSES, "device": GPU, "seed": 0, "student": student, "std": [0.2, 0.2, 0.2]}
    for key, value in SOON.items():
        if key in cfg.regularizer:
            OmegaConf.update(cfg.regularizer, key, value)
    loss, regularizer, augmentation = (
        construct(cfg[group], (), offered, [], group) for group in ("loss", "regularizer", "augmentation")
    )
    return Learner(
        student,
        make_optimizer(student),
        loss,
        regularizer,
        source="teacher",
        precision="float32",
        device=GPU,
        augment=augmentation,
    )


@pytest.mark.parametrize(
    ("group", "name"),
    [
        *(("loss", name) for name in names("loss")),
        *(("regularizer", name) for name in names("regularizer")),
        ("augmentation", "flip_scale_crop_colour"),
        ("loss.class_weights", "inverse_frequency"),
    ],
)
def test_an_update_stays_on_the_gpu_and_does_not_wait_for_it(group: str, name: str, waits: list[str]) -> None:
    learner = learner_of({group: name})
    for one in PASSES:
        waits.clear()
        losses = learner.learn(
            Resident(),
            one.batches,
            stream_positions=one.stream_positions,
            kept=one.kept,  # type: ignore[arg-type]
        )
        assert set(waits) <= {"item", "tolist"}  # the losses, at the end of the pass
        assert len(waits) <= len(losses)


def test_scores_are_read_from_the_gpu_once_a_window(waits: list[str]) -> None:
    with GPU:
        student = make_student()
    evaluator = Evaluator(Resident(), 2, "float32", GPU)  # type: ignore[arg-type]
    evaluator.confusions(student, range(6))
    assert waits == ["cpu"]  # the counts, at the end
    waits.clear()
    evaluator.scores(student, range(6))
    assert set(waits) == {"cpu"}
    assert len(waits) <= 3  # confusions, steady pixels, predictions


def test_grid_means_as_products_are_those_of_adaptive_pooling() -> None:
    images = torch.randn(2, 3, 45, 60, dtype=torch.float32, generator=torch.Generator().manual_seed(0))
    for grid in ((3, 2), (5, 4), (9, 8)):
        pairs = []
        for function in (nn.functional.adaptive_avg_pool2d, grid_means_by_products):
            image = images.clone().requires_grad_()
            means = function(image, grid)
            means.square().sum().backward()
            pairs.append((means.detach(), image.grad))
        for one, other in zip(*pairs, strict=True):
            torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)
