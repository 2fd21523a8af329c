"""Replay memories: which positions each may select, and the distributions of their random choices."""

import inspect
import io
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from itertools import combinations, permutations
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from extras import need
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from paths import CONF
from torch import Tensor

from odkd.common.seeds import named_generator
from odkd.config.construct import construct, resolve
from odkd.training.replay import Replay
from odkd.training.replay.class_balanced import ClassBalanced, draw_rare
from odkd.training.replay.draw import draw_weighted
from odkd.training.replay.first import First
from odkd.training.replay.mir import Mir
from odkd.training.replay.prioritized import SMALLEST_LOSS, Prioritized, importance
from odkd.training.replay.reservoir import Reservoir
from odkd.training.replay.uniform import Uniform

CHOICES = {p.stem: yaml.safe_load(p.read_text()) for p in (CONF / "replay").glob("*.yaml")}
SMALL = {"capacity": 5, "num_positions": 7, "candidates": 4}
DRAWS = sorted(
    name
    for name, node in CHOICES.items()
    if "seed" in inspect.signature(resolve(node["_target_"], [], "replay")).parameters
)
every_replay = pytest.mark.parametrize("name", sorted(CHOICES))
# For each iteration: number of new frames, number of positions to select.
histories = st.lists(st.tuples(st.integers(0, 6), st.integers(1, 12)), min_size=1, max_size=25)
LONG = [(3, 6)] * 20


def make(name: str, seed: int = 0, **overrides: Any) -> Replay:
    """Return the memory of a YAML, small enough that it fills."""
    node = CHOICES[name] | {key: SMALL[key] for key in CHOICES[name] if key in SMALL} | overrides
    replay: Replay = construct(OmegaConf.create({"replay": node}).replay, (), {"seed": seed}, [], "replay")
    return replay


class FakeScorer:
    """Losses by formula; records the positions that it is called with."""

    def __init__(self, now: Callable[[int], float] | None = None, later: Callable[[int], float] | None = None) -> None:
        self.now = now or (lambda position: 0.1 + position * 7 % 11)
        self.later = later or (lambda position: 0.1 + position * 5 % 13)
        self.asked: list[list[int]] = []
        self.learned: list[tuple[list[int], float | None]] = []

    def __call__(self, positions: Sequence[int]) -> Tensor:
        self.asked.append(list(positions))
        return torch.tensor([self.now(position) for position in positions], dtype=torch.float32)

    def pixels(self, positions: Sequence[int]) -> Tensor:
        """Say that every third frame shows the rare class 1."""
        return torch.tensor([[1000, 200 if position % 3 == 0 else 0] for position in positions])

    def after_learning(self, positions: Sequence[int], *, learning_rate: float | None = None) -> "FakeScorer":
        self.learned.append((list(positions), learning_rate))
        return FakeScorer(self.later, self.later)


def follow(replay: Replay, history: Iterable[tuple[int, int]], start: int = 0) -> list[list[int]]:
    """Run the loop and return the selections."""
    scorer, selections = FakeScorer(), []
    for num_fresh, num_positions in history:
        replay.observe(range(start, start + num_fresh), scorer)
        selections.append(replay.select(num_positions, scorer))
        start += num_fresh
    return selections


def fill(replay: Replay, num_entered: int, scorer: FakeScorer | None = None, stream: Sequence[int] = ()) -> Replay:
    """Let positions 0..num_entered-1 enter the memory; `stream` are then its stream frames."""
    scorer = scorer or FakeScorer()
    replay.observe(range(num_entered), scorer)
    replay.observe(stream, scorer)
    return replay


def assert_distribution(outcomes: Iterable[Any], probabilities: dict[Any, float]) -> None:
    """Check independent outcomes against their probabilities: a chi-square test at 0.001, on fixed seeds."""
    counts = Counter(outcomes)
    assert set(counts) <= set(probabilities), set(counts) - set(probabilities)
    assert sum(probabilities.values()) == pytest.approx(1)
    expected = [probability * counts.total() for probability in probabilities.values()]
    assert min(expected) >= 5, "too few outcomes for a chi-square test"
    chisquare = need("scipy.stats").chisquare
    assert chisquare([counts[outcome] for outcome in probabilities], expected).pvalue > 0.001


