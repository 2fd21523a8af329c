"""Splits and parts: disjoint, complete, balanced, and the same for the same seed."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from odkd.data.splits import SPLITS, labelled_and_rest, parts_of, read_lists, split_positions, write_lists

SHARES = st.lists(st.integers(0, 100), min_size=3, max_size=3).filter(any).map(lambda w: [x / sum(w) for x in w])


@given(num_positions=st.integers(3, 400), shares=SHARES, seed=st.integers(0, 2**31))
def test_splits_are_disjoint_and_complete_and_have_the_sizes_of_their_shares(
    num_positions: int, shares: list[float], seed: int
) -> None:
    splits = split_positions(num_positions, shares=shares, seed=seed)
    assert list(splits) == list(SPLITS)
    assert sorted(p for positions in splits.values() for p in positions) == list(range(num_positions))
    for positions, share in zip(splits.values(), shares, strict=True):
        assert positions == sorted(positions)
        assert bool(positions) == (share > 0)
        assert abs(len(positions) - share * num_positions) < 3
    assert splits == split_positions(num_positions, shares=shares, seed=seed)


@given(
    positions=st.sets(st.integers(0, 10_000), min_size=1, max_size=200).map(list),
    num_parts=st.integers(1, 8),
    seed=st.integers(0, 2**31),
)
def test_parts_are_disjoint_and_complete_and_balanced(positions: list[int], num_parts: int, seed: int) -> None:
    if len(positions) < num_parts:
        with pytest.raises(ValueError, match="cannot be divided"):
            parts_of(positions, num_parts=num_parts, seed=seed)
        return
    parts = parts_of(positions, num_parts=num_parts, seed=seed)
    assert sorted(p for part in parts for p in part) == sorted(positions)
    sizes = [len(part) for part in parts]
    assert max(sizes) - min(sizes) <= 1
    assert parts == parts_of(
        positions[::-1], num_parts=num_parts, seed=seed
    )  # the order of the positions does not matter


def test_another_seed_gives_other_splits_and_other_parts() -> None:
    assert split_positions(100, seed=0) != split_positions(100, seed=1)
    assert parts_of(range(100), num_parts=2, seed=0) != parts_of(range(100), num_parts=2, seed=1)


def test_split_sizes_of_worked_cases() -> None:
    def sizes(num_positions: int, **settings: list[float]) -> list[int]:
        return [len(positions) for positions in split_positions(num_positions, seed=0, **settings).values()]

    assert sizes(10) == [7, 2, 1]
    assert sizes(3) == [1, 1, 1]  # 2.1, 0.6, 0.3: each has at least one
    assert sizes(4668) == [3268, 933, 467]  # 3267.6, 933.6, 466.8
    assert sizes(5, shares=[1.0, 0.0, 0.0]) == [5, 0, 0]


def test_official_splits_are_used_unchanged() -> None:
    official = ["val", "train", "train", "test"]
    assert split_positions(4, seed=3, official=official) == {"train": [1, 2], "val": [0], "test": [3]}
    with pytest.raises(ValueError, match="3 official splits for 4 positions"):
        split_positions(4, seed=0, official=official[:3])
    with pytest.raises(ValueError, match=r"official split 'dev'; expected train, val, test: change dataset.splits"):
        split_positions(1, seed=0, official=["dev"])


@pytest.mark.parametrize("shares", [[0.5, 0.5], [0.5, 0.6, 0.1], [1.2, -0.1, -0.1], [float("nan"), 0.5, 0.5]])
def test_invalid_shares_are_refused(shares: list[float]) -> None:
    with pytest.raises(ValueError, match="adding up to 1"):
        split_positions(10, shares=shares, seed=0)


def test_too_few_or_repeated_positions_are_refused() -> None:
    with pytest.raises(ValueError, match="2 images cannot fill 3 splits"):
        split_positions(2, seed=0)
    with pytest.raises(ValueError, match="more than once"):
        parts_of([1, 1, 2], num_parts=2, seed=0)


def test_lists_of_names_are_read_back(tmp_path: Path) -> None:
    lists = {"train": ["train/aachen 1.png", "bär.png"], "part_0": ["bär.png"], "test": []}
    write_lists(tmp_path / "splits", lists)
    assert sorted(path.name for path in (tmp_path / "splits").iterdir()) == ["part_0.txt", "test.txt", "train.txt"]
    assert read_lists(tmp_path / "splits") == lists
    with pytest.raises(ValueError, match="does not fit on a line"):
        write_lists(tmp_path, {"train": ["a\nb"]})
    with pytest.raises(ValueError, match=r"no lists in .*expected train.txt"):
        read_lists(tmp_path / "none")


@given(
    positions=st.sets(st.integers(0, 10_000), min_size=2, max_size=200).map(list),
    shares=st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)).map(sorted),
    seed=st.integers(0, 2**31),
)
def test_labelled_positions_are_disjoint_from_the_rest_and_nested_for_growing_shares(
    positions: list[int], shares: list[float], seed: int
) -> None:
    (few, rest), (more, _) = (labelled_and_rest(positions, share=share, seed=seed) for share in shares)
    assert sorted(few + rest) == sorted(positions)
    assert few
    assert rest
    assert abs(len(few) - shares[0] * len(positions)) <= 1
    assert set(few) <= set(more)


@pytest.mark.parametrize(("positions", "share"), [([1, 2], 0), ([1, 2], 1), ([1], 0.5)])
def test_an_invalid_labelled_share_is_refused(positions: list[int], share: float) -> None:
    with pytest.raises(ValueError, match=r"stage\.labelled_share=.*or null"):
        labelled_and_rest(positions, share=share, seed=0)
