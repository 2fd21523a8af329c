"""The jobs of a search's trials, as the sweep lists them: one job for each trial, or one for each trial and seed."""

from __future__ import annotations

from collections.abc import Sequence

from odkd.runs.sweeps.sweep import Sweep
from odkd.runs.sweeps.trials import Study, Trial

NO_VALUE = "the job returned no value to compare: its stage has none, or the value is undefined"


class TrialJobs:
    """The jobs of all trials of a study, numbered in the order of the trials.

    Args:
        study: the study.
        sweep: the sweep that lists the jobs.
        fixed: overrides that all jobs have.
    """

    def __init__(self, study: Study, sweep: Sweep, fixed: Sequence[str]) -> None:
        self.study, self.sweep, self.fixed = study, sweep, list(fixed)
        self.num_jobs = study.search.num_jobs  # of each trial

    def overrides(self, trial: Trial) -> list[list[str]]:
        """Return the overrides of each job of a trial."""
        words = self.fixed + [f"{key}={value}" for key, value in trial.params.items()]
        return [[*words, f"seed={seed}"] for seed in self.study.search.seeds] or [words]

    def add_earlier(self) -> None:
        """Add the jobs of the trials that the study holds already; jobs that have finished count as skipped."""
        earlier = self.study.earlier()
        self.sweep.add([words for trial, _ in earlier for words in self.overrides(trial)])
        for trial, done in earlier:
            for number, job in enumerate(done or (), start=trial.number * self.num_jobs):
                self.sweep.jobs[number] |= job | ({} if job["status"] == "pruned" else {"status": "skipped"})

    def add(self, trials: Sequence[Trial]) -> dict[int, list[str]]:
        """Add the new jobs of trials that will run; return the overrides of all their jobs by number."""
        batch = {
            number: words
            for trial in trials
            for number, words in enumerate(self.overrides(trial), start=trial.number * self.num_jobs)
        }
        self.sweep.add([words for number, words in batch.items() if number >= len(self.sweep.jobs)])
        for number, words in batch.items():
            self.sweep.jobs[number]["overrides"] = words  # an interrupted trial may lack some of its parameters
        return batch

    def finish(self, trials: Sequence[Trial]) -> None:
        """Pass the results of trials to the study, after their jobs have ended, and update the sweep's files."""
        self.sweep.gather()
        for trial in trials:
            first = trial.number * self.num_jobs
            ended = self.sweep.jobs[first : first + self.num_jobs]
            for job in ended:
                if job["value"] is None and job["status"] in ("finished", "skipped", "resumed"):
                    job |= {"status": "failed", "error": NO_VALUE}
            self.study.tell(trial, ended)
        self.write_result()
        self.sweep.write()

    def write_result(self) -> None:
        """Write the history of the search, and note its result so far in the sweep."""
        self.study.write_history()
        self.sweep.search = self.study.result()
