"""One run as an entry of a comparison: its settings, scores and costs."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np

from odkd.common.dotted import split_override
from odkd.common.files import as_written
from odkd.common.metric_names import metric_name
from odkd.report import learned_nothing, mean_speeds, values
from odkd.report.settings import class_name, scores_teacher, settings_of
from odkd.runs.results import Run, overrides_of, read_run

Measure = Callable[["Entry"], float]

KEPT = {  # metrics of an iteration that a page shows; with all metrics, a thousand runs would not fit into memory
    *(metric_name("test", "miou", reference) for reference in ("teacher", "groundtruth")),
    *(f"time/{part}_{what}" for part in ("learn", "evaluate") for what in ("seconds", "frames_per_second")),
}
CONTENT = {  # content that no setting describes -> the tag with its digest; no tag depends on the run's seed
    "data": "odkd.dataset_digest",
    "true labels": "odkd.groundtruth_digest",
    "teacher's identity": "odkd.teacher_digest",
    "own code": "odkd.code_digest",
}
MAX_DIGITS = 6  # of a digest


def run_of_job(outputs: Path, run: str | None) -> Path | None:
    """Return the folder of a job's run; None without one, or if it lies outside the folder of all outputs.

    Args:
        outputs: absolute, without "..".
        run: as sweep.json has it; a sweep of somebody else may name any folder.
    """
    folder = as_written(outputs / (run or ""))
    return folder if folder.is_relative_to(outputs) and folder != outputs else None


@dataclass(frozen=True)
class Entry:
    """A run with its settings by dotted key, and its overrides by key without Hydra's prefixes."""

    run: Run
    settings: Mapping[str, str]
    overrides: Mapping[str, str]

    @classmethod
    def read(cls, run_folder: Path) -> Entry:
        """Read a run with only the `KEPT` metrics; raise ValueError if the folder is not a run folder."""
        run = read_run(run_folder)
        lines = [
            line | {"metrics": {key: value for key, value in line["metrics"].items() if key in KEPT}}
            for line in run.metrics
        ]
        run = replace(run, metrics=lines, system=[])
        given = map(split_override, overrides_of(run))
        return cls(run, settings_of(run), {key.partition("@")[0]: value for key, value in given})

    def value(self, factor: str) -> str:
        """Return the value of a factor: a setting, the choice of a group, or a digest of `CONTENT`.

        A digest follows its name, so that it is never read as a number. A missing value or null is "".
        """
        if factor in CONTENT:
            digest = self.run.tags.get(CONTENT[factor], "")
            return f"{factor} {digest[:MAX_DIGITS]}" if digest else ""
        if factor in self.settings:
            return "" if self.settings[factor] == "null" else self.settings[factor]
        if factor in self.overrides:
            return self.overrides[factor]
        name, target = self.settings.get(f"{factor}.name"), self.settings.get(f"{factor}._target_")
        return name or (class_name(target) if target else "")

    def score(self, key: str) -> float:
        """Return a score of the summary; NaN if it is unknown or undefined."""
        value = self.run.summary.get(key)
        return math.nan if value is None else value

    @property
    def is_reference(self) -> bool:
        """True if the teacher was scored instead of a student; such a score is not compared."""
        return scores_teacher(self.settings)

    @cached_property
    def learn_seconds(self) -> float:
        """Time of all learning in seconds; NaN if no timing is known or nothing was learned."""
        found = values(self.run.metrics, "time/learn_seconds")
        is_known = np.isfinite(found).any() and not learned_nothing(self.run.metrics)
        return float(np.nansum(found)) if is_known else math.nan

    @cached_property
    def evaluate_milliseconds(self) -> float:
        """Time of evaluation in milliseconds per frame; NaN if no timing is known."""
        speed = mean_speeds(self.run.metrics).get("evaluation", 0.0)
        return 1000 / speed if speed else math.nan
