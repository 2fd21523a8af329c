"""What each cell of several streams learns and is scored with: new ones, of the same settings, from the same seed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from odkd.data.labels.reordered import ReorderedLabels
from odkd.data.video.frames import ReorderedFrames
from odkd.data.video.streams import Merged
from odkd.training.streams.cells import Equipment

if TYPE_CHECKING:
    from odkd.config.parts import Parts
    from odkd.data.tensor_bank import Bank


class CellParts:
    """Builds the parts of one cell after the other; the first one has the student, memory and pace of the run.

    Args:
        parts: of the run.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts, self._num_cells = parts, 0
        self._banks: list[Bank] = []

    def __call__(self, merged: Merged) -> Equipment:
        """Return new equipment for the frames of a cell."""
        parts, is_first = self._parts, self._num_cells == 0
        self._num_cells += 1
        is_whole = merged.stream is parts.stream
        labels = {name: ReorderedLabels(source, merged.index_P) for name, source in parts.references.items()}
        scorer = parts.evaluation_parts
        bank = scorer.bank(
            ReorderedFrames(parts.frames, merged.index_P), labels, with_soft_labels=parts.needs_soft_labels
        )
        self._banks.append(bank)
        length = parts.stream_parts.sequence_positions if is_whole else None
        return Equipment(
            learner=parts.learner if is_first else parts.student_parts.learner(),
            replay=parts.replay if is_first else parts.make(parts.cfg.replay),
            pace=parts.pace if is_first else parts.make(parts.cfg.pace),
            watch=scorer.watch(merged.stream, parts.window, scorer.evaluator(bank), length),
        )

    def close(self) -> None:
        """Stop the background work of all banks."""
        for bank in (*self._banks, *([self._parts.bank] if "bank" in self._parts.__dict__ else [])):
            bank.__exit__()
        self._banks = []