@every_replay
@given(history=histories)
@settings(deadline=None, max_examples=60)
def test_only_past_positions_are_selected_none_twice_and_memory_is_bounded(
    name: str, history: list[tuple[int, int]]
) -> None:
    replay, scorer, start = make(name), FakeScorer(), 0
    bound = SMALL["num_positions"] if name == "first" else SMALL["capacity"]
    before: set[int] = set()
    for num_fresh, num_positions in history:
        fresh = range(start, start + num_fresh)
        start += num_fresh
        replay.observe(fresh, scorer)
        kept = list(replay.kept())
        assert len(kept) == len(set(kept)) <= bound + num_fresh
        assert set(kept) <= before | set(fresh), "a forgotten position came back"
        selected = replay.select(num_positions, scorer)
        assert len(selected) == len(set(selected)) <= num_positions
        assert set(selected) <= set(kept)
        assert sorted(replay.kept()) == sorted(kept), "selecting changes what is kept"
        before = set(kept)


@every_replay
@given(history=histories)
@settings(deadline=None, max_examples=40)
def test_stream_frames_come_first_and_the_memory_fills_the_rest(name: str, history: list[tuple[int, int]]) -> None:
    if name in ("fifo", "first", "nothing"):
        return  # these do not distinguish stream frames; test_replay_twins.py checks their selections
    replay, start = make(name), 0
    for num_fresh, num_positions in history:
        [selected] = follow(replay, [(num_fresh, num_positions)], start)
        stream = list(range(start, start + num_fresh))[-num_positions:]
        start += num_fresh
        assert selected[: len(stream)] == stream
        assert len(selected) == min(num_positions, len(replay.kept()))


@every_replay
def test_the_seed_determines_every_choice(name: str) -> None:
    assert follow(make(name), LONG) == follow(make(name), LONG)
    assert (follow(make(name, seed=1), LONG) != follow(make(name), LONG)) == (name in DRAWS)


def test_random_methods_draw_from_the_seed_and_leave_the_global_generator_of_torch_unchanged() -> None:
    assert DRAWS == ["class_balanced", "mir", "prioritized", "reservoir", "uniform"]
    torch.manual_seed(0)
    before = torch.get_rng_state()
    for name in DRAWS:
        follow(make(name), LONG)
    assert torch.equal(torch.get_rng_state(), before)


@every_replay
@given(past=histories, future=histories)
@settings(deadline=None, max_examples=40)
def test_a_resumed_replay_selects_what_an_uninterrupted_one_selects(
    name: str, past: list[tuple[int, int]], future: list[tuple[int, int]]
) -> None:
    replay, start = make(name), sum(num_fresh for num_fresh, _ in past)
    follow(replay, past)
    file = io.BytesIO()
    torch.save(replay.state_dict(), file)
    file.seek(0)
    expected = follow(replay, future, start)
    resumed = make(name, seed=99)  # the state includes the random generator
    follow(resumed, [(4, 6), (3, 6)], start=10_000)
    resumed.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    assert follow(resumed, future, start) == expected
    assert list(resumed.kept()) == list(replay.kept())


@every_replay
def test_a_saved_state_does_not_change_when_the_replay_continues(name: str) -> None:
    replay = make(name)
    follow(replay, LONG[:5])
    state = replay.state_dict()
    copy = {key: value.clone() if isinstance(value, Tensor) else str(value) for key, value in state.items()}
    follow(replay, LONG, start=15)
    for key, value in state.items():
        assert torch.equal(value, copy[key]) if isinstance(value, Tensor) else str(value) == copy[key]


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("fifo", {"capacity": 0}, "capacity=0; expected a whole number of at least 1"),
        ("uniform", {"capacity": 2.5}, "capacity=2.5; expected a whole number of at least 1"),
        ("reservoir", {"capacity": -1}, "capacity=-1; expected a whole number of at least 1"),
        ("prioritized", {"capacity": 0}, "capacity=0; expected a whole number of at least 1"),
        ("prioritized", {"eviction_alpha": float("inf")}, "eviction_alpha=inf; expected a number of at least 0"),
        ("prioritized", {"selection_alpha": float("nan")}, "selection_alpha=nan; expected a number of at least 0"),
        ("prioritized", {"refresh": 1}, "refresh=1; expected true or false"),
        ("mir", {"capacity": 0}, "capacity=0; expected a whole number of at least 1"),
        ("mir", {"candidates": 0}, "candidates=0; expected a whole number of at least 1"),
        (
            "mir",
            {"virtual_learning_rate": -0.1},
            "virtual_learning_rate=-0.1; expected a number of at least 0, or null",
        ),
        ("first", {"num_positions": 0}, "num_positions=0; expected a whole number of at least 1"),
    ],
)
def test_an_impossible_setting_is_refused(name: str, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"^replay.{message}$"):
        make(name, **settings)


