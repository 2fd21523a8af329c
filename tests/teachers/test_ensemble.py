"""Teachers made of teachers: votes by hand, means against a literal twin, and what cannot be."""

from typing import Any

import numpy as np
import pytest
import torch

from odkd.common.ignore import IGNORE
from odkd.teachers import SampledFrames, SoftTeacher
from odkd.teachers.ensemble import Ensemble
from odkd.teachers.member import Member

CLASSES = ["road", "sky", "car"]


class Says:
    """A teacher that says the same of each frame, in classes of its own."""

    needs_images = True
    classes = None

    def __init__(self, label_HW: Any, num_classes: int = 3, clip_frames: int = 0) -> None:
        self.label_HW, self.num_classes, self.clip_frames = np.array(label_HW, np.uint8), num_classes, clip_frames
        self.batches: list[tuple[int, bool]] = []

    def label(self, frames: SampledFrames) -> np.ndarray:
        self.batches.append((len(frames.frame_numbers), frames.begins_clip))
        return np.stack([self.label_HW] * len(frames.frame_numbers))


class Believes(Says):
    """A teacher with the same probabilities float32 [K, H, W] for each frame."""

    def __init__(self, shares_KHW: Any, **more: Any) -> None:
        self.shares_KHW = torch.tensor(shares_KHW, dtype=torch.float32)
        super().__init__(self.shares_KHW.argmax(0).numpy(), len(shares_KHW), **more)

    def label_softly(self, frames: SampledFrames, size: tuple[int, int]) -> tuple[np.ndarray, torch.Tensor]:
        pooled = torch.nn.functional.adaptive_avg_pool2d(self.shares_KHW, size)
        return self.label(frames), torch.stack([pooled] * len(frames.frame_numbers))


def member(teacher: Any, ids: dict[int, int] | None = None, batch_size: int = 2) -> Member:
    table = np.full(256, IGNORE, np.uint8)
    places = ids or {number: number for number in range(len(CLASSES))}
    table[list(places)] = list(places.values())
    return Member(teacher, table, batch_size)


def show(num_frames: int, height: int, width: int, *, begins_clip: bool = True) -> SampledFrames:
    images = np.zeros((num_frames, height, width, 3), np.uint8)
    return SampledFrames("v", range(num_frames), images, None, "v", range(num_frames), begins_clip)


def labels_of(answers: dict[str, Any], **settings: Any) -> list[int]:
    members = {name: member(Says([answer])) for name, answer in answers.items()}
    ensemble = Ensemble(members, CLASSES, **settings)
    width = len(next(iter(answers.values())))
    return list(ensemble.label(show(1, 1, width))[0, 0])


def test_a_majority_wins_and_of_equal_ones_the_first_member() -> None:
    answers = {"a": [0, 0, 2, IGNORE, IGNORE], "b": [1, 0, 1, 1, IGNORE], "c": [1, 2, 0, IGNORE, IGNORE]}
    assert labels_of(answers) == [1, 0, 2, 1, IGNORE]


def test_weights_count_votes() -> None:
    answers = {"a": [0, 0], "b": [1, 1], "c": [1, 2]}
    assert labels_of(answers, weights={"a": 2.5}) == [0, 0]
    assert labels_of(answers, weights={"a": 1.5}) == [1, 0]
    assert labels_of(answers, weights={"a": 0}) == [1, 1]


def test_only_an_experts_vote_for_its_class_counts() -> None:
    answers = {"a": [2, 0, 1, 2], "b": [0, 2, 1, 2]}
    assert labels_of(answers, vote="by_class", experts={"car": "b", "*": "a"}) == [IGNORE, 0, 1, 2]
    assert labels_of(answers, vote="by_class", experts={"car": "a", "*": "b"}) == [2, IGNORE, 1, 2]


def test_votes_are_mapped_to_the_datasets_classes() -> None:
    coarse = Says([[0, 1, 4]], num_classes=5)  # 0: truck, 1: tree, 4: street
    members = {"coarse": member(coarse, {0: 2, 4: 0}), "fine": member(Says([[1, 1, 1]]))}
    assert list(Ensemble(members, CLASSES).label(show(1, 1, 3))[0, 0]) == [2, 1, 0]


