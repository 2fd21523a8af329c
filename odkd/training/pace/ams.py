"""AMS: look as often as the scene changes, and train as often as is worth it (Khani et al. 2021, sec. 3).

Sampling. phi is the mIoU of a label against the one before it. Every `rate_seconds`, with the mean phi since then,

    r <- clip(r - 0.2 tanh(20 (phi - 0.6)), r_min, r_max)         frames a second

so that labels that hardly differ lower the rate. A frame is sent when 1 / r seconds have passed since the last one.

Training. Every T seconds, on the frames that the replay memory selects (`replay=fifo` is the paper's horizon of the
newest ones), at most `max_updates` updates. T is `train_seconds`; while the mean of the last 5 rates is below 0.25 (and
until it exceeds 0.35) a still scene hibernates: each training makes T longer by 2 seconds, up to 6 times what it was.

Deviation: the released code (modelstreaming/ams) cannot do either: it reads the switches of both from the flags module
instead of its values, which fails at import, and never appends to the list of rates that the training period is
computed from. The equations are those of its code, and the mean phi is taken over the labels that came since the last
change of the rate. Its student restarts from the initial weights at each training unless a flag says otherwise; ours
goes on. Its gradient-guided choice of parameters is a matter of the updates, not of the pace.
"""

# ruff: noqa: ARG002 - methods of a protocol take arguments that only some of them use

import math
from collections.abc import Sequence
from typing import Any

from odkd.common.settings import Fraction, NonNegativeFloat, PositiveFloat, PositiveInt
from odkd.training.pace import Sight

GAIN, SLOPE = 0.2, 20.0  # of the rate; run.py
NUM_RATES, SLEEP_BELOW, WAKE_ABOVE = 5, 0.25, 0.35  # of hibernation; run.py
LONGER_SECONDS, MOST_TIMES = 2.0, 6.0


class Ams:
    """A sampling rate that follows the labels, and a training period that follows the rate.

    Args:
        min_rate, max_rate: frames a second; the first is the highest.
        rate_seconds: between two changes of the rate.
        target: mIoU of consecutive labels at which the rate stays.
        train_seconds: between two trainings.
        first_seconds: of the stream before the first training.
        max_updates: of a training.

    Raises:
        ValueError: the rates contradict each other.
    """

    def __init__(
        self,
        min_rate: PositiveFloat = 0.1,
        max_rate: PositiveFloat = 1.0,
        rate_seconds: PositiveFloat = 10.0,
        target: Fraction = 0.6,
        train_seconds: PositiveFloat = 10.0,
        first_seconds: NonNegativeFloat = 100.0,
        max_updates: PositiveInt = 200,
    ) -> None:
        if min_rate > max_rate:
            raise ValueError(f"pace.min_rate={min_rate} exceeds pace.max_rate={max_rate}; exchange them")
        self._min_rate, self._max_rate, self._rate_seconds, self._target = min_rate, max_rate, rate_seconds, target
        self._train_seconds, self._first_seconds = train_seconds, first_seconds
        self.max_updates: int | None = max_updates
        self._rate, self._rates = max_rate, [max_rate]
        self._agreements: list[float] = []
        self._changed = 0.0  # seconds of the last change of the rate
        self._sent: float | None = None  # seconds of the last frame that was sent
        self._before: int | None = None  # position of the last label
        self._period, self._is_asleep = train_seconds, False
        self._asked: float | None = None  # seconds of the last training that was due

    def is_due(self, seconds: float, *, is_step: bool) -> bool:
        if seconds < self._first_seconds or (self._asked is not None and seconds - self._asked < self._period):
            return False
        self._asked = seconds
        mean = math.fsum(self._rates) / len(self._rates)
        self._is_asleep = mean < SLEEP_BELOW or (self._is_asleep and mean <= WAKE_ABOVE)
        longer = min(self._period + LONGER_SECONDS, MOST_TIMES * self._train_seconds)
        self._period = longer if self._is_asleep else self._train_seconds
        return True

    def sends(self, position: int, seconds: float, sight: Sight) -> bool:
        if self._sent is not None and seconds - self._sent < 1 / self._rate:
            return False
        self._sent = seconds
        return True

    def labelled(self, position: int, seconds: float, sight: Sight) -> bool:
        if self._before is not None:
            self._agreements.append(sight.agreement(self._before, position))
        self._before = position
        if self._agreements and seconds - self._changed >= self._rate_seconds:
            phi = math.fsum(self._agreements) / len(self._agreements)
            wanted = self._rate - GAIN * math.tanh(SLOPE * (phi - self._target))
            self._rate = min(max(wanted, self._min_rate), self._max_rate)
            self._rates = [*self._rates, self._rate][-NUM_RATES:]
            self._changed, self._agreements = seconds, []
        return False

    def is_enough(self, positions: Sequence[int], sight: Sight) -> bool:
        return False

    def trained(self, num_updates: int, seconds: float, *, is_enough: bool) -> None:
        return

    def state_dict(self) -> dict[str, Any]:
        return {
            "rate": self._rate,
            "rates": self._rates,
            "agreements": self._agreements,
            "changed": self._changed,
            "sent": self._sent,
            "before": self._before,
            "period": self._period,
            "is_asleep": self._is_asleep,
            "asked": self._asked,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for name, value in state.items():
            setattr(self, f"_{name}", list(value) if isinstance(value, list) else value)
