"""What a student answers is checked once, before it learns; plain forms are brought to logits [B, K, H, W]."""

import copy
import re
from collections import OrderedDict
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.evaluation.metrics import confusion_matrices
from odkd.students.tinynet import TinyNet
from odkd.students.trial import check_sizes, try_student

K, SIZE = 3, (32, 45)
CPU = torch.device("cpu")


class Student(nn.Module):
    """A convolution whose logits a function turns into an answer."""

    def __init__(self, form: Callable[[Tensor, bool], Any], outputs: int = K) -> None:
        super().__init__()
        self.to_classes, self.form = nn.Conv2d(3, outputs, 1), form

    def forward(self, images_BCHW: Tensor) -> Any:
        return self.form(self.to_classes(images_BCHW), self.training)


def reduced(logits: Tensor, by: int) -> Tensor:
    return logits[:, :, ::by, ::by]


PLAIN: dict[str, Callable[[Tensor, bool], Any]] = {
    "out beside aux": lambda y, _: {"out": y, "aux": y + 1},
    "logits of transformers": lambda y, _: OrderedDict(loss=None, logits=y),
    "the only entry": lambda y, _: {"semantic": y},
    "beside classes of the picture": lambda y, _: (y, y.mean((2, 3))),
    "a list of one": lambda y, _: [y],
    "a quarter": lambda y, _: reduced(y, 4),
    "a quarter in a dict": lambda y, _: {"aux": reduced(y, 8), "out": reduced(y, 4)},
    "a dict while it learns": lambda y, learns: {"out": y, "aux": y} if learns else y,
}


@pytest.mark.parametrize("name", PLAIN)
def test_a_plain_answer_becomes_full_logits(name: str) -> None:
    student, images = Student(PLAIN[name]), torch.rand(2, 3, *SIZE)
    bare = student.to_classes(images)
    try_student(student, K, SIZE, device=CPU)
    by = 4 if "quarter" in name else 1
    expected = F.interpolate(reduced(bare, by), SIZE, mode="bilinear") if by > 1 else bare
    for mode in (True, False):
        for network in (student, copy.deepcopy(student)):
            torch.testing.assert_close(network.train(mode)(images), expected)


