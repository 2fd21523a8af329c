"""The weights of an iteration: which entries it changes, and how they reach the student at the camera."""

import copy
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

import torch
from torch import Tensor, nn

from odkd.common.metric_names import metric_name
from odkd.runs.lines import Record
from odkd.students.weight_update import apply_update, pack_update
from odkd.training.updates import Entries, Selection

Sent = Literal["float16", "float32"]


class Delivery:
    """Holds what a phase does not change, and sends what it changes to a copy of the student, which is evaluated.

    A phase is what lies between `begin` and `send`; steps outside of a phase, before the stream, change all weights.

    Args:
        student: with its initial weights, which the camera has.
        average: its moving average, which is evaluated and sent in its place; None = there is none.
        selection: of the entries that a phase may change; None = all.
        sent: "float16": numbers are rounded on the way; "float32": they are sent as they are. None = the camera's
            student is the student itself, whose weights are neither sent nor counted.
    """

    def __init__(
        self,
        student: nn.Module,
        average: nn.Module | None = None,
        selection: Selection | None = None,
        sent: Sent | None = None,
    ) -> None:
        self._student, self._average, self._selection, self.sent = student, average, selection, sent
        self.camera = None if sent is None else copy.deepcopy(self._followed).eval().requires_grad_(False)
        self._is_open = False
        self._masks: Entries | None = None  # of the phase; None = all
        self._held: dict[str, Tensor] = {}  # the student's parameters with which the phase began
        self._held_average: dict[str, Tensor] = {}
        self._before: dict[str, Tensor] = {}  # those before the current step

    @property
    def _refine(self) -> Callable[[Entries], Entries | None] | None:
        """What sees the steps of a phase; None outside of one, or if the selection has no use for them."""
        return getattr(self._selection, "refine", None) if self._held else None

    @property
    def _followed(self) -> nn.Module:
        return self._student if self._average is None else self._average

    def begin(self) -> None:
        """Begin a phase: select the entries that it may change.

        Raises:
            ValueError: the selection gives no masks of the student.
        """
        self._is_open = True
        if self._selection is not None:
            learns = [name for name, weight in self._student.named_parameters() if weight.requires_grad]
            self._held = _copies(self._student, learns)
            self._held_average = {} if self._average is None else _copies(self._average, learns)
            self._masks = self._checked(self._selection.choose(self._held))

    def before_step(self) -> None:
        """Remember the weights before the optimizer moves them."""
        if self._refine is not None:
            self._before = _copies(self._student, self._held)

    @torch.no_grad()
    def after_step(self) -> None:
        """Put back what the optimizer has moved outside of the selected entries."""
        if self._refine is not None:
            now = dict(self._student.named_parameters())
            chosen = self._refine({name: now[name].detach() - old for name, old in self._before.items()})
            self._masks = self._masks if chosen is None else self._checked(chosen)
        self._put_back(self._student, self._held)

    @torch.no_grad()
    def after_average(self) -> None:
        """Put back what the average has moved outside of the selected entries, which alone are sent."""
        if self._average is not None:
            self._put_back(self._average, self._held_average)

    def send(self) -> dict[str, float]:
        """End the phase and send what it has changed to the camera; return the metrics, {} if nothing is counted.

        Without a phase, nothing has been learned and nothing is sent.
        """
        was_open, masks = self._is_open, self._masks
        self._is_open, self._masks, self._held, self._held_average, self._before = False, None, {}, {}, {}
        if self.camera is None:
            return {}
        size, changed, old = 0, 0, self.camera.state_dict()
        if was_open:
            update = pack_update(old, self._followed.state_dict(), masks, as_float16=self.sent == "float16")
            new = apply_update(old, update)
            size, changed = len(update), sum(int((new[name] != old[name]).sum()) for name in old)
            self.camera.load_state_dict(new)
        share = changed / sum(tensor.numel() for tensor in old.values())
        return {metric_name("update", "bytes"): float(size), metric_name("update", "changed_share"): share}

    def install(self) -> None:
        """Give the camera all weights as they are, at no cost: before the stream begins."""
        if self.camera is not None:
            self.camera.load_state_dict(self._followed.state_dict())

    def virtual(self, student: nn.Module) -> "Delivery":
        """Return what holds the weights of a copied student in a virtual pass, which selects as the next phase does."""
        other = Delivery(student, selection=copy.deepcopy(self._selection))
        other.begin()
        return other

    def state_dict(self) -> dict[str, Any]:
        """Return the state between two phases; {} if nothing is selected or sent."""
        selection = {} if self._selection is None else {"selection": self._selection.state_dict()}
        return selection | ({} if self.camera is None else {"camera": self.camera.state_dict()})

    def load_state_dict(self, state: dict[str, Any]) -> None:
        if self._selection is not None:
            self._selection.load_state_dict(state["selection"])
        if self.camera is not None:
            self.camera.load_state_dict(state["camera"])

    def _put_back(self, network: nn.Module, held: Mapping[str, Tensor]) -> None:
        if self._masks is None:
            return
        weights = dict(network.named_parameters())
        for name, value in held.items():
            weights[name].copy_(torch.where(self._masks[name], weights[name], value))

    def _checked(self, masks: Entries | None) -> Entries | None:
        """Check the masks of a selection, which may be a user's own."""
        if masks is None:
            return None
        checked: dict[str, Tensor] = {}
        for name, value in self._held.items():
            found = masks.get(name) if isinstance(masks, Mapping) else None
            if not isinstance(found, Tensor) or found.shape != value.shape or found.dtype != torch.bool:
                got = f"{found.dtype} {tuple(found.shape)}" if isinstance(found, Tensor) else "nothing"
                raise ValueError(
                    f"updates {type(self._selection).__name__} selects {got} of {name}; expected a bool mask of shape "
                    f"{tuple(value.shape)}"
                )
            checked[name] = found.to(value.device)
        return checked


def _copies(network: nn.Module, names: Iterable[str]) -> dict[str, Tensor]:
    """Return copies of some parameters of a network."""
    weights = dict(network.named_parameters())
    return {name: weights[name].detach().clone() for name in names}


def summary_of_updates(records: Sequence[Record]) -> dict[str, float]:
    """Return the summary of the updates that a run has sent, from its metrics lines; {} if it counts none."""
    name = metric_name("update", "bytes")
    sizes = [record["metrics"][name] for record in records if name in record["metrics"]]
    return {metric_name("total", "update_bytes"): sum(sizes)} if sizes else {}
