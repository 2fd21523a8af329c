"""What a search that is continued believes of its study.db: values of its own space, and jobs of the known form."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge

from odkd.common.files import as_written
from odkd.common.reading import check_form
from odkd.runs.sweeps.search import Choice, Range, Search, Space

if TYPE_CHECKING:
    import optuna
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

JOB_IN_STUDY = {
    "status": Literal["finished", "skipped", "resumed", "pruned"],
    "run": str | None,
    "seconds": Annotated[float, Ge(0)] | None,
    "metric": str | None,
    "value": float | None,
}
LONGEST_METRIC = 250  # letters
OFF_STEP = 1e-6  # of a step, by which rounding may be off


def check_study(study: optuna.Study, trials: Sequence[FrozenTrial], search: Search, space: Space) -> None:
    """Check that a study can be that of a search.

    Raises:
        ValueError: it cannot; what is wrong, without the file.
    """
    from optuna.trial import TrialState

    if [direction.name.lower() for direction in study.directions] != [search.direction]:
        raise ValueError(f"its direction is not {search.direction}")
    if [trial.number for trial in trials] != list(range(len(trials))):
        raise ValueError("trials are missing")
    for trial in trials:
        for key, value in trial.params.items():
            if key not in space:
                raise ValueError(f"trial {trial.number} has {key!r:.80}, which is not searched")
            _check_value(f"trial {trial.number}: {key}", value, trial.distributions[key], space[key])
        if trial.state.is_finished():
            _check_jobs(trial, search)
        if trial.state == TrialState.COMPLETE:
            check_form(trial.values, list[float], f"the values of trial {trial.number}")
            if len(trial.values) != 1 or trial.datetime_complete is None:
                raise ValueError(f"trial {trial.number} has no value, or no end")


def _check_value(name: str, value: Any, distribution: BaseDistribution, dimension: Range | Choice) -> None:
    from optuna.distributions import check_distribution_compatibility

    check_distribution_compatibility(distribution, _distribution(dimension))
    if isinstance(dimension, Choice):
        is_in = value in dimension.values
    else:
        low, high, step = dimension.low, dimension.high, dimension.step
        check_form(value, int if isinstance(low, int) and isinstance(high, int) else float, name)
        steps = (value - low) / step if step else 0.0
        is_in = low <= value <= high and abs(steps - round(steps)) < OFF_STEP
    if not is_in:
        raise ValueError(f"{name}={value!r:.80} is not in its range")


def _distribution(dimension: Range | Choice) -> BaseDistribution:
    """Return a dimension in the form in which Optuna keeps it."""
    from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

    if isinstance(dimension, Choice):
        return CategoricalDistribution(dimension.values)
    low, high, step, log = dimension.low, dimension.high, dimension.step, dimension.log
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a range that its steps do not fill, which Optuna has said before
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log, int(step or 1))
        return FloatDistribution(low, high, log, step)


def _check_jobs(trial: FrozenTrial, search: Search) -> None:
    jobs: Any = trial.user_attrs.get("jobs")
    name = f"trial {trial.number}"
    check_form(jobs, list[dict[str, Any]], f"the jobs of {name}")
    if len(jobs) != search.num_jobs:
        raise ValueError(f"{name} has {len(jobs)} jobs, and the search {search.num_jobs} for each")
    outputs = as_written(search.folder).parents[1]
    for job in jobs:
        check_form(job, JOB_IN_STUDY, f"a job of {name}")
        if job["run"] is not None and not as_written(outputs / job["run"]).is_relative_to(outputs):
            raise ValueError(f"{name}: run={job['run']!r:.80} lies outside {outputs}")
        if job["metric"] is not None and not (job["metric"].isprintable() and len(job["metric"]) <= LONGEST_METRIC):
            raise ValueError(f"{name}: metric={job['metric']!r:.80} is no name of a score")
        if (job["value"] is None and job["status"] != "pruned") or not math.isfinite(job["value"] or 0):
            raise ValueError(f"{name}: value={job['value']}; expected a number")
