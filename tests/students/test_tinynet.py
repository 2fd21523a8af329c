"""TinyNet against a second, literal implementation with the fixed pooling of the released code."""

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odkd.students.tinynet import TinyNet


def literal_tinynet(weights: dict[str, Tensor], images: Tensor, kernels: list[tuple[int, int]]) -> Tensor:
    """Return the logits of TinyNet, layer by layer as described: fixed pooling kernels, upsampling by factors."""

    def norm(x: Tensor, name: str) -> Tensor:
        mean, variance = x.mean((0, 2, 3), keepdim=True), x.var((0, 2, 3), unbiased=False, keepdim=True)
        scaled = (x - mean) / torch.sqrt(variance + 1e-5)
        return scaled * weights[f"{name}.weight"].view(1, -1, 1, 1) + weights[f"{name}.bias"].view(1, -1, 1, 1)

    def conv(x: Tensor, name: str, stride: int = 1) -> Tensor:
        kernel = weights[f"{name}.weight"]
        return F.conv2d(x, kernel, weights[f"{name}.bias"], stride=stride, padding=kernel.shape[-1] // 2)

    def block(x: Tensor, name: str, stride: int = 1) -> Tensor:
        return norm(conv(x, f"{name}.0", stride), f"{name}.1").relu()

    x = block(images, "stem.0", stride=2)
    x = F.max_pool2d(block(x, "stem.1"), 2, 2)
    x = stem = F.max_pool2d(block(x, "stem.3"), 2, 2)
    for i in range(3):
        x = block(x, f"residual.{i}")
    x = block(x + stem, "merge")
    height, width = x.shape[2:]
    levels = [x]
    for i, kernel in enumerate(kernels):
        pooled = F.avg_pool2d(x, kernel, stride=kernel)
        pooled = (conv(pooled, f"pyramid.{i}") if i else pooled).relu()
        rows = torch.arange(height) * pooled.shape[2] // height
        columns = torch.arange(width) * pooled.shape[3] // width
        levels.append(pooled[:, :, rows][:, :, :, columns])
    x = conv(norm(torch.cat(levels, 1), "pyramid_norm"), "squeeze").relu()
    x = conv(x.repeat_interleave(4, 2).repeat_interleave(4, 3), "to_classes").relu()
    return conv(x.repeat_interleave(2, 2).repeat_interleave(2, 3), "smooth")


@pytest.mark.parametrize(
    ("size", "kernels"),
    [  # kernels of the released TinyNet, for grids 1x1, 3x2, 5x4, 9x8, and of the released SmallTinyNet
        pytest.param((1080, 1920), [(135, 240), (45, 120), (27, 60), (15, 30)], marks=pytest.mark.slow),
        pytest.param((720, 1280), [(90, 160), (30, 80), (18, 40), (10, 20)], marks=pytest.mark.slow),
        ((360, 320), [(45, 40), (15, 20), (9, 10), (5, 5)]),  # the same grids
    ],
)
def test_logits_equal_the_fixed_pooling_construction(size: tuple[int, int], kernels: list[tuple[int, int]]) -> None:
    torch.manual_seed(0)
    network = TinyNet(19).eval()
    for parameter in network.parameters():  # also the weights of norms, which are ones and zeros initially
        nn.init.normal_(parameter, std=0.05)
    images = torch.rand(1, 3, *size)
    with torch.inference_mode():
        expected = literal_tinynet(network.state_dict(), images, kernels)
        torch.testing.assert_close(network(images), expected, rtol=1e-4, atol=1e-4 * expected.std().item())


@pytest.mark.parametrize(("num_classes", "num_parameters"), [(19, 829_207), (2, 816_168)])
def test_parameter_counts_are_the_published_ones(num_classes: int, num_parameters: int) -> None:
    assert sum(p.numel() for p in TinyNet(num_classes).parameters()) == num_parameters


@pytest.mark.parametrize("size", [(97, 133), (16, 16), (128, 224), (75, 200)])
def test_any_input_size_gives_logits_of_that_size(size: tuple[int, int]) -> None:
    assert TinyNet(5)(torch.rand(2, 3, *size)).shape == (2, 5, *size)


def test_evaluation_uses_the_statistics_of_the_current_batch() -> None:
    network = TinyNet(4, dropout=0.0)
    images = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        torch.testing.assert_close(network.train()(images), network.eval()(images))
    assert not any("running" in name for name in network.state_dict())