def test_a_mean_is_that_of_the_mapped_probabilities() -> None:
    generator = np.random.default_rng(0)
    first, second = generator.random((3, 4, 6)), generator.random((5, 4, 6))
    first, second = first / first.sum(0), second / second.sum(0)
    ids = {0: 2, 1: 2, 3: 0, 4: 1}  # class 2 of the second one is none of the dataset's
    members = {"a": member(Believes(first)), "b": member(Believes(second), ids)}
    ensemble = Ensemble(members, CLASSES, vote="mean", weights={"b": 3.0})
    expected = np.zeros((3, 4, 6))
    for row in range(4):
        for column in range(6):
            mapped = np.zeros(3)
            for own, new in ids.items():
                mapped[new] += second[own, row, column]
            expected[:, row, column] = first[:, row, column]
            if second[:, row, column].argmax() != 2:  # what it ignores is no vote
                expected[:, row, column] += 3 * mapped / mapped.sum()
    labels, shares = ensemble.label_softly(show(3, 4, 6), (4, 6))
    np.testing.assert_array_equal(labels, np.stack([expected.argmax(0)] * 3))
    np.testing.assert_array_equal(ensemble.label(show(3, 4, 6)), labels)
    torch.testing.assert_close(shares[2], torch.tensor(expected / expected.sum(0)).float())


class Bright(Believes):
    """A teacher whose first class is as likely as a pixel's column is bright."""

    def __init__(self) -> None:
        super().__init__(np.full((3, 1, 1), 1 / 3))

    def label(self, frames: SampledFrames) -> np.ndarray:
        return self.label_softly(frames, (1, 4))[0]

    def label_softly(self, frames: SampledFrames, size: tuple[int, int]) -> tuple[np.ndarray, torch.Tensor]:
        assert frames.images_BHWC is not None
        assert frames.images_BHWC.shape[1:3] == size
        bright_BHW = torch.from_numpy(frames.images_BHWC[..., 0] / 255).float()
        bright_BHW = bright_BHW * torch.linspace(1, 0.4, bright_BHW.shape[2])  # it sees less on the right
        shares_BKHW = torch.stack([bright_BHW, 1 - bright_BHW, torch.zeros_like(bright_BHW)], 1)
        return shares_BKHW.argmax(1).to(torch.uint8).numpy(), shares_BKHW


def test_what_members_say_of_the_mirrored_frame_counts_as_much() -> None:
    frames = show(1, 1, 4)
    assert frames.images_BHWC is not None
    frames.images_BHWC[0, 0, :, 0] = [255, 0, 0, 255]
    _, shares = Ensemble({"a": member(Bright())}, CLASSES, vote="mean", mirrored=True).label_softly(frames, (1, 4))
    torch.testing.assert_close(shares[0, 0, 0], torch.tensor([0.7, 0, 0, 0.7]))
    alone = Ensemble({"a": member(Bright())}, CLASSES)
    assert list(alone.label(frames)[0, 0]) == [0, 1, 1, 1]
    both = Ensemble({"a": member(Bright())}, CLASSES, mirrored=True)
    assert list(both.label(frames)[0, 0]) == [0, 1, 1, 1]  # of equal votes, that of the frame as it is
    _, votes = both.label_softly(frames, (1, 4))
    torch.testing.assert_close(votes[0, 0, 0], torch.tensor([0.5, 0, 0, 0.5]))


@pytest.mark.parametrize("vote", ["majority", "mean"])
def test_soft_labels_sum_to_one_and_agree_with_the_label_maps(vote: Any) -> None:
    generator = np.random.default_rng(1)
    members = {name: member(Believes(generator.dirichlet([1, 1, 1], (8, 10)).transpose(2, 0, 1))) for name in "abc"}
    ensemble = Ensemble(members, CLASSES, vote=vote)
    assert isinstance(ensemble, SoftTeacher)
    labels, shares = ensemble.label_softly(show(2, 8, 10), (8, 10))
    np.testing.assert_array_equal(labels, ensemble.label(show(2, 8, 10)))
    torch.testing.assert_close(shares.sum(1), torch.ones(2, 8, 10))
    chosen = shares.gather(1, torch.from_numpy(labels).long()[:, None])[:, 0]
    torch.testing.assert_close(chosen, shares.max(1).values)
    _, small = ensemble.label_softly(show(2, 8, 10), (3, 4))
    torch.testing.assert_close(small.sum(1), torch.ones(2, 3, 4))


