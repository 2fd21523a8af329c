"""Scores of the student over time: on the next frames, one sequence earlier and later, on every segment, at the end.

docs/metrics.md explains all metrics that are computed here.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from odkd.common.metric_names import metric_name
from odkd.common.progress import tracked
from odkd.data.video.stream import Stream
from odkd.data.window import Step, Window
from odkd.evaluation.answers import Answers, Scores
from odkd.evaluation.continual import backward_transfer, forgetting, recovery
from odkd.evaluation.evaluate import Evaluator, mean_ignoring_nan, score_metrics
from odkd.evaluation.metrics import mean_iou

SHIFTED = {"past": -1, "future": 1}  # Houyon et al. 2023: the windows of BWT and FWT
MEANS = ("accuracy", "miou", "miou_per_frame", "consistency")


@dataclass(frozen=True)
class WatchPlan:
    """Positions on which the student is scored, besides the next frames.

    Args:
        shift: positions from now to the windows of `past/` and `future/`; None = no such scores.
        final: score the last student on the entire stream.
        segment_frames: frames of each segment, evenly spaced, that are scored whenever a segment ends; 0 = none.
    """

    shift: int | None
    final: bool
    segment_frames: int


class Watch:
    """Scores a student along a stream and accumulates the counts of the summary; its state resumes with the run."""

    def __init__(
        self, stream: Stream, window: Window, evaluator: Evaluator, classes: Sequence[str], plan: WatchPlan
    ) -> None:
        self.stream, self.window, self.evaluator, self.classes, self.plan = stream, window, evaluator, classes, plan
        self._domains = list(dict.fromkeys(map(stream.domain_of, range(len(stream)))))
        num_segments, num_classes = len(stream.segments), len(classes)
        zeros = torch.zeros(len(self._domains), num_classes, num_classes, dtype=torch.int64)
        nothing = torch.full((num_segments, num_segments), torch.nan, dtype=torch.float64)
        # Source -> counts of all test windows by domain; source -> scores R of `continual.py`.
        self.totals_DKK = {source: zeros.clone() for source in evaluator.bank.sources}
        self._learned_TT = {source: nothing.clone() for source in evaluator.bank.sources}
        self._probes = [_evenly(segment, plan.segment_frames) for segment in stream.segments]

    def windows(self, step: Step) -> list[int]:
        """Return the positions of this iteration's windows, which the next iteration's windows may overlap."""
        windows = [step.test, *filter(None, self._shifted(step).values())]
        return list(dict.fromkeys(position for window in windows for position in window))

    def needs(self, step: Step) -> list[int]:
        """Return all positions that are scored in this iteration."""
        probes = self._probes if self._ended(step) else []
        return list(dict.fromkeys([*self.windows(step), *(position for probe in probes for position in probe)]))

    def test(self, student: nn.Module, step: Step) -> tuple[Scores, dict[str, float]]:
        """Return the scores on the next frames, and their metrics `test/...`."""
        return self.test_answers([Answers(student, step.test, step.test)], step)

    def test_answers(self, answers: Iterable[Answers], step: Step) -> tuple[Scores, dict[str, float]]:
        """Do the same with the networks that answer these frames, in order."""
        scores = self.evaluator.scores_of(answers)
        domains = torch.tensor([self._domains.index(self.stream.domain_of(position)) for position in step.test])
        here = slice(step.test.start, step.test.stop)
        scenes = torch.from_numpy(np.stack([self.stream.segment_of[here], self.stream.video_of[here]]))
        is_within = (scenes[:, 1:] == scenes[:, :-1]).all(0)
        metrics: dict[str, float] = {}
        for source, confusions_NKK in scores.confusions.items():
            self.totals_DKK[source].index_add_(0, domains, confusions_NKK)
            metrics |= score_metrics(confusions_NKK, self.classes, "test", source)
            num_standing, num_steady = scores.steady[source][is_within].sum(0).double()
            metrics[metric_name("test", "consistency", source)] = (num_steady / num_standing).item()
        return scores, metrics

    def elsewhere(self, student: nn.Module, step: Step) -> dict[str, float]:
        """Return the metrics `past/...`, `future/...` and, when a segment has ended, `segment/...`.

        A metric is NaN if its window exceeds the stream.
        """
        metrics: dict[str, float] = {}
        shifted, ended = self._shifted(step), self._ended(step)
        probed = [position for probe in self._probes for position in probe] if ended else []
        windows: list[Sequence[int]] = [window or () for window in shifted.values()]
        *found, of_probes = self.evaluator.confusions_of_windows(student, [*windows, probed])
        for (name, window), confusions in zip(shifted.items(), found, strict=True):
            for source in self.evaluator.bank.sources:
                value = mean_iou(confusions[source].sum(0)).item() if window else torch.nan
                metrics[metric_name(name, "miou", source)] = value
        if ended:
            sizes = [len(probe) for probe in self._probes]
            for source, confusions_NKK in of_probes.items():
                row_T = [mean_iou(part.sum(0)).item() for part in torch.split(confusions_NKK, sizes)]
                self._learned_TT[source][ended] = torch.tensor(row_T, dtype=torch.float64)
                metrics |= _by_segment("segment", row_T, source)
        return metrics

    def so_far(self) -> str:
        """Return the mIoU of all test windows so far against the first reference, as text: most often the teacher."""
        totals_DKK = next(iter(self.totals_DKK.values()))
        return f"mIoU {mean_iou(totals_DKK.sum(0)).item():.3f}"

    def finish(self, student: nn.Module, records: Sequence[dict[str, Any]]) -> dict[str, float]:
        """Return the summary of a run, from its metrics lines and the scores of the last student on the stream."""
        summary: dict[str, float] = {}
        for source, totals_DKK in self.totals_DKK.items():
            summary |= _scores_of("total", totals_DKK.sum(0), self.classes, source)
            if len(self._domains) > 1:
                summary |= {
                    metric_name("domain", "miou", source, name): mean_iou(total_KK).item()
                    for name, total_KK in zip(self._domains, totals_DKK, strict=True)
                }
            for name in MEANS:
                known = _column(records, metric_name("test", name, source))
                summary[metric_name("mean", name, source)] = mean_ignoring_nan(known)
            if self.plan.shift is not None:
                for where in SHIFTED:
                    known = _column(records, metric_name(where, "miou", source))
                    summary[metric_name(f"mean_{where}", "miou", source)] = mean_ignoring_nan(known)
            if len(self.stream.segments) > 1:
                within = [record for record in records if record["segment"] is not None]
                miou_I = [torch.nan if v is None else v for v in _column(within, metric_name("test", "miou", source))]
                found = recovery(miou_I, [record["segment"] for record in within])
                summary[metric_name("recovery", "iterations", source)] = found.num_iterations
                summary[metric_name("recovery", "num_changes", source)] = found.num_changes
                summary[metric_name("recovery", "num_unrecovered", source)] = found.num_unrecovered
        if self.plan.final:
            summary |= self._last(student)
        return summary

    def state_dict(self) -> dict[str, Any]:
        return {"totals": self.totals_DKK, "learned": self._learned_TT}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.totals_DKK, self._learned_TT = state["totals"], state["learned"]

    def _last(self, student: nn.Module) -> dict[str, float]:
        """Score the last student on the entire stream.

        `last/...` are scores of one matrix over the stream; `mean_last/miou` is the mean over its test windows (FBWT).
        `segments/...` are the scores of continual learning that need this student's scores on all segments.
        """
        num_positions, size = len(self.stream), self.window.test
        probe_of = {position: number for number, probe in enumerate(self._probes) for position in probe}
        summary: dict[str, float] = {}
        zeros = {source: torch.zeros_like(total_DKK[0]) for source, total_DKK in self.totals_DKK.items()}
        totals_KK = {source: zero.clone() for source, zero in zeros.items()}
        segments_TKK = {source: zero.repeat(len(self._probes), 1, 1) for source, zero in zeros.items()}
        recent: dict[str, dict[int, Tensor]] = {source: {} for source in zeros}  # matrices of the current test window
        windows: dict[str, list[float]] = {source: [] for source in zeros}
        for first in tracked(range(0, num_positions, size), "scored by the last student", "windows"):
            chunk = range(first, min(first + size, num_positions))
            self.evaluator.bank.prefetch(range(chunk.stop, min(chunk.stop + size, num_positions)))
            for source, confusions_NKK in self.evaluator.confusions(student, chunk).items():
                for position, confusion_KK in zip(chunk, confusions_NKK, strict=True):
                    totals_KK[source] += confusion_KK
                    if position in probe_of:
                        segments_TKK[source][probe_of[position]] += confusion_KK
                    recent[source][position] = confusion_KK
                    begin = position + 1 - size
                    if begin >= 0 and begin % self.window.step == 0:
                        window_KK = torch.stack([recent[source][p] for p in range(begin, position + 1)]).sum(0)
                        windows[source].append(mean_iou(window_KK).item())
                    recent[source].pop(begin, None)
            self.evaluator.bank.retain(range(chunk.stop, num_positions))
        for source, total_KK in totals_KK.items():
            summary |= _scores_of("last", total_KK, self.classes, source)
            summary[metric_name("mean_last", "miou", source)] = mean_ignoring_nan(windows[source])
            if self.plan.segment_frames and len(self._probes) > 1:
                # Segments that end with the stream have no row yet: the last student has completed them.
                row_T = mean_iou(segments_TKK[source])
                learned_TT = self._learned_TT[source].clone()
                learned_TT[learned_TT.isnan().all(1)] = row_T
                learned_TT[-1] = row_T
                summary[metric_name("segments", "backward_transfer", source)] = backward_transfer(learned_TT.numpy())
                summary[metric_name("segments", "forgetting", source)] = forgetting(learned_TT.numpy())
                summary |= _by_segment("last_segment", row_T.tolist(), source)
        return summary

    def _shifted(self, step: Step) -> dict[str, range | None]:
        """Return the windows one shift before and after this iteration's; None for a window that exceeds the stream."""
        if self.plan.shift is None:
            return {}
        windows: dict[str, range | None] = {}
        for name, sign in SHIFTED.items():
            first = step.position + sign * self.plan.shift
            is_inside = first >= 0 and first + self.window.test <= len(self.stream)
            windows[name] = range(first, first + self.window.test) if is_inside else None
        return windows

    def _ended(self, step: Step) -> list[int]:
        """Return the segments whose last frame the student has learned in this iteration."""
        if not self.plan.segment_frames or len(self.stream.segments) < 2:
            return []
        return [n for n, segment in enumerate(self.stream.segments) if segment.stop - 1 in step.gone_by]


def _evenly(segment: range, num_frames: int) -> list[int]:
    """Return at most `num_frames` positions of a segment, evenly spaced.

    >>> _evenly(range(10, 20), 3)
    [11, 15, 18]
    """
    num_frames = min(num_frames, len(segment))
    return [segment[int((i + 0.5) * len(segment) / num_frames)] for i in range(num_frames)]


def _scores_of(scope: str, total_KK: Tensor, classes: Sequence[str], reference: str) -> dict[str, float]:
    """Return the scores of one matrix over many frames; it has no frames, so there is no per-frame score."""
    found = score_metrics(total_KK[None], classes, scope, reference)
    return {name: value for name, value in found.items() if name != metric_name(scope, "miou_per_frame", reference)}


def _by_segment(scope: str, row_T: Sequence[float], reference: str) -> dict[str, float]:
    return {metric_name(scope, "miou", reference, f"{number:03d}"): value for number, value in enumerate(row_T)}


def _column(records: Iterable[dict[str, Any]], key: str) -> list[float | None]:
    return [record["metrics"].get(key) for record in records]
