"""What scores a run: the bank of frames and labels, the evaluator, the watch along a stream."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from omegaconf import DictConfig

from odkd.data.labels import LabelSource
from odkd.data.tensor_bank import Bank, Normalization
from odkd.data.video.frames import FrameReader
from odkd.data.video.stream import Stream
from odkd.data.window import Window
from odkd.evaluation.evaluate import Evaluator
from odkd.evaluation.watch import Watch, WatchPlan


@dataclass(frozen=True)
class EvaluationParts:
    """Builds the parts of a run that score.

    Args:
        cfg: the complete config.
        classes: of the dataset.
        device: on which the student predicts.
    """

    cfg: DictConfig
    classes: Sequence[str]
    device: torch.device

    def bank(self, frames: FrameReader, references: Mapping[str, LabelSource], *, with_soft_labels: bool) -> Bank:
        """Return the frames and labels of a stream, kept on the device within `bank.memory_gib`."""
        cfg = self.cfg
        return Bank(
            frames,
            references,
            num_classes=len(self.classes),
            device=self.device,
            memory_bytes=int(cfg.bank.memory_gib * 2**30),
            normalization=Normalization(cfg.student.mean, cfg.student.std),
            channels_last=cfg.channels_last,
            soft=("teacher",) if with_soft_labels else (),
        )

    def evaluator_of(self, frames: FrameReader, references: Mapping[str, LabelSource]) -> Evaluator:
        """Return what predicts and counts frames that are no stream's."""
        return self.evaluator(self.bank(frames, references, with_soft_labels=False))

    def evaluator(self, bank: Bank) -> Evaluator:
        """Return what predicts and counts, in the run's precision."""
        evaluation = self.cfg.evaluation
        return Evaluator(
            bank,
            batch_size=evaluation.batch_size,
            precision=self.cfg.precision,
            device=self.device,
            border_pixels=evaluation.border_pixels,
            predictor=evaluation.predictor,
        )

    def watch(self, stream: Stream, window: Window, evaluator: Evaluator, sequence_positions: int | None) -> Watch:
        """Return what scores a student along a stream; shift=auto is the length of a sequence."""
        evaluation = self.cfg.evaluation
        shift = sequence_positions if evaluation.shift == "auto" else evaluation.shift
        plan = WatchPlan(shift, evaluation.final, evaluation.segment_frames)
        return Watch(stream, window, evaluator, self.classes, plan)
