"""The weights of a student that others still use: one set for each training, until newer ones are deployed."""

import copy
from collections.abc import Collection
from typing import Any

from torch import Tensor, nn

from odkd.students.weight_update import pack_update
from odkd.training.costs import weights_bytes
from odkd.training.updates.delivery import Sent

NEVER = float("-inf")


class Versions:
    """Weights by number, when each was deployed, and a network that takes any of them.

    Args:
        student: whose initial weights are version 0, deployed since ever.
        is_compiled: compile the network that answers, as the student is.
        sent: how the numbers of an update are sent; None = every update sends all weights as they are.
    """

    def __init__(self, student: nn.Module, *, is_compiled: bool = False, sent: Sent | None = None) -> None:
        self._network = copy.deepcopy(student).eval().requires_grad_(False)
        if is_compiled:
            self._network.compile()
        self._loaded, self._num_made, self._sent = -1, 0, sent
        self._counted: tuple[int, int, int] = (-1, -1, 0)  # versions and bytes of the newest update
        self._weights: dict[int, dict[str, Tensor]] = {}
        self._learned_at: dict[int, float] = {}
        self._deployed: list[tuple[float, int]] = [(NEVER, self.add(student, NEVER))]

    def add(self, student: nn.Module, seconds: float) -> int:
        """Keep a copy of a student's weights, learned from what was known then; return its number."""
        number = self._num_made
        self._num_made += 1
        self._weights[number] = {name: tensor.clone() for name, tensor in student.state_dict().items()}
        self._learned_at[number] = seconds
        return number

    def deploy(self, number: int, seconds: float) -> None:
        """Use a version from now on."""
        self._deployed.append((seconds, number))

    def used_at(self, seconds: float, to_come: Collection[tuple[float, int]] = ()) -> int:
        """Return the version that is in use at a time.

        Args:
            to_come: when more versions are deployed.
        """
        return [number for since, number in (*self._deployed, *to_come) if since <= seconds][-1]

    def network(self, number: int) -> nn.Module:
        """Return the network with the weights of a version, until the next call."""
        if self._loaded != number:
            self._network.load_state_dict(self._weights[number])
            self._loaded = number
        return self._network

    def update_bytes(self, number: int, after: int) -> int:
        """Return the bytes of the update that brings a student from one version to another.

        Args:
            number: of the version that it shall have.
            after: number of the one that it has; what came between them was not sent.
        """
        new = self._weights[number]
        if self._sent is None:
            return weights_bytes(new)
        if self._counted[:2] != (number, after):
            old = self._weights[after]
            changed = {name: new[name] != tensor for name, tensor in old.items()}
            size = len(pack_update(old, new, changed, as_float16=self._sent == "float16"))
            self._counted = number, after, size
        return self._counted[2]

    def learned_at(self, number: int) -> float:
        """Return when the training of a version began; minus infinity for the initial weights."""
        return self._learned_at[number]

    def drop(self, number: int) -> None:
        """Forget a version that is never deployed."""
        del self._weights[number], self._learned_at[number]

    def forget_before(self, seconds: float) -> None:
        """Forget versions that are not used at this time or later."""
        begin = max(place for place, (since, _) in enumerate(self._deployed) if since <= seconds)
        for _, number in self._deployed[:begin]:
            self.drop(number)
        self._deployed = self._deployed[begin:]

    def state_dict(self) -> dict[str, Any]:
        return {
            "weights": self._weights,
            "learned_at": self._learned_at,
            "deployed": [list(pair) for pair in self._deployed],
            "made": self._num_made,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._weights, self._learned_at = state["weights"], state["learned_at"]
        self._deployed = [(seconds, number) for seconds, number in state["deployed"]]
        self._num_made, self._loaded = state["made"], -1
