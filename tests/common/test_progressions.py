"""Long lists as progressions: every list comes back as it was, regular ones are short."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from odkd.common import progressions
from odkd.common.files import json_digest
from odkd.common.progressions import extend, list_digest, num_packed, packed, stretches_entry, unpacked

NUMBERS = st.lists(st.integers(0, 2000), unique=True).map(sorted)


@pytest.fixture(autouse=True, scope="module")
def _every_list_is_long() -> object:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(progressions, "LONG", 0)
        yield


@given(NUMBERS)
def test_a_list_comes_back_as_it_was(numbers: list[int]) -> None:
    record = packed("sampled_frames", np.array(numbers, np.int64))
    assert unpacked("sampled_frames", record).tolist() == numbers
    assert num_packed("sampled_frames", record) == len(numbers)


@given(NUMBERS.filter(bool))
def test_the_digest_is_that_of_the_json(numbers: list[int]) -> None:
    assert list_digest(np.array(numbers, np.int64)) == json_digest(numbers)


@given(st.lists(st.integers(0, 30), unique=True), st.integers(0, 30))
def test_rows_that_are_added_in_parts_come_back_in_their_order(rows: list[int], cut: int) -> None:
    stretches: list[list[int]] = []
    for part in (rows[:cut], rows[cut:]):
        extend(stretches, part)
    if rows:
        assert unpacked("frames", stretches_entry("frames", stretches)).tolist() == rows


def test_a_million_regular_numbers_are_one_progression_and_irregular_ones_stay_a_list() -> None:
    assert packed("a", np.arange(0, 75_000_000, 75)) == {"a_progressions": [[0, 75, 1_000_000]]}
    two = np.concatenate([np.arange(100), np.arange(200, 300)])
    assert packed("a", two) == {"a_progressions": [[0, 1, 100], [200, 1, 100]]}
    irregular = np.cumsum(np.random.default_rng(0).integers(1, 9, 100))
    assert packed("a", irregular) == {"a": irregular.tolist()}


def test_a_short_list_is_stored_as_by_earlier_releases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progressions, "LONG", 4096)
    assert packed("sampled_frames", np.arange(4096)) == {"sampled_frames": list(range(4096))}
    assert list(packed("sampled_frames", np.arange(4097))) == ["sampled_frames_progressions"]
