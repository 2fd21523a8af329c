"""Class-balanced replay: past frames that show rare classes are drawn more often (RCS, Hoyer et al., CVPR 2022).

For each frame to replay a class c is drawn with probability

    P(c) ~ exp((1 - f_c) / T)        (DAFormer, eq. 3-4; f_c: share of the class in the labelled pixels of the memory)

and then one of the frames that show it, all equally likely. Classes of which no frame is left are drawn no more.

Deviations: the frequencies are those of the memory, because a stream has no training set; and no frame is drawn twice,
as with every replay here.
"""

from collections.abc import Sequence
from typing import Any

import torch

from odkd.common.settings import PositiveFloat, PositiveInt
from odkd.training.replay import Scorer
from odkd.training.replay.draw import draw_below, draw_weighted
from odkd.training.replay.memory import Memory


class ClassBalanced:
    """At most `capacity` positions with the pixels of each class; a new one replaces any, all equally likely.

    Args:
        temperature: T; high = all classes equally likely, low = only the rarest.
        smallest: pixels of a class from which on a frame shows it; DAFormer has 3000 in a crop of 512x512.
    """

    def __init__(
        self, capacity: PositiveInt, seed: int, *, temperature: PositiveFloat = 0.1, smallest: PositiveInt = 100
    ) -> None:
        self._capacity, self._temperature, self._smallest = capacity, temperature, smallest
        self._memory = Memory(seed, "class_balanced")
        self._pixels: dict[int, list[int]] = {}  # position -> pixels of each class

    def select(self, num_positions: int, scorer: Scorer) -> list[int]:
        stream, past = self._memory.newest(num_positions), self._memory.past
        pixels_NK = torch.tensor([self._pixels[position] for position in past], dtype=torch.float64)
        drawn = draw_rare(
            pixels_NK.reshape(len(past), -1 if past else 0),
            num_positions - len(stream),
            self._memory.generator,
            temperature=self._temperature,
            smallest=self._smallest,
        )
        return stream + [past[index] for index in drawn]

    def observe(self, fresh: Sequence[int], scorer: Scorer) -> None:
        self._memory.store_at_random(self._capacity)
        self._memory.stream = list(fresh)
        self._pixels |= dict(zip(fresh, scorer.pixels(fresh).tolist(), strict=True)) if len(fresh) else {}
        self._pixels = {position: self._pixels[position] for position in self._memory.kept()}

    def kept(self) -> Sequence[int]:
        return self._memory.kept()

    def state_dict(self) -> dict[str, Any]:
        return {"pixels": dict(self._pixels), **self._memory.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._pixels = dict(state["pixels"])
        self._memory.load_state_dict(state)


def draw_rare(
    pixels_NK: torch.Tensor, num_frames: int, generator: torch.Generator, *, temperature: float, smallest: int
) -> list[int]:
    """Draw frames by the classes that they show, without replacement; return their indices, all if there are fewer.

    Frames that show no class are drawn last.

    Args:
        pixels_NK: pixels of each class in each frame, float64.
    """
    shows_NK = pixels_NK >= smallest
    shares_K = pixels_NK.sum(0) / pixels_NK.sum().clamp(min=1)
    weights_K = torch.exp(-shares_K / temperature)  # P(c) without the factor exp(1 / T), which cancels
    is_left_N = torch.ones(len(pixels_NK), dtype=torch.bool)
    drawn: list[int] = []
    while is_left_N.any() and len(drawn) < num_frames:
        classes = (shows_NK & is_left_N[:, None]).any(0).nonzero().flatten()
        candidates_N = is_left_N
        if len(classes):
            chosen = classes[draw_weighted(weights_K[classes].clamp(min=1e-300), 1, generator)[0]]
            candidates_N = is_left_N & shows_NK[:, chosen]
        places = candidates_N.nonzero().flatten().tolist()
        drawn.append(places[draw_below(len(places), generator)])
        is_left_N[drawn[-1]] = False
    return drawn