def test_pixels_without_a_vote_have_equal_probabilities() -> None:
    members = {"a": member(Says([[IGNORE, 0]])), "b": member(Says([[IGNORE, 0]]))}
    labels, shares = Ensemble(members, CLASSES).label_softly(show(1, 1, 2), (1, 2))
    assert list(labels[0, 0]) == [IGNORE, 0]
    torch.testing.assert_close(shares[0, :, 0], torch.tensor([[1 / 3, 1.0], [1 / 3, 0.0], [1 / 3, 0.0]]))


def test_members_see_batches_of_their_size_and_where_a_clip_begins() -> None:
    slow, fast = Says([[0]], clip_frames=8), Says([[0]])
    ensemble = Ensemble({"slow": member(slow, batch_size=2), "fast": member(fast, batch_size=9)}, CLASSES)
    assert ensemble.clip_frames == 8
    ensemble.label(show(5, 1, 1))
    ensemble.label(show(3, 1, 1, begins_clip=False))
    assert slow.batches == [(2, True), (2, False), (1, False), (2, False), (1, False)]
    assert [number for number, _ in fast.batches] == [5, 3]


def test_members_without_images_read_their_own_ground_truth() -> None:
    class Truth(Says):
        needs_images, needs_groundtruth = False, True

        def label(self, frames: SampledFrames) -> np.ndarray:
            assert frames.groundtruth is not None
            return np.stack([frames.groundtruth(i) for i in range(len(frames.frame_numbers))])

    ensemble = Ensemble({"truth": member(Truth([[0]]), batch_size=2)}, CLASSES)
    assert (ensemble.needs_images, ensemble.needs_groundtruth) == (False, True)
    maps = np.arange(3, dtype=np.uint8)[:, None, None]
    frames = SampledFrames("v", range(3), None, lambda i: maps[i])
    np.testing.assert_array_equal(ensemble.label(frames), maps)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"weights": {"c": 1.0}}, r"teacher\.weights\.c: there is no member c.*members: a, b"),
        ({"weights": {"a": 0.0, "b": 0.0}}, r"teacher\.weights are all 0"),
        ({"vote": "by_class"}, r"teacher\.experts and teacher\.vote=by_class go together"),
        ({"experts": {"*": "a"}}, r"teacher\.experts and teacher\.vote=by_class go together"),
        ({"vote": "by_class", "experts": {"*": "a"}, "weights": {"a": 1.0}}, r"teacher\.weights is for vote=majority"),
        ({"vote": "by_class", "experts": {"road": "a"}}, r"teacher\.experts has no member for sky, car"),
        ({"vote": "by_class", "experts": {"cars": "a", "*": "a"}}, r"names cars.*did you mean car\?"),
        ({"vote": "by_class", "experts": {"car": "d", "*": "a"}}, r"teacher\.experts\.car: there is no member d"),
        ({"vote": "by_class", "experts": {"car": "b", "*": "a"}}, r"car=b, and b does not know car"),
        ({"vote": "mean"}, r"teacher\.members\.a gives no probabilities"),
    ],
)
def test_settings_that_contradict_each_other_are_refused(settings: dict[str, Any], message: str) -> None:
    members = {"a": member(Says([[0]])), "b": member(Says([[0]]), {0: 0, 1: 1})}
    with pytest.raises(ValueError, match=message):
        Ensemble(members, CLASSES, **settings)


def test_members_with_clips_of_different_lengths_are_refused() -> None:
    members = {"a": member(Says([[0]], clip_frames=8)), "b": member(Says([[0]], clip_frames=16))}
    with pytest.raises(ValueError, match=r"members\.a\.clip_frames=8, teacher\.members\.b\.clip_frames=16"):
        Ensemble(members, CLASSES)


def test_a_member_that_returns_no_label_maps_is_named() -> None:
    with pytest.raises(ValueError, match=r"teacher\.members\.b returned uint8 \(1, 1, 1\).*ids below 3"):
        Ensemble({"a": member(Says([[0]])), "b": member(Says([[7]]))}, CLASSES).label(show(1, 1, 1))
