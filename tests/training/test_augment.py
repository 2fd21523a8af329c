"""Augmentation: images, labels and soft labels stay aligned; draws depend only on the names of a batch."""

from typing import Any

import pytest
import torch
from torch import Tensor

from odkd.config.compose import compose_config
from odkd.config.construct import construct
from odkd.training.augment import Augmentation, Geometry, show
from odkd.training.losses import SoftLabels

OFF: dict[str, Any] = {
    "flip": 0.0,
    "scale": [1.0, 1.0],
    "crop": None,
    "brightness": 0.0,
    "contrast": 0.0,
    "class_mix": 0.0,
}


def make(seed: int = 0, **settings: Any) -> Augmentation:
    return Augmentation(**(OFF | settings), seed=seed)


def scene(height: int = 8, width: int = 12) -> tuple[Tensor, Tensor, SoftLabels]:
    """Return images whose channels are label + 1, their labels, and soft labels at half the size."""
    labels = torch.randint(0, 5, (3, height // 2, width // 2), generator=torch.Generator().manual_seed(0))
    full = labels.repeat_interleave(2, 1).repeat_interleave(2, 2)
    images = (full[:, None] + 1).float().expand(-1, 3, -1, -1).clone()
    soft = SoftLabels(labels[:, None].to(torch.uint8), (labels[:, None] + 1).half() / 8)
    return images, full, soft


def test_augmentation_without_settings_is_off_and_changes_nothing() -> None:
    images, labels, soft = scene()
    assert make().is_off
    assert not make(flip=0.5).is_off
    found = make()(images, labels, soft, names=(0, 0))
    assert torch.equal(found[0], images)
    assert torch.equal(found[1], labels)


def test_a_flipped_batch_equals_the_mirror_image_exactly() -> None:
    images, labels, soft = scene()
    found_images, found_labels, found_soft = make(flip=1.0)(images, labels, soft, names=(0, 0))
    assert torch.equal(found_images, images.flip(3))
    assert torch.equal(found_labels, labels.flip(2))
    assert found_soft is not None
    assert torch.equal(found_soft.classes_BkHW, soft.classes_BkHW.flip(3))
    assert torch.equal(found_soft.probabilities_BkHW, soft.probabilities_BkHW.flip(3))


def test_a_crop_by_hand() -> None:
    image = torch.arange(20.0).reshape(1, 4, 5)
    zero, yes = torch.zeros(1, dtype=torch.float64), torch.ones(1, dtype=torch.bool)
    geometry = Geometry((2, 3), zero + 1, zero + 1, zero + 2, ~yes)
    assert show(image, geometry, 0).tolist() == [[[7, 8, 9], [12, 13, 14]]]
    assert show(image, geometry._replace(is_mirrored_B=yes), 0).tolist() == [[[9, 8, 7], [14, 13, 12]]]
    outside = geometry._replace(top_B=zero - 1, left_B=zero + 3)
    assert show(image, outside, 0).tolist() == [[[0, 0, 0], [3, 4, 0]]]
    # Scale 2: pixel centres fall between the pixel centres of the frame, at quarters.
    double = Geometry((1, 2), zero + 2, zero + 3, zero + 3, ~yes)
    assert show(image, double, 0).tolist() == [[[1.25 * 5 + 1.25, 1.25 * 5 + 1.75]]]


@pytest.mark.parametrize("crop", [None, [6, 8], [16, 20]])
@pytest.mark.parametrize("scale", [[1.0, 1.0], [2.0, 2.0], [0.5, 2.0]])
def test_images_and_labels_stay_aligned(crop: list[int] | None, scale: list[float]) -> None:
    images, labels, soft = scene()
    for number in range(10):
        augment = make(flip=0.5, scale=scale, crop=crop)
        seen, found, found_soft = augment(images, labels, soft, names=(0, number))
        height, width = crop or (8, 12)
        assert seen.shape == (3, 3, height, width)
        assert found.shape == (3, height, width)
        # Pixels with one label around them have exactly its colour; outside, images are 0 and labels 255.
        expected = torch.where(found == 255, 0, found + 1).float()
        around = torch.nn.functional.unfold(expected[:, None], 3, padding=1).unflatten(2, (height, width))
        is_flat = (around == expected[:, None])[..., 1:-1, 1:-1].all(1)
        torch.testing.assert_close(seen[:, 0, 1:-1, 1:-1][is_flat], expected[:, 1:-1, 1:-1][is_flat])
        assert found_soft is not None
        ids, shares = found_soft.classes_BkHW[:, 0], found_soft.probabilities_BkHW[:, 0]
        assert ids.shape == (3, height // 2, width // 2)
        assert torch.equal(shares == 0, ids == 255)
        inside = ids != 255
        assert torch.equal(shares[inside], (ids[inside] + 1).half() / 8)
        if scale == [2.0, 2.0]:  # a soft label then covers 2x2 pixels of one label
            agrees = (ids.long() == found[:, 1::2, 1::2]) | (ids.long() == found[:, ::2, ::2])
            assert agrees.float().mean() > 0.9


def test_pixels_outside_a_small_frame_are_ignored() -> None:
    images, labels, soft = scene()
    _, found, found_soft = make(scale=[0.5, 0.5])(images, labels, soft, names=(0, 0))
    assert ((found != 255).sum((1, 2)) == 4 * 6).all()
    assert found_soft is not None
    assert (found_soft.classes_BkHW == 255).any()


def test_draws_depend_only_on_seed_and_names() -> None:
    images, labels, soft = scene()
    settings: dict[str, Any] = {"flip": 0.5, "scale": [0.5, 2.0], "brightness": 0.2, "contrast": 0.2}
    first = make(**settings)(images, labels, soft, names=(3, 1))[0]
    torch.manual_seed(99)
    assert torch.equal(make(**settings)(images, labels, soft, names=(3, 1))[0], first)
    for other in (
        make(1, **settings)(images, labels, soft, names=(3, 1)),
        make(**settings)(images, labels, soft, names=(1, 3)),
    ):
        assert not torch.equal(other[0], first)


def test_brightness_and_contrast_apply_to_pixels_before_normalisation() -> None:
    pixels = torch.rand(4, 3, 6, 6, generator=torch.Generator().manual_seed(0))
    mean, std = torch.tensor([0.4, 0.5, 0.6])[:, None, None], [0.2, 0.25, 0.5]
    scale = torch.tensor(std)[:, None, None]
    plain = make(brightness=0.2, contrast=0.5)(pixels, pixels[:, 0].long(), None, names=(0,))[0]
    augment = Augmentation(**(OFF | {"brightness": 0.2, "contrast": 0.5}), seed=0, std=std)
    normalised = augment((pixels - mean) / scale, pixels[:, 0].long(), None, names=(0,))[0]
    torch.testing.assert_close(normalised * scale + mean, plain, rtol=1e-5, atol=1e-6)
    shift = (plain - pixels).mean((1, 2, 3))
    assert shift.abs().max() <= 0.2 + 1e-6
    assert shift.unique().numel() == 4
    stretch = plain.std((2, 3)) / pixels.std((2, 3))
    assert ((stretch > 0.5) & (stretch < 1.5)).all()


def one_colour(classes: list[list[int]]) -> tuple[Tensor, Tensor, SoftLabels]:
    """Return frames whose columns show these classes; pixels and soft labels have the frame's number."""
    labels = torch.tensor(classes)[:, None].expand(-1, 2, -1).clone()
    numbers = torch.arange(len(classes))[:, None, None, None]
    soft = SoftLabels((numbers + 10).to(torch.uint8).expand(-1, 1, 1, 2), numbers.float().expand(-1, 1, 1, 2))
    return numbers.float().expand(-1, 3, 2, len(classes[0])).clone(), labels, soft


def test_half_of_the_classes_of_the_frame_before_are_pasted_with_everything() -> None:
    images, labels, soft = one_colour([[0, 0, 1, 1], [2, 2, 2, 2], [3, 3, 3, 3]])
    augment = make(class_mix=1.0)
    assert not augment.is_off
    mixed, maps, softs = augment(images, labels, soft, names=(0, 0))
    assert softs is not None
    assert torch.equal(mixed[0], images[0])  # the first frame of a pass has none before it
    is_pasted = mixed[1, 0] == 0  # half of the two classes of frame 0: one of its halves
    assert is_pasted[:, :2].all() != is_pasted[:, 2:].all()
    assert is_pasted.float().mean() == 0.5
    assert torch.equal(maps[1], torch.where(is_pasted, labels[0], labels[1]))
    assert torch.equal(softs.classes_BkHW[1, 0, 0] == 10, is_pasted[1, 1::2])
    assert torch.equal(softs.probabilities_BkHW[1, 0, 0] == 0, is_pasted[1, 1::2])
    assert torch.equal(mixed[2], images[1])  # its only class; and as the frame was before it was mixed
    assert torch.equal(maps[2], labels[1])
    again = augment(*one_colour([[4, 4, 4, 4]]), names=(0, 1))
    assert torch.equal(again[1][0], labels[2])  # the last frame of the batch before
    begun = augment(*one_colour([[4, 4, 4, 4]]), names=(1, 0))
    assert torch.equal(begun[1][0], torch.full((2, 4), 4))  # another pass


def test_unlabelled_pixels_are_never_pasted_and_the_layout_stays() -> None:
    images, labels, _ = one_colour([[255, 255, 1, 255], [2, 255, 2, 2]])
    mixed, maps, soft = make(class_mix=1.0)(
        images.contiguous(memory_format=torch.channels_last), labels, None, names=(0, 0)
    )
    assert soft is None
    assert maps[1].tolist() == [[2, 255, 1, 2]] * 2
    assert mixed[1, 0].tolist() == [[1, 1, 0, 1]] * 2
    assert mixed.is_contiguous(memory_format=torch.channels_last)


def test_the_share_of_mixed_frames_is_as_told_and_depends_on_the_names_only() -> None:
    images, labels, _ = one_colour([[0] * 4, [1] * 4] * 200)
    first, second = (make(class_mix=0.25)(images, labels, None, names=(0, 0))[1] for _ in range(2))
    assert torch.equal(first, second)
    assert 0.18 < (first != labels).any(2).any(1).float().mean() < 0.32


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("class_mix", 1.5, "class_mix=1.5; expected a number of at least 0 and of at most 1"),
        ("flip", 2, "flip=2; expected a number of at least 0 and of at most 1"),
        ("scale", [2, 1], r"scale=\[2, 1\]; expected \[lowest, highest\] above 0"),
        ("scale", [0, 1], r"scale=\[0, 1\]; expected \[lowest, highest\] above 0"),
        ("scale", 2, "scale=2; expected a list"),
        ("crop", [0, 4], r"crop=\[0, 4\]; expected \[height, width\] in pixels"),
        ("crop", [2.5, 4], r"crop=\[2.5, 4\]; expected a list of whole numbers"),
        ("brightness", -0.1, "brightness=-0.1; expected a number of at least 0"),
        ("contrast", 1, "contrast=1; expected a number of at least 0 and below 1"),
    ],
)
def test_impossible_settings_are_refused(key: str, value: Any, message: str) -> None:
    node = compose_config(["augmentation=none"]).augmentation
    node[key] = value
    with pytest.raises(ValueError, match=f"augmentation.{message}"):
        construct(node, (), {"seed": 0, "std": None}, [], "augmentation")