REFUSED: dict[str, tuple[Callable[[Tensor, bool], Any], int, str]] = {
    "two outputs too many": (lambda y, _: y, K + 2, "it has 5 outputs and dataset.classes has 3"),
    "one too few": (lambda y, _: y, K - 1, "it has 2 outputs and dataset.classes has 3"),
    "too many in a dict": (lambda y, _: {"out": y}, K + 1, "it has 4 outputs and dataset.classes has 3"),
    "two of one shape": (lambda y, learns: (y, y) if learns else y, K, "tuple of [1, 3, 32, 45], [1, 3, 32, 45] while"),
    "unnamed heads": (lambda y, _: {"a": y, "b": y}, K, "dict of a: [1, 3, 32, 45], b: [1, 3, 32, 45]"),
    "another size": (lambda y, _: y[:, :, 2:-2, 2:-2], K, "[1, 3, 28, 41] in evaluation mode"),
    "larger": (lambda y, _: F.interpolate(y, scale_factor=2), K, "reduced 2, 4, 8, 16 or 32 times"),
    "smaller in one way": (lambda y, _: y[:, :, ::2], K, "[1, 3, 16, 45]"),
    "other while it learns": (lambda y, learns: y[:, :1] if learns else y, K, "it has 1 output and"),
    "a label map": (lambda y, _: y.argmax(1), K, "[1, 32, 45] of int64"),
    "whole numbers": (lambda y, _: y.long(), K, "[1, 3, 32, 45] of int64"),
    "no batch": (lambda y, _: y[0], K, "[3, 32, 45]"),
    "nothing": (lambda *_: None, K, "NoneType"),
    "a fault": (lambda y, _: y @ y, K, "RuntimeError"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_another_answer_is_one_line_with_what_was_got_and_expected(name: str) -> None:
    form, outputs, part = REFUSED[name]
    expected = "fails in evaluation mode" if name == "a fault" else "expected logits [B, K, H, W] = [1, 3, 32, 45]"
    with pytest.raises(ValueError, match=re.escape(part)) as raised:
        try_student(Student(form, outputs), K, SIZE, device=CPU)
    assert expected in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_trial_changes_neither_a_normal_student_nor_the_random_numbers() -> None:
    student = nn.Sequential(TinyNet(K, dropout=0.5), nn.BatchNorm2d(K)).eval()
    before = copy.deepcopy(student.state_dict())
    attributes = [set(vars(module)) for module in student.modules()]
    torch.manual_seed(3)
    try_student(student, K, SIZE, device=CPU)
    drawn = torch.rand(3)
    torch.manual_seed(3)
    assert torch.equal(drawn, torch.rand(3))
    assert not any(module.training for module in student.modules())
    assert all(torch.equal(tensor, before[name]) for name, tensor in student.state_dict().items())
    assert [set(vars(module)) for module in student.modules()] == attributes
    assert not any(module._forward_hooks for module in student.modules())


class Pooled(nn.Module):
    """A student with a batch norm of 1 x 1 features."""

    def __init__(self, norm: nn.Module) -> None:
        super().__init__()
        self.pixels, self.picture = nn.Sequential(nn.Conv2d(3, K, 1), nn.BatchNorm2d(K)), norm

    def forward(self, images_BCHW: Tensor) -> Tensor:
        features = self.pixels(images_BCHW)
        pooled: Tensor = features + self.picture(features.mean((2, 3), keepdim=True))
        return pooled


def test_a_batch_norm_of_one_value_uses_its_running_statistics_and_learns() -> None:
    student = Pooled(nn.BatchNorm2d(K))
    student.picture.running_mean.fill_(0.5)
    try_student(student, K, SIZE, device=CPU)
    student = copy.deepcopy(student).train()
    images = torch.rand(1, 3, *SIZE)
    student(images).square().sum().backward()
    assert student.picture.weight.grad.abs().sum() > 0
    assert student.picture.num_batches_tracked == 0
    assert student.picture.training
    assert student.pixels[1].num_batches_tracked == 1
    pooled = torch.rand(1, K, 1, 1)
    torch.testing.assert_close(student.picture(pooled), copy.deepcopy(student.picture).eval()(pooled))
    plain, two = nn.BatchNorm2d(K), torch.rand(2, K, 1, 1)
    plain.load_state_dict(student.picture.state_dict())
    assert torch.equal(student.picture(two), plain(two)), "two values have statistics of their own"
    assert torch.equal(student.picture.running_var, plain.running_var)


def test_a_norm_that_cannot_take_one_value_is_one_line() -> None:
    for norm in (nn.BatchNorm2d(K, track_running_stats=False), nn.InstanceNorm2d(K)):
        with pytest.raises(ValueError, match=r"the student Pooled fails .* 1 image of 32 x 45 .*Expected more than 1"):
            try_student(Pooled(norm), K, SIZE, device=CPU)


def test_a_run_tries_its_student_before_it_has_a_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    forward = TinyNet.forward
    cfg = compose_config(["debug=smoke", "device=cpu", "tracking=none"])
    monkeypatch.setattr(TinyNet, "forward", lambda self, images: torch.cat([forward(self, images)] * 2, 1))
    with pytest.raises(ValueError, match=r"it has \d+ outputs and dataset.classes has"):
        _ = Parts(cfg).learner
    monkeypatch.setattr(TinyNet, "forward", lambda self, images: {"out": forward(self, images)[:, :, ::4, ::4]})
    learner = Parts(cfg).learner
    assert learner.student(torch.rand(1, 3, 32, 48)).shape == (1, len(cfg.dataset.classes), 32, 48)


@pytest.mark.parametrize("wrong", [3, 200, -1])
def test_metrics_refuse_a_predicted_id_that_is_no_class(wrong: int) -> None:
    predicted = torch.zeros(1, 2, 2, dtype=torch.int64)
    predicted[0, 1, 1] = wrong
    with pytest.raises(ValueError, match=f"a predicted class id is {wrong}; expected 0 to 2"):
        confusion_matrices(predicted, torch.zeros_like(predicted), 3)


def test_an_answer_that_cannot_be_scored_or_learned_from_is_one_line() -> None:
    for form, part in {
        (lambda y, _: y * float("nan")): "with NaN in evaluation mode, which has no class",
        (lambda y, learns: y if learns else y * float("nan")): "with NaN in evaluation mode",
        (lambda y, _: y.detach()): "no gradient while it learns: remove detach()",
        (lambda y, learns: y.detach() if learns else y): "no gradient while it learns",
        (lambda y, _: y.detach().to_sparse()): "expected logits [B, K, H, W]",
    }.items():
        with pytest.raises(ValueError, match=re.escape(part)):
            try_student(Student(form), K, SIZE, device=CPU)
    frozen = Student(lambda y, _: y).requires_grad_(False)
    try_student(frozen, K, SIZE, device=CPU)
    try_student(Student(lambda y, _: y), K, SIZE, device=CPU, precision="bfloat16")  # casts once without a gradient


def test_a_student_with_lazy_layers_is_one_line() -> None:
    check_sizes(TinyNet(K))
    with pytest.raises(ValueError, match="Sequential has layers without a size, such as 1; give them one"):
        check_sizes(nn.Sequential(nn.Conv2d(3, 4, 1), nn.LazyConv2d(K, 1)))
