"""Each pace against a slow, literal twin of its equations, on random labels, scores and confidences."""

import json
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import yaml

from odkd.config.known import CONF
from odkd.training.pace import Pace
from odkd.training.pace.ams import Ams
from odkd.training.pace.drift import Drift
from odkd.training.pace.fixed import Fixed
from odkd.training.pace.jitnet import JitNet

Events = list[tuple[str, float]]
NUM_FRAMES, STEP = 400, 5


class Sights:
    """Measures that are written down before; of a frame that is learned from, the IoU rises with each update."""

    def __init__(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.iou = rng.uniform(0.3, 1.0, NUM_FRAMES).tolist()
        smooth = np.repeat(rng.uniform(0.2, 1.0, NUM_FRAMES // 40), 40)
        self.similar = np.clip(smooth + rng.normal(0, 0.05, NUM_FRAMES), 0, 1).tolist()
        level = np.repeat(rng.uniform(0.4, 0.95, NUM_FRAMES // 80), 80)
        self.sure = (level + rng.normal(0, 0.01, NUM_FRAMES)).tolist()
        self.num_updates = 0

    def student_iou(self, position: int) -> float:
        return float(self.iou[position] + 0.05 * self.num_updates)

    def agreement(self, before: int, after: int) -> float:
        return float(self.similar[after])

    def has_label(self, position: int) -> bool:
        return True

    def confidence(self, position: int) -> float:
        return float(self.sure[position])


def play(pace: Pace, seed: int, *, restarts: Any = None) -> Events:
    """A stream of two frames a second whose labels come at once: which frames are sent, and the updates made when."""
    sight, events = Sights(seed), []
    for frame in range(NUM_FRAMES):
        if restarts is not None and frame % 7 == 3:
            state = json.loads(json.dumps(pace.state_dict()))
            pace = restarts()
            pace.load_state_dict(state)
        now = frame / 2
        if pace.is_due(now, is_step=frame % STEP == 0):
            train(pace, [], now, sight, events)
        if pace.sends(frame, now, sight):
            events.append(("sent", frame))
            if pace.labelled(frame, now, sight):
                train(pace, [frame], now, sight, events)
    return events


def train(pace: Pace, new: Sequence[int], now: float, sight: Sights, events: Events) -> None:
    most, sight.num_updates = pace.max_updates, 0
    if most is not None:
        while not (is_enough := pace.is_enough(new, sight)) and sight.num_updates < most:
            sight.num_updates += 1
    else:
        is_enough = False
    events.append((f"{sight.num_updates} updates", now))
    pace.trained(sight.num_updates, now, is_enough=is_enough)
    sight.num_updates = 0


def fixed_twin(every: int) -> Events:
    events: Events = []
    for frame in range(NUM_FRAMES):
        events += [("0 updates", frame / 2)] if frame % STEP == 0 else []
        events += [("sent", frame)] if frame % every == 0 else []
    return events


def jitnet_twin(seed: int, low: int, high: int, threshold: float, most: int) -> Events:
    """Algorithm 1 of Mullapudi et al. 2019, line by line."""
    sight, events = Sights(seed), []
    delta, t = low, 0
    while t < NUM_FRAMES:
        events.append(("sent", t))
        u = 0
        while True:
            accuracy = sight.iou[t] + 0.05 * u
            if accuracy > threshold or u == most:
                break
            u += 1
        events.append((f"{u} updates", t / 2))
        delta = min(high, 2 * delta) if accuracy > threshold else max(low, delta // 2)
        t += delta
    return events


def ams_twin(seed: int, low: float, high: float, every: float, train_every: float, first: float, most: int) -> Events:
    sight, events = Sights(seed), []
    rate, history, recent, changed, sent = high, [high], [], 0.0, -math.inf
    period, hibernates, trained = train_every, False, -math.inf
    has_label = False
    for frame in range(NUM_FRAMES):
        now = frame / 2
        if now >= first and now - trained >= period:
            trained = now
            events.append((f"{most} updates", now))
            mean = sum(history[-5:]) / len(history[-5:])
            if mean < 0.25:
                hibernates = True
            elif mean > 0.35:
                hibernates = False
            period = min(period + 2, 6 * train_every) if hibernates else train_every
        if now - sent >= 1 / rate:
            sent = now
            events.append(("sent", frame))
            if has_label:
                recent.append(sight.similar[frame])
            has_label = True
            if recent and now - changed >= every:
                phi = sum(recent) / len(recent)
                rate = float(np.clip(rate - 0.2 * np.tanh(20 * (phi - 0.6)), low, high))
                history.append(rate)
                recent, changed = [], now
    return events


def drift_twin(seed: int, threshold: float, tolerance: float, num_frames: int) -> Events:
    sight, events = Sights(seed), []
    left, seen, is_new = num_frames, [], False
    for frame in range(NUM_FRAMES):
        if frame % STEP == 0 and is_new:
            events.append(("0 updates", frame / 2))
            is_new = False
        if left == 0:
            seen.append(sight.sure[frame])
            m = [0.0]
            for t in range(len(seen)):  # all sums anew
                m.append(m[-1] + np.mean(seen[: t + 1]) - seen[t] - tolerance)
            if m[-1] - min(m) > threshold:
                left, seen = num_frames, []
        if left:
            left -= 1
            events.append(("sent", frame))
            is_new = True
    return events


CASES = {
    "fixed": (lambda: Fixed(3), lambda _: fixed_twin(3)),
    "jitnet": (lambda: JitNet(2, 16, 0.8, 6), lambda seed: jitnet_twin(seed, 2, 16, 0.8, 6)),
    "ams": (
        lambda: Ams(0.1, 1.0, rate_seconds=6.0, train_seconds=8.0, first_seconds=20.0, max_updates=9),
        lambda seed: ams_twin(seed, 0.1, 1.0, 6.0, 8.0, 20.0, 9),
    ),
    "drift": (lambda: Drift(0.4, 0.005, 12), lambda seed: drift_twin(seed, 0.4, 0.005, 12)),
}


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", CASES)
def test_a_pace_decides_as_its_twin(name: str, seed: int) -> None:
    make, twin = CASES[name]
    found = play(make(), seed)
    assert found == twin(seed)
    kinds = {what for what, _ in found}
    assert "sent" in kinds
    assert len(kinds) > 1


@pytest.mark.parametrize("name", CASES)
def test_a_pace_goes_on_from_its_state_as_if_nothing_had_happened(name: str) -> None:
    make, _ = CASES[name]
    assert play(make(), 5, restarts=make) == play(make(), 5)


def test_every_pace_has_a_twin() -> None:
    assert {path.stem for path in (CONF / "pace").glob("*.yaml")} == CASES.keys()
    for path in (CONF / "pace").glob("*.yaml"):
        assert yaml.safe_load(path.read_text())["_target_"].startswith(f"odkd.training.pace.{path.stem}.")


def test_hibernation_makes_the_periods_of_a_still_scene_longer() -> None:
    pace, sight = Ams(0.1, 1.0, rate_seconds=1.0, train_seconds=10.0, first_seconds=0.0), Sights(0)
    sight.similar = [1.0] * NUM_FRAMES  # nothing changes: the rate falls to 0.1
    found = [frame / 2 for frame in range(NUM_FRAMES) if _step(pace, frame, sight)]
    gaps = np.diff(found)
    assert gaps[0] == 10.0
    assert max(gaps) > 20.0
    assert set(np.diff(gaps)) <= {0.0, 2.0}


def _step(pace: Pace, frame: int, sight: Sights) -> bool:
    is_due = pace.is_due(frame / 2, is_step=False)
    if pace.sends(frame, frame / 2, sight):
        pace.labelled(frame, frame / 2, sight)
    return is_due


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: JitNet(min_stride=9, max_stride=8), "pace.min_stride=9 exceeds pace.max_stride=8"),
        (lambda: Ams(min_rate=2.0), "pace.min_rate=2.0 exceeds pace.max_rate=1.0"),
    ],
)
def test_settings_that_contradict_each_other_are_one_message(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()
