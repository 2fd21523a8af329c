"""Outputs of named layers: as maps, of every forward pass, and without traces."""

import pytest
import torch
from torch import nn

from odkd.students.layers import as_map, check_layers, tapped
from odkd.students.tinynet import TinyNet


def test_outputs_of_layers_are_collected_and_hooks_are_removed() -> None:
    student = TinyNet(4)
    images = torch.rand(3, 3, 32, 48)
    with tapped(student, ["merge", "stem.0"]) as taken:
        student(images[:2])
        student(images[2:])
    maps = taken.maps(3)
    assert maps["merge"].shape == (3, 64, 4, 6)
    assert maps["stem.0"].shape == (3, 64, 16, 24)
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in student.modules())
    with tapped(student, ["stem.0"]) as taken:
        alone = student.stem[0](images[:2])
    assert torch.equal(taken.maps(2)["stem.0"], alone)
    with pytest.raises(ValueError, match=r"layer stem\.0 gives 2 maps for 5 images; expected one each"):
        taken.maps(5)


@pytest.mark.parametrize(
    ("shape", "size", "expected"),
    [
        ((2, 7, 4, 6), (32, 48), (2, 7, 4, 6)),
        ((2, 24, 7), (32, 48), (2, 7, 4, 6)),  # tokens of stride 8
        ((2, 25, 7), (32, 48), (2, 7, 4, 6)),  # behind a class token
        ((2, 29, 7), (32, 48), (2, 7, 4, 6)),  # and four registers
        ((1, 23 * 40, 7), (90, 160), (1, 7, 23, 40)),  # rounded up, as strided convolutions do
    ],
)
def test_maps_and_tokens_of_images_are_maps(
    shape: tuple[int, ...], size: tuple[int, int], expected: tuple[int, ...]
) -> None:
    assert as_map((torch.zeros(shape), None), size, "x").shape == expected
    assert as_map({"last": torch.zeros(shape)}, size, "x").shape == expected


def test_the_order_of_tokens_is_that_of_rows() -> None:
    tokens = torch.arange(24.0).view(1, 24, 1)
    assert torch.equal(as_map(tokens, (32, 48), "x")[0, 0], torch.arange(24.0).view(4, 6))
    with_class = torch.cat([torch.full((1, 1, 1), -1.0), tokens], 1)
    assert torch.equal(as_map(with_class, (32, 48), "x")[0, 0], torch.arange(24.0).view(4, 6))


@pytest.mark.parametrize("output", [torch.zeros(2, 5), torch.zeros(2, 17, 3), torch.zeros(1, 1, 2, 2).long(), None, ()])
def test_what_is_no_map_is_one_line(output: object) -> None:
    with pytest.raises(ValueError, match=r"layer x gives .* for images of 32 x 48; expected a map"):
        as_map(output, (32, 48), "x")


def test_an_unknown_layer_names_the_nearest() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.ReLU(), nn.Conv2d(4, 4, 1)))
    with pytest.raises(ValueError, match=r"the student has no layer 1\.2; its nearest of 4 are 1\.[01], 1\.[01]"):
        check_layers(network, ["0", "1.2"], "the student")


def test_the_output_of_a_layer_is_that_before_the_next_one_changes_it_in_place() -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True))
    images = torch.randn(2, 3, 4, 4)
    with tapped(network, ["0", "1"]) as taken:
        network(images)
    maps = taken.maps(2)
    torch.testing.assert_close(maps["0"], network[0](images))
    assert maps["0"].min() < 0
    torch.testing.assert_close(maps["1"], network[0](images).relu())
    maps["0"].sum().backward()
    assert network[0].weight.grad is not None
