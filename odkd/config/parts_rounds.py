"""What the rounds of multistage collaborative distillation need: a shelf for labels, another run's rounds, devices."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from odkd.config.compose import command_with
from odkd.training.pairs import FirstRounds, Shelf, find_first_rounds
from odkd.training.side_by_side import SideBySide

if TYPE_CHECKING:
    import torch

    from odkd.data.labels.store import SoftSpec


@dataclass(frozen=True)
class RoundsParts:
    """Builds the parts of a run in rounds.

    Args:
        cfg: the complete config.
        classes: of the dataset.
        equip: builds all parts of a run from its config.
    """

    cfg: DictConfig
    classes: Sequence[str]
    equip: Callable[[DictConfig], Any]

    def shelf(self, key: str, device: torch.device, soft: Callable[[tuple[int, int]], SoftSpec | None] | None) -> Shelf:
        """Return where students' labels are kept.

        Args:
            key: of the run.
            device: on which students label.
            soft: returns the kind of soft labels at a size; None = class ids only.
        """
        height, width = (int(v) for v in self.cfg.dataset.size)
        spec = None if soft is None else soft((height, width))
        return Shelf(Path(self.cfg.paths.labels), key, (height, width), list(self.classes), str(device), spec)

    def first_rounds(self) -> FirstRounds | None:
        """Return the pair rounds of another run, for stage=mckd_final."""
        return find_first_rounds(self.cfg, lambda cfg: self.equip(cfg).key, self.first_rounds_command)

    @property
    def first_rounds_command(self) -> str:
        """The command that makes them."""
        return command_with("stage", "mckd_first", without=("stage.first_run", "stage.plain_epochs"))

    def side_by_side(self, device: torch.device) -> SideBySide | None:
        """Return what trains the students of a round at the same time; None = in turn."""
        return SideBySide(self.equip, self.cfg, device) if self.cfg.stage.get("devices") else None
