"""`student.statistics`: what batch norms normalize by, against the formula."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from tiny_settings import TINY
from torch import Tensor, nn

from odkd.commands.job import run_job
from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.config.segmenter import load_student
from odkd.students.batch_norm import Statistics, allow_one_value, use_statistics
from odkd.students.tinynet import TinyNet
from odkd.teachers.export import SUFFIXES, Export, quiet, write_export

OWN = """
from torch import nn


class WithNorm(nn.Sequential):
    def __init__(self, num_classes):
        super().__init__(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.Conv2d(8, num_classes, 1))
"""
CHOICE = "_target_: with_norm.WithNorm\nname: with_norm\nweights: null\nfreeze: []\nmean: null\nstd: null\n"


def network(statistics: Statistics) -> tuple[nn.Sequential, nn.BatchNorm2d]:
    norm = nn.BatchNorm2d(2)
    norm.running_mean, norm.running_var = torch.tensor([1.0, -2.0]), torch.tensor([4.0, 9.0])
    nn.init.constant_(norm.weight, 3.0)
    nn.init.constant_(norm.bias, 0.5)
    found = nn.Sequential(norm)
    use_statistics(found, statistics)
    return found, norm


def normalized(images_BCHW: Tensor, mean: Tensor, variance: Tensor) -> Tensor:
    return 3 * (images_BCHW - mean[:, None, None]) / (variance[:, None, None] + 1e-5).sqrt() + 0.5


@pytest.mark.parametrize(
    ("statistics", "learns_by_images", "answers_by_images"),
    [("own", True, False), ("frozen", False, False), ("batch", True, True)],
)
def test_features_are_normalized_by_what_is_chosen(
    statistics: Statistics, learns_by_images: bool, answers_by_images: bool
) -> None:
    images_BCHW = torch.randn(2, 2, 5, 7, generator=torch.Generator().manual_seed(0))
    of_images = images_BCHW.mean((0, 2, 3)), images_BCHW.var((0, 2, 3), unbiased=False)
    running = torch.tensor([1.0, -2.0]), torch.tensor([4.0, 9.0])
    for is_learning, by_images in ((True, learns_by_images), (False, answers_by_images)):
        found, norm = network(statistics)
        found.train(is_learning)
        expected = normalized(images_BCHW, *(of_images if by_images else running))
        torch.testing.assert_close(copy.deepcopy(found)(images_BCHW), expected)  # a copy is on its own
        torch.testing.assert_close(found(images_BCHW), expected)
        assert norm.training == is_learning
        is_same = torch.equal(norm.running_mean, running[0]) and torch.equal(norm.running_var, running[1])  # type: ignore[arg-type]
        assert is_same == (not is_learning or statistics == "frozen")


def test_one_value_a_channel_has_the_running_statistics_only() -> None:
    for statistics in ("frozen", "batch"):
        found, _ = network(statistics)
        allow_one_value(found)
        images_BCHW = torch.tensor([5.0, 4.0]).reshape(1, 2, 1, 1)
        expected = normalized(images_BCHW, torch.tensor([1.0, -2.0]), torch.tensor([4.0, 9.0]))
        for is_learning in (True, False):
            torch.testing.assert_close(found.train(is_learning)(images_BCHW), expected)


class Pooled(nn.Module):
    """Features beside their mean, each with a batch norm, as in DeepLabV3+."""

    def __init__(self) -> None:
        super().__init__()
        self.norm, self.of_mean = nn.BatchNorm2d(3), nn.BatchNorm2d(3)
        nn.init.constant_(self.of_mean.bias, 0.25)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        mean_BC11 = images_BCHW.mean((2, 3), keepdim=True)
        return self.norm(images_BCHW) + self.of_mean(mean_BC11)  # type: ignore[no-any-return]


@pytest.mark.parametrize("kind", ["torchscript", "pt2"])
@pytest.mark.parametrize("statistics", ["own", "frozen", "batch"])
def test_what_is_exported_answers_as_the_student(statistics: Statistics, kind: str, tmp_path: Path) -> None:
    student = Pooled()
    use_statistics(student, statistics)
    path = tmp_path / f"student{SUFFIXES[kind]}"
    write_export(Export(student, ["a", "b", "c"], [0.0] * 3, [1.0] * 3, (8, 12)), path, kind)
    image = torch.rand(1, 3, 8, 12, generator=torch.Generator().manual_seed(0))
    with quiet():
        exported = torch.jit.load(str(path)) if kind == "torchscript" else torch.export.load(path).module()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(exported(image), student.eval()(image))
    assert ("one_by_one" in path.with_suffix(".yaml").read_text()) == (statistics == "batch")


def test_a_teacher_s_file_cannot_keep_that_it_answers_by_images(odkd: Callable[..., Path]) -> None:
    with pytest.raises(ValueError, match=r"stage=supervised leaves teacher\.pth, and teacher=checkpoint answers by"):
        odkd("stage=supervised", "student=smp", "student.encoder_weights=null", "student.statistics=batch")


def test_a_student_that_keeps_no_statistics_is_refused() -> None:
    use_statistics(TinyNet(3), "own")
    with pytest.raises(ValueError, match=r"student\.statistics=frozen: no batch norm of this student keeps running"):
        use_statistics(TinyNet(3), "frozen")


def test_a_run_learns_and_its_student_is_read_back_with_its_choice(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "with_norm.py").write_text(OWN)
    (tmp_path / "conf" / "student").mkdir(parents=True)
    (tmp_path / "conf" / "student" / "with_norm.yaml").write_text(CHOICE)
    monkeypatch.syspath_prepend(str(tmp_path))
    kept = {}
    for statistics in ("own", "frozen", "batch"):
        words = ["student=with_norm", f"student.statistics={statistics}", "allow_targets=[with_norm]"]
        words += [f"paths.outputs={tmp_path}", f"paths.cache={cache}"]
        cfg = compose_config([*TINY, *words], str(tmp_path / "conf"))
        run_job(cfg)
        student = load_student(Parts(cfg).folder, device="cpu", allow_targets=["with_norm"]).network
        kept[statistics] = student.state_dict()
        image = torch.rand(1, 3, 32, 32, generator=torch.Generator().manual_seed(1))
        learning, answering = (copy.deepcopy(student).train(is_learning)(image) for is_learning in (True, False))
        assert torch.allclose(learning, answering) == (statistics != "own")
    assert torch.equal(kept["frozen"]["1.running_mean"], torch.zeros(8))
    assert not torch.equal(kept["own"]["1.running_mean"], torch.zeros(8))


def test_runs_of_before_there_was_the_choice_keep_their_key(cache: Path) -> None:
    cfg = compose_config([*TINY, f"paths.cache={cache}"])
    before = OmegaConf.create(OmegaConf.to_container(cfg))
    del before.student.statistics
    assert Parts(cfg).key == Parts(before).key