def test_first_selects_the_first_frames_and_nothing_after_the_limit() -> None:
    replay = First(num_positions=7)
    assert follow(replay, [(3, 5), (3, 5), (1, 5), (1, 5), (3, 5)]) == [
        [0, 1, 2],
        [1, 2, 3, 4, 5],
        [2, 3, 4, 5, 6],
        [],
        [],
    ]
    assert replay.kept() == ()


def test_rare_classes_are_drawn_with_the_probabilities_of_the_paper() -> None:
    """Frames 0..5 of common class 0; 0 and 3 also show class 1. Draw one frame, T = 0.5."""
    num_frames, temperature = 6, 0.5
    share = 2 * 200 / (6 * 1000 + 2 * 200)
    rare, common = (math.exp((1 - part) / temperature) for part in (share, 1 - share))
    of_common = common / (rare + common) / num_frames
    of_rare = of_common + rare / (rare + common) / 2
    probabilities = {p: of_rare if p % 3 == 0 else of_common for p in range(num_frames)}
    drawn = [
        fill(ClassBalanced(num_frames, seed, temperature=temperature), num_frames).select(1, FakeScorer())[0]
        for seed in range(3000)
    ]
    assert_distribution(drawn, probabilities)


def test_frames_without_a_class_are_drawn_last() -> None:
    pixels_NK = torch.tensor([[0.0, 0], [50, 0], [0, 99], [300, 0]], dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    drawn = draw_rare(pixels_NK, 4, generator, temperature=0.1, smallest=50)
    assert sorted(drawn) == [0, 1, 2, 3]
    assert drawn[-1] == 0
    assert draw_rare(pixels_NK[:0], 4, generator, temperature=0.1, smallest=50) == []


def test_uniform_memory_has_geometric_ages() -> None:
    """Check the age of a random element of a full memory: it is a with probability (1/c) (1 - 1/c)^a.

    The age is the number of frames that entered later.
    """
    capacity, num_entered = 4, 16
    probabilities = {a: (1 / capacity) * (1 - 1 / capacity) ** a for a in range(num_entered - capacity)}
    # The frames that filled the memory were in it before the first eviction: all of them are equally likely.
    survivors = (1 - 1 / capacity) ** (num_entered - capacity)
    probabilities |= dict.fromkeys(range(num_entered - capacity, num_entered), survivors / capacity)
    drawn = [fill(Uniform(capacity, seed), num_entered).select(1, FakeScorer())[0] for seed in range(4000)]
    assert_distribution((num_entered - 1 - position for position in drawn), probabilities)


def test_uniform_memory_evicts_frames_at_the_theoretical_rate() -> None:
    """Check that frame 0 survives a evictions with probability (1 - 1/c)^a."""
    capacity, num_evicted, num_runs = 5, 6, 4000
    is_kept = [0 in fill(Uniform(capacity, seed), capacity + num_evicted).kept() for seed in range(num_runs)]
    survival = (1 - 1 / capacity) ** num_evicted
    assert_distribution(is_kept, {True: survival, False: 1 - survival})


def test_uniform_draws_every_ordered_pair_equally_often() -> None:
    pairs = list(permutations(range(4), 2))
    drawn = [tuple(fill(Uniform(4, seed), 4).select(2, FakeScorer())) for seed in range(2400)]
    assert_distribution(drawn, {pair: 1 / len(pairs) for pair in pairs})


def test_reservoir_keeps_every_past_frame_with_equal_probability() -> None:
    drawn = [fill(Reservoir(5, seed), 20).select(1, FakeScorer())[0] for seed in range(4000)]
    assert_distribution(drawn, dict.fromkeys(range(20), 1 / 20))


def test_reservoir_keeps_every_subset_with_equal_probability() -> None:
    subsets = list(combinations(range(6), 3))
    kept = [tuple(sorted(fill(Reservoir(3, seed), 6).kept())) for seed in range(4000)]
    assert_distribution(kept, {subset: 1 / len(subsets) for subset in subsets})


LOSSES = {0: 0.04, 1: 1.0, 2: 0.25, 3: 4.0, 4: 0.09}


@pytest.mark.parametrize("alpha", [0.5, 0.0, -0.5])
def test_prioritized_memory_follows_its_markov_chain(alpha: float) -> None:
    """Compare a memory of 3 after 5 entries with the probabilities of all its states, transition by transition."""
    states = {frozenset({0, 1, 2}): 1.0}
    for newcomer in (3, 4):
        following: dict[frozenset[int], float] = defaultdict(float)
        for memory, probability in states.items():
            total = sum((1 / LOSSES[position]) ** alpha for position in memory)
            for leaving in memory:
                following[memory - {leaving} | {newcomer}] += probability * (1 / LOSSES[leaving]) ** alpha / total
        states = following
    kept = []
    for seed in range(4000):
        replay = Prioritized(3, seed, eviction_alpha=alpha, selection_alpha=3.0)  # selection has no effect here
        kept.append(frozenset(fill(replay, 5, FakeScorer(LOSSES.__getitem__)).kept()))
    assert_distribution(kept, states)


@pytest.mark.parametrize("alpha", [0.5, 0.0, -0.25, -0.5])
def test_prioritized_draws_in_sequence_in_proportion_to_importance(alpha: float) -> None:
    weights = {position: (1 / LOSSES[position]) ** alpha for position in range(4)}
    total = sum(weights.values())
    pairs = {(i, j): weights[i] / total * weights[j] / (total - weights[i]) for i, j in permutations(range(4), 2)}
    assert sum(pairs.values()) == pytest.approx(1)
    drawn = []
    for seed in range(3000):
        replay = fill(Prioritized(4, seed, selection_alpha=alpha), 4, FakeScorer(LOSSES.__getitem__))
        drawn.append(tuple(replay.select(2, FakeScorer())))
    assert_distribution(drawn, pairs)


def test_weighted_draws_without_replacement_are_distributed_as_those_of_numpy() -> None:
    """Compare draws of 3 of 5 indices with the sequential sampling of numpy."""
    weights = torch.tensor([1.0, 2.0, 4.0, 8.0, 0.5], dtype=torch.float64)
    generator, rng = named_generator(0, "test"), np.random.default_rng(0)
    ours = Counter(frozenset(draw_weighted(weights, 3, generator)) for _ in range(6000))
    p = (weights / weights.sum()).numpy()
    theirs = Counter(frozenset(rng.choice(5, 3, replace=False, p=p).tolist()) for _ in range(6000))
    common = sorted(set(ours) | set(theirs), key=sorted)
    chi2_contingency = need("scipy.stats").chi2_contingency
    assert chi2_contingency([[ours[s] for s in common], [theirs[s] for s in common]]).pvalue > 0.001


def test_prioritized_measures_each_frame_once_when_it_enters() -> None:
    replay, scorer = Prioritized(5, seed=0), FakeScorer()
    for start in range(0, 12, 3):
        replay.observe(range(start, start + 3), scorer)
        replay.select(5, scorer)
    assert scorer.asked == [[0, 1, 2], [3, 4, 5], [6, 7, 8]]


def test_prioritized_with_refresh_measures_the_full_memory_before_each_selection() -> None:
    replay = Prioritized(3, seed=0, selection_alpha=-30.0, refresh=True)
    fill(replay, 3, FakeScorer(lambda position: [9.0, 1.0, 2.0][position]))
    scorer = FakeScorer(lambda position: [0.1, 8.0, 2.0][position])  # the student has learned 0 and forgotten 1
    assert replay.select(3, scorer) == [1, 2, 0]
    assert [sorted(asked) for asked in scorer.asked] == [[0, 1, 2]]
    stale = fill(Prioritized(3, 0, selection_alpha=-30.0), 3, FakeScorer(lambda position: [9.0, 1.0, 2.0][position]))
    assert stale.select(3, scorer) == [0, 2, 1]


def test_importance_is_a_power_of_the_inverse_loss_and_finite_for_a_loss_of_zero() -> None:
    assert importance([0.25, 4.0], 0.5).tolist() == [2.0, 0.5]
    assert importance([0.25, 4.0], -1.0).tolist() == [0.25, 4.0]
    for alpha in (0.5, -0.5):
        assert importance([0.0], alpha).item() == pytest.approx(SMALLEST_LOSS**-alpha)
        replay = Prioritized(2, seed=0, eviction_alpha=alpha, selection_alpha=alpha)
        assert len(follow(replay, [(2, 3)] * 6)[-1]) == 3


# Interference by hand: learning from the stream raises the loss of 2 most (+5), then 4 (+3), 0 (+1); 1 and 3 improve.
NOW = [1.0, 4.0, 1.0, 3.0, 2.0]
LATER = [2.0, 3.0, 6.0, 1.0, 5.0]


def interfered(candidates: int = 5, seed: int = 0, **options: Any) -> tuple[Replay, FakeScorer]:
    scorer = FakeScorer(NOW.__getitem__, LATER.__getitem__)
    return fill(Mir(5, seed, candidates=candidates, **options), 5, stream=[5, 6]), scorer


def test_mir_replays_the_frames_with_the_largest_interference() -> None:
    replay, scorer = interfered()
    assert replay.select(5, scorer) == [5, 6, 2, 4, 0]
    assert scorer.learned == [([5, 6], None)]  # one virtual pass, with the learning rate of the optimizer
    assert [sorted(asked) for asked in scorer.asked] == [[0, 1, 2, 3, 4]]  # the student now scores each candidate once


def test_mir_passes_on_its_virtual_learning_rate() -> None:
    replay, scorer = interfered(virtual_learning_rate=0.5)
    assert replay.select(3, scorer) == [5, 6, 2]
    assert scorer.learned == [([5, 6], 0.5)]


def test_mir_as_released_chooses_at_random_and_not_by_interference() -> None:
    drawn = []
    for seed in range(2000):
        replay, scorer = interfered(seed=seed, virtual_learning_rate=0.0)
        drawn.append(tuple(replay.select(4, scorer)[2:]))
        assert not scorer.asked
        assert not scorer.learned
    assert_distribution(drawn, dict.fromkeys(permutations(range(5), 2), 1 / 20))


def test_mir_chooses_only_among_random_candidates() -> None:
    """Check the better of 2 random positions of 5: by rank 4/10, 3/10, 2/10, 1/10 and never the last."""
    drawn = []
    for seed in range(2000):
        replay, scorer = interfered(candidates=2, seed=seed)
        drawn.append(replay.select(3, scorer)[2])
        assert [len(asked) for asked in scorer.asked] == [2]
    ranking = sorted(range(5), key=lambda position: NOW[position] - LATER[position])
    assert_distribution(drawn, dict(zip(ranking[:4], (0.4, 0.3, 0.2, 0.1), strict=True)))


def test_mir_keeps_ties_in_random_order() -> None:
    drawn = []
    for seed in range(1000):
        replay, _ = interfered(seed=seed)
        drawn.append(replay.select(3, FakeScorer(lambda _: 1.0, lambda _: 2.0))[2])
    assert_distribution(drawn, dict.fromkeys(range(5), 1 / 5))


@pytest.mark.parametrize(("num_positions", "candidates"), [(7, 5), (9, 5), (7, 2), (2, 5), (1, 5), (6, 2)])
def test_mir_scores_nothing_if_there_is_no_choice(num_positions: int, candidates: int) -> None:
    replay, scorer = interfered(candidates)
    selected = replay.select(num_positions, scorer)
    assert len(selected) == min(num_positions, 7)
    assert not scorer.asked
    assert not scorer.learned


def test_mir_without_stream_frames_draws_at_random() -> None:
    drawn, scorer = [], FakeScorer(NOW.__getitem__, LATER.__getitem__)
    for seed in range(1000):
        drawn.append(fill(Mir(5, seed), 5).select(1, scorer)[0])
    assert not scorer.asked
    assert_distribution(drawn, dict.fromkeys(range(5), 1 / 5))


def test_reservoir_keeps_the_entire_past_and_uniform_mostly_recent_frames() -> None:
    """Check the mean position kept after 200 entries."""
    mean = {
        kind: torch.tensor([fill(kind(10, seed), 200).kept() for seed in range(50)]).double().mean().item()
        for kind in (Uniform, Reservoir)
    }
    assert mean[Reservoir] == pytest.approx(99.5, abs=10)  # standard error 2.6
    assert mean[Uniform] == pytest.approx(199 - 9, abs=2)  # mean age (1 - 1/c) c = c - 1; standard error 0.4
