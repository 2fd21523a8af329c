"""The sliding window: complete test windows, and no learning from the future."""

from hypothesis import given
from hypothesis import strategies as st

from odkd.data.window import Window
from odkd.training.replay.fifo import Fifo

sizes = st.integers(1, 30)


@given(sizes, sizes, sizes, st.integers(0, 300))
def test_every_test_window_is_full_and_in_the_stream(learn: int, test: int, step: int, num_positions: int) -> None:
    steps = list(Window(learn, test, step).steps(num_positions))
    assert len(steps) == Window(learn, test, step).num_iterations(num_positions)
    assert all(len(s.test) == test and s.test.stop <= num_positions and s.test.start == s.position for s in steps)
    if num_positions >= test:  # one more step would leave the stream
        assert steps[-1].position + step + test > num_positions


@given(sizes, sizes, sizes, st.integers(0, 300))
def test_nothing_from_the_future_is_learned_from(learn: int, test: int, step: int, num_positions: int) -> None:
    replay = Fifo(learn)
    for now in Window(learn, test, step).steps(num_positions):
        selected = replay.select(learn, lambda _: None)  # type: ignore[arg-type, return-value]
        assert selected == list(range(max(0, now.position - learn), now.position))
        replay.observe(now.fresh, lambda _: None)  # type: ignore[arg-type, return-value]


def test_steps_can_start_at_a_later_iteration() -> None:
    window = Window(67, 20, 20)
    assert list(window.steps(530))[7:] == list(window.steps(530, start=7))
    assert window.num_iterations(530) == 26


def test_with_overlapping_test_windows_each_position_is_fresh_once() -> None:
    fresh = [p for step in Window(67, 67, 5).steps(100) for p in step.fresh]
    assert fresh == list(range(35))
