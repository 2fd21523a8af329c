"""The trials of a search: Optuna's study in the launching process.

A trial's result is passed to Optuna only when its jobs have ended without failure. Until then Optuna lists the trial
as running, and a process that continues the search runs it again with the same parameters.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from odkd.common.files import write_atomic
from odkd.runs.sweeps.search import Choice, Search, Space
from odkd.runs.sweeps.study_checks import JOB_IN_STUDY, check_study
from odkd.runs.sweeps.study_file import reading_study

if TYPE_CHECKING:
    import optuna
    from optuna.trial import FrozenTrial

MIN_FOR_IMPORTANCE = 4  # finished trials; fewer say nothing about importance


@dataclass
class Trial:
    """A trial that is running: its number, and its parameters spelled as in overrides."""

    number: int
    params: dict[str, str]


class Study:
    """The study of a search, in its launching process.

    Raises:
        DamagedFileError: its file is damaged, or that of another search.
    """

    def __init__(self, search: Search, space: Space) -> None:
        self.search, self.space = search, space
        self._study = search.open_study()
        with reading_study(search.path):
            known = self._study.get_trials(deepcopy=False)
            check_study(self._study, known, search, space)
        self._open: dict[int, optuna.Trial] = {}  # by number; a process runs each trial once

    def begin(self, num_trials: int, most: int) -> list[Trial]:
        """Return at most `most` trials to run next: interrupted ones, else new ones up to `num_trials` in the study.

        Never both: in an undisturbed search the results of the former are known before the latter are suggested.
        """
        import optuna

        begun = []
        known = self._study.get_trials(deepcopy=False)
        cut_off = [trial for trial in known if not trial.state.is_finished() and trial.number not in self._open]
        for frozen in cut_off[:most]:
            self._study.sampler = self.search.make_sampler(frozen.number)
            begun.append(optuna.Trial(self._study, frozen._trial_id))
        for number in range(len(known), min(num_trials, len(known) + most)) if not cut_off else ():
            self._study.sampler = self.search.make_sampler(number)
            begun.append(self._study.ask())
            self._suggest(begun[-1])  # before the next trial is asked for
        self._open |= {trial.number: trial for trial in begun}
        return [Trial(trial.number, self._suggest(trial)) for trial in begun]

    def _suggest(self, trial: optuna.Trial) -> dict[str, str]:
        """Return the parameters of a trial; those that it has already do not change."""
        found = {}
        for key, dimension in self.space.items():
            if isinstance(dimension, Choice):
                found[key] = str(trial.suggest_categorical(key, dimension.values))
            elif isinstance(dimension.low, int) and isinstance(dimension.high, int):
                step = int(dimension.step or 1)
                found[key] = str(trial.suggest_int(key, dimension.low, dimension.high, step=step, log=dimension.log))
            else:
                low, high = dimension.low, dimension.high
                found[key] = repr(trial.suggest_float(key, low, high, step=dimension.step, log=dimension.log))
        return found

    def tell(self, trial: Trial, jobs: Sequence[Mapping[str, Any]]) -> bool:
        """Pass the result of a trial's jobs to Optuna if none has failed; return True if the trial is done."""
        from optuna.trial import TrialState

        statuses, values = {job["status"] for job in jobs}, [job["value"] for job in jobs]
        is_pruned = "pruned" in statuses
        if not is_pruned and (not statuses <= {"finished", "skipped", "resumed"} or None in values):
            return False
        records = [{key: job[key] for key in JOB_IN_STUDY} for job in jobs]
        self._open[trial.number].set_user_attr("jobs", records)
        if is_pruned:
            self._study.tell(trial.number, state=TrialState.PRUNED)
        else:
            self._study.tell(trial.number, statistics.fmean(values))
        return True

    def earlier(self) -> list[tuple[Trial, list[dict[str, Any]] | None]]:
        """Return all trials of the study, with their jobs if they are done; call it before the first `begin`."""
        found = []
        for trial in self._study.get_trials(deepcopy=False):
            params = {key: _text(value) for key, value in trial.params.items()}
            jobs = trial.user_attrs["jobs"] if trial.state.is_finished() else None
            own = None if jobs is None else [{key: job[key] for key in JOB_IN_STUDY} for job in jobs]
            found.append((Trial(trial.number, params), own))
        return found

    def finished(self) -> list[FrozenTrial]:
        """Return the trials that have a value, in the order in which they ended."""
        from optuna.trial import TrialState

        found = self._study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return sorted(found, key=lambda trial: (trial.datetime_complete, trial.number))

    def result(self) -> dict[str, Any]:
        """Return the best trial (None if there is none yet) and each parameter's importance (empty for few trials)."""
        finished = self.finished()
        best = None
        if finished:
            trial = self._study.best_trial
            params = {key: _text(value) for key, value in trial.params.items()}
            jobs = trial.user_attrs["jobs"]
            best = {"trial": trial.number, "value": trial.value, "params": params, "runs": [job["run"] for job in jobs]}
        return {"direction": self.search.direction, "best": best, "importance": self._importance(finished)}

    def _importance(self, finished: Sequence[FrozenTrial]) -> dict[str, float]:
        import optuna

        if len(finished) < MIN_FOR_IMPORTANCE or len({trial.value for trial in finished}) == 1:
            return {}
        shares = optuna.importance.get_param_importances(self._study)
        return {key: round(share, 4) for key, share in shares.items()}

    def write_history(self) -> None:
        """Write each finished trial's value and the best so far, in order of end, as metrics of the sweep's run."""
        best: float | None = None
        better = max if self.search.direction == "maximize" else min
        lines, timings = [], []
        for iteration, trial in enumerate(self.finished()):
            value = float(trial.values[0])
            name = trial.user_attrs["jobs"][0]["metric"]
            best = value if best is None else better(best, value)
            lines.append({"iteration": iteration, "metrics": {f"trial/{name}": value, f"best/{name}": best}})
            assert trial.datetime_complete is not None
            timings.append({"iteration": iteration, "time": trial.datetime_complete.timestamp(), "metrics": {}})
        for file, content in {"timing": timings, "metrics": lines}.items():
            text = "".join(json.dumps(line) + "\n" for line in content)
            write_atomic(self.search.folder / f"{file}.jsonl", text.encode())


def _text(value: Any) -> str:
    return value if isinstance(value, str) else repr(value)
