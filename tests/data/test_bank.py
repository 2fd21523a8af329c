"""The bank: correct tensors, each frame read once, bounded memory."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch

from odkd.data.tensor_bank import Bank, Normalization
from odkd.training.learn import Learner


class Frames:
    """Frames whose pixels are their position; records every read."""

    def __init__(self) -> None:
        self.reads: list[int] = []

    def read(self, positions: Sequence[int]) -> np.ndarray:
        self.reads += list(positions)
        return np.stack([np.full((16, 24, 3), p, np.uint8) for p in positions])


class Labels:
    """Label maps of one class each: the position modulo `num_classes`."""

    def __init__(self, num_classes: int = 3) -> None:
        self.num_classes = num_classes

    def read(self, position: int) -> np.ndarray:
        return np.full((8, 12), position % self.num_classes, np.uint8)


def make(frames: Frames, labels: Labels | None = None, memory_bytes: int = 10**9, **settings: object) -> Bank:
    defaults: dict[str, object] = {"normalization": Normalization(), "channels_last": False}
    return Bank(
        frames,
        {"teacher": labels or Labels()},
        num_classes=3,
        device=torch.device("cpu"),
        memory_bytes=memory_bytes,
        **(defaults | settings),  # type: ignore[arg-type]
    )


@pytest.fixture
def frames() -> Frames:
    return Frames()


def test_images_are_scaled_and_labels_resized(frames: Frames) -> None:
    with make(frames) as bank:
        batch = bank.get([51, 4])
    assert batch.images_BCHW.shape == (2, 3, 16, 24)
    assert batch.images_BCHW.dtype == torch.float32
    assert batch.images_BCHW[0].unique().item() == pytest.approx(51 / 255)
    assert batch.labels["teacher"].shape == (2, 16, 24)
    assert batch.labels["teacher"][1].unique().tolist() == [1]


def test_scaling_equals_that_of_torchvision_bit_for_bit() -> None:
    from torchvision.transforms.functional import to_tensor

    image = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)

    class One:
        def read(self, positions: Sequence[int]) -> np.ndarray:
            return np.stack([image for _ in positions])

    with make(One()) as bank:  # type: ignore[arg-type]
        assert torch.equal(bank.get([0]).images_BCHW[0], to_tensor(image))


def test_normalization_and_channels_last(frames: Frames) -> None:
    normalization = Normalization([0.5, 0.4, 0.3], [0.1, 0.2, 0.3])
    with make(frames, normalization=normalization, channels_last=True) as bank:
        images = bank.get([255]).images_BCHW
    assert images.is_contiguous(memory_format=torch.channels_last)
    np.testing.assert_allclose(images[0, :, 0, 0], [5.0, 3.0, 0.7 / 0.3], rtol=1e-6)


def test_a_resident_or_prefetched_frame_is_not_read_again(frames: Frames) -> None:
    with make(frames) as bank:
        bank.prefetch(range(5))
        bank.get([0, 1, 2])
        bank.prefetch(range(3, 6))
        bank.get([3, 4, 5, 1])
    assert sorted(frames.reads) == list(range(6))


def test_memory_is_bounded_and_the_least_recently_used_position_is_evicted_first(frames: Frames) -> None:
    frame_bytes = 16 * 24 * 4  # image and label map
    with make(frames, memory_bytes=3 * frame_bytes) as bank:
        for position in (0, 1, 2, 0, 3):
            bank.get([position])
        frames.reads.clear()
        bank.get([0, 3])
        assert frames.reads == []
        bank.get([1])
        assert frames.reads == [1]
        assert len(bank.get(list(range(10, 20))).images_BCHW) == 10  # a single request may exceed the bound


def test_retain_drops_all_other_positions(frames: Frames) -> None:
    with make(frames) as bank:
        bank.get([0, 1, 2])
        bank.retain({1})
        frames.reads.clear()
        bank.get([1, 2])
    assert frames.reads == [2]


def test_a_label_that_is_no_class_is_refused(frames: Frames) -> None:
    with make(frames, Labels(num_classes=8)) as bank, pytest.raises(ValueError, match="ids up to 7"):
        bank.get([7])


def test_a_learner_reads_its_source_and_reports_mean_losses(frames: Frames) -> None:
    from odkd.training.losses import CrossEntropy
    from odkd.training.regularizers.none import NoRegularizer

    torch.manual_seed(0)
    student = torch.nn.Conv2d(3, 3, 1)
    twin = torch.nn.Conv2d(3, 3, 1)
    twin.load_state_dict(student.state_dict())
    cpu = torch.device("cpu")
    learner = Learner(
        student,
        torch.optim.SGD(student.parameters(), 0.1),
        CrossEntropy(),
        NoRegularizer(),
        source="teacher",
        precision="float32",
        device=cpu,
    )
    optimizer = torch.optim.SGD(twin.parameters(), 0.1)
    expected = []
    with make(frames) as bank:
        losses = learner.learn(bank, [[4, 100], [7]])
        for positions in ([4, 100], [7]):
            batch = bank.get(positions)
            loss = torch.nn.functional.cross_entropy(twin(batch.images_BCHW), batch.labels["teacher"].long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            expected.append(loss.item())
        assert learner.learn(bank, []) == {}
    assert losses == {"cross_entropy": pytest.approx(sum(expected) / 2), "total": pytest.approx(sum(expected) / 2)}
    for ours, theirs in zip(student.parameters(), twin.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs)
