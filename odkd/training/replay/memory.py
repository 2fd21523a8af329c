"""State shared by the replay memories that draw at random: past positions, stream frames and a random generator."""

from collections.abc import Sequence
from typing import Any

from odkd.common.seeds import named_generator
from odkd.training.replay.draw import draw_below


class Memory:
    """Past positions, the stream frames that enter next, and the generator that decides what is drawn and evicted.

    Args:
        name: of the replay method; with the seed it determines the random numbers.
    """

    def __init__(self, seed: int, name: str) -> None:
        self.generator = named_generator(seed, "replay", name)
        self.past: list[int] = []
        self.stream: list[int] = []

    def newest(self, num_positions: int) -> list[int]:
        """Return the newest `num_positions` stream frames, oldest first."""
        return self.stream[-num_positions:]

    def store_at_random(self, capacity: int) -> None:
        """Move the stream frames to the past; each replaces a random past position once there are `capacity`."""
        for position in self.stream:
            if len(self.past) < capacity:
                self.past.append(position)
            else:
                self.past[draw_below(capacity, self.generator)] = position

    def kept(self) -> Sequence[int]:
        return (*self.past, *self.stream)

    def state_dict(self) -> dict[str, Any]:
        return {"memory": list(self.past), "stream": list(self.stream), "generator": self.generator.get_state()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.past, self.stream = list(state["memory"]), list(state["stream"])
        self.generator.set_state(state["generator"])
