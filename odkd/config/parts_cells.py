"""What each cell of several streams learns and is scored with: new ones, of the same settings, from the same seed."""

from odkd.config.parts import Parts
from odkd.data.labels.reordered import ReorderedLabels
from odkd.data.tensor_bank import Bank
from odkd.data.video.frames import ReorderedFrames
from odkd.data.video.streams import Merged
from odkd.training.streams.cells import Equipment


class CellParts:
    """Builds the parts of one cell after the other; the first one has the student, memory and pace of the run.

    Args:
        parts: of the run.
    """

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._banks: list[Bank] = []

    def __call__(self, merged: Merged) -> Equipment:
        """Return new equipment for the frames of a cell."""
        parts, is_first = self._parts, not self._banks
        labels = {name: ReorderedLabels(source, merged.index_P) for name, source in parts.references.items()}
        frames, scorer = ReorderedFrames(parts.frames, merged.index_P), parts.evaluation_parts
        bank = scorer.bank(frames, labels, with_soft_labels=parts.needs_soft_labels)
        self._banks.append(bank)
        length = parts.stream_parts.sequence_positions if merged.is_whole else None
        return Equipment(
            learner=parts.learner if is_first else parts.student_parts.learner(),
            replay=parts.replay if is_first else parts.make(parts.cfg.replay),
            pace=parts.pace if is_first else parts.make(parts.cfg.pace),
            watch=scorer.watch(merged.stream, parts.window, scorer.evaluator(bank), length),
        )

    def close(self) -> None:
        """Stop the background work of all banks."""
        while self._banks:
            self._banks.pop().__exit__()
