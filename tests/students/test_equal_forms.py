"""Fast forms of TinyNet's layers and of its loss: equal to the layers as they are written, with equal gradients."""

import copy
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odkd.students.equal_forms import upsampled_batch_norm, upsampled_conv, upsampled_grids_conv, use_fast_forms
from odkd.students.tinynet import GRIDS, TinyNet
from odkd.teachers.export import write_torchscript
from odkd.training.losses.cross_entropy import CrossEntropy

SIZES = [(32, 48), (24, 40), (37, 61)]  # the last: not a multiple of 8


def close(a: Tensor, b: Tensor, tolerance: float) -> bool:
    return bool((a - b).abs().max() <= tolerance * max(1.0, float(b.detach().abs().max())))


def check_equal(
    fast: Callable[[], Tensor], plain: Callable[[], Tensor], inputs: list[Tensor], tolerance: float
) -> None:
    """Check results and gradients of `inputs` against each other."""
    found, expected = fast(), plain()
    assert found.shape == expected.shape
    assert close(found, expected, tolerance)
    weights = torch.randn(expected.shape, generator=torch.Generator().manual_seed(1), dtype=expected.dtype)
    gradients = [torch.autograd.grad((result * weights).sum(), inputs) for result in (found, expected)]
    assert all(close(a, b, tolerance) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-12), (torch.float32, 1e-6)])
@pytest.mark.parametrize("factor", [2, 3, 4])
@pytest.mark.parametrize("rectify", [False, True])
def test_a_convolution_before_the_upsampling_equals_the_one_after_it(
    factor: int, rectify: bool, dtype: torch.dtype, tolerance: float
) -> None:
    torch.manual_seed(0)
    conv = nn.Conv2d(5, 3, 3, padding=1).to(dtype)
    images = torch.rand(2, 5, 4, 7, dtype=dtype, requires_grad=True)

    def plain() -> Tensor:
        after = conv(F.interpolate(images, scale_factor=factor, mode="nearest"))
        return F.relu(after) if rectify else after

    inputs = [images, *conv.parameters()]
    check_equal(lambda: upsampled_conv(images, conv, factor, rectify=rectify), plain, inputs, tolerance)


@pytest.mark.parametrize("size", [(9, 16), (4, 6), (11, 7)])  # the second has fewer rows than the finest grid
def test_norm_and_convolution_of_grids_equal_those_of_the_upsampled_grids(
    size: tuple[int, int],
) -> None:
    torch.manual_seed(0)
    dtype = torch.float64  # a grid of one cell has almost no variance, which makes rounding large
    grids = [torch.rand(2, 4, *grid, dtype=dtype, requires_grad=True) for grid in GRIDS]
    weight, scale, shift = (torch.rand(*shape, dtype=dtype) - 0.5 for shape in ((3, 16, 3, 3), (16,), (16,)))
    inputs = [*grids, weight.requires_grad_(), scale.requires_grad_(), shift.requires_grad_()]

    def fast() -> Tensor:
        parts = zip(grids, scale.split(4), shift.split(4), strict=True)
        return upsampled_grids_conv([upsampled_batch_norm(*part, size, 1e-5) for part in parts], weight, size)

    def plain() -> Tensor:
        joined = torch.cat([F.interpolate(grid, size=size, mode="nearest") for grid in grids], 1)
        return F.conv2d(F.batch_norm(joined, None, None, scale, shift, training=True), weight, padding=1)

    check_equal(fast, plain, inputs, 1e-9)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("learns", [True, False])
def test_tinynet_is_equal_to_1e_6_with_fast_forms(size: tuple[int, int], learns: bool) -> None:
    """Logits and gradients, with the same channels dropped."""
    torch.manual_seed(0)
    plain = TinyNet(11).train(learns)
    fast = copy.deepcopy(plain)
    use_fast_forms(fast, True)
    images = torch.rand(2, 3, *size)
    weights = torch.rand(2, 11, *size)
    gradients = []
    logits = []
    for network in (plain, fast):
        torch.manual_seed(1)
        logits.append(network(images))
        (logits[-1] * weights).mean().backward()
        gradients.append(torch.cat([parameter.grad.flatten() for parameter in network.parameters()]))
    assert (logits[0] - logits[1]).abs().max() < 1e-6
    assert (gradients[0] - gradients[1]).abs().max() < 1e-6
    assert plain.state_dict().keys() == fast.state_dict().keys()


def test_tinynet_without_fast_forms_computes_its_layers_one_by_one() -> None:
    """Bit for bit as in the reference code, whose numbers runs in float32 repeat."""
    torch.manual_seed(0)
    network, images = TinyNet(11).eval(), torch.rand(1, 3, 37, 61)
    stem = network.stem(images)
    features = network.merge(network.residual(stem) + stem)
    levels = [features]
    for grid, conv in zip(GRIDS, network.pyramid, strict=True):
        pooled = F.relu(conv(F.adaptive_avg_pool2d(features, grid)))
        levels.append(F.interpolate(pooled, size=features.shape[2:], mode="nearest"))
    head = F.relu(network.squeeze(network.pyramid_norm(torch.cat(levels, 1))))
    head = F.relu(network.to_classes(F.interpolate(head, size=(19, 31), mode="nearest")))
    assert torch.equal(network(images), network.smooth(F.interpolate(head, size=(37, 61), mode="nearest")))


def test_a_student_with_fast_forms_is_exported_as_a_teacher(tmp_path: Path) -> None:
    torch.manual_seed(0)
    student = TinyNet(3).eval()
    use_fast_forms(student, True)
    write_torchscript(student, tmp_path / "a.pt", classes="abc", mean=[0] * 3, std=[1] * 3, size=(32, 48))
    images = torch.rand(1, 3, 32, 48)
    assert student.fast_forms
    with warnings.catch_warnings():  # torch calls TorchScript deprecated
        warnings.simplefilter("ignore")
        exported = torch.jit.load(tmp_path / "a.pt")  # type: ignore[no-untyped-call]
        assert (exported(images) - student(images)).abs().max() < 1e-6


@pytest.mark.parametrize("weights", [None, [1.0, 2.0, 0.5]])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_cross_entropy_of_rows_of_pixels_equals_that_of_images(
    weights: list[float] | None, layout: torch.memory_format
) -> None:
    torch.manual_seed(0)
    logits = torch.randn(2, 3, 5, 7).contiguous(memory_format=layout).requires_grad_()
    labels = torch.randint(3, (2, 5, 7))
    labels[0, :2] = 255
    plain, fast = CrossEntropy(weights), CrossEntropy(weights)
    use_fast_forms(fast, True)
    check_equal(lambda: fast(logits, labels), lambda: plain(logits, labels), [logits], 1e-6)
