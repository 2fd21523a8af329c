"""A search with Optuna: its space, sampler and pruner, its study in SQLite, and the pruner of a running trial.

The sampler gets a new seed for each trial, from the trial's number: a search that was interrupted suggests the same
parameters as an undisturbed one.
"""

from __future__ import annotations

import functools
import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from odkd.common.metric_names import metric_name
from odkd.common.seeds import named_seed
from odkd.runs.sweeps.study_file import reading_study

if TYPE_CHECKING:
    import optuna

SAMPLERS = {"tpe": "TPESampler", "gp": "GPSampler", "random": "RandomSampler"}
PRUNERS = {
    "none": "NopPruner",
    "median": "MedianPruner",
    "percentile": "PercentilePruner",
    "halving": "SuccessiveHalvingPruner",
    "hyperband": "HyperbandPruner",
    "threshold": "ThresholdPruner",
}
LOCK_SECONDS = 120.0  # the longest time that a job waits while other processes write to SQLite


@dataclass(frozen=True)
class Range:
    """Numbers from `low` to `high`, both included; integers if both are `int`; on a logarithmic scale if `log`."""

    low: float
    high: float
    step: float | None = None
    log: bool = False


@dataclass(frozen=True)
class Choice:
    """A choice among values, spelled as in an override."""

    values: tuple[str, ...]


Space = Mapping[str, Range | Choice]


@dataclass(frozen=True)
class Search:
    """The settings of a search, as known to the launching process and every job (pickled).

    Args:
        folder: folder of the sweep.
        direction: "maximize" or "minimize" the value that the runs return.
        sampler: a key of SAMPLERS.
        sampler_options: options of Optuna's sampler class.
        pruner: a key of PRUNERS.
        pruner_options: options of Optuna's pruner class.
        seed: seed of the sampler.
        seeds: each trial is run with each of these seeds; () = once, with the seed of the config.
        metric: the score for pruning running trials; None = the score of the stage, see `TrialPruner`.
        report_every: iterations or epochs between two decisions of the pruner.

    Raises:
        ValueError: an unknown name or a number out of range.
    """

    folder: Path
    direction: Literal["maximize", "minimize"]
    sampler: str
    sampler_options: Mapping[str, Any]
    pruner: str
    pruner_options: Mapping[str, Any]
    seed: int
    seeds: tuple[int, ...]
    metric: str | None
    report_every: int

    def __post_init__(self) -> None:
        known = {"sampler": SAMPLERS, "pruner": PRUNERS, "direction": ("maximize", "minimize")}
        for name, choices in known.items():
            if getattr(self, name) not in choices:
                got = f"hydra.sweeper.{name}={getattr(self, name)}"
                raise ValueError(f"{got}; expected one of {', '.join(choices)}")
        if self.report_every < 1:
            raise ValueError(f"hydra.sweeper.report_every={self.report_every}; expected at least 1")
        if len(self.seeds) > 1 and self.pruner != "none":
            raise ValueError(
                "hydra.sweeper.seeds: a mean over several runs cannot be pruned; set hydra.sweeper.pruner=none"
            )

    @property
    def num_jobs(self) -> int:
        """The number of jobs of each trial."""
        return max(1, len(self.seeds))

    @property
    def path(self) -> Path:
        """The file of Optuna's study."""
        return self.folder / "study.db"

    def pruner_of(self, number: int) -> TrialPruner | None:
        """Return the pruner for the run of a job; None if this search prunes no run."""
        return None if self.pruner == "none" else TrialPruner(self, number // self.num_jobs)

    def make_sampler(self, number: int) -> optuna.samplers.BaseSampler:
        """Return the sampler that suggests the parameters of a trial.

        Raises:
            ValueError: an option is unknown or invalid.
        """
        seed = named_seed(self.seed, "trial", number) % 2**32
        made: optuna.samplers.BaseSampler = _make("sampler", SAMPLERS, self.sampler, self.sampler_options, seed=seed)
        return made

    def make_pruner(self) -> optuna.pruners.BasePruner:
        """Return the pruner that decides which trials end early.

        Raises:
            ValueError: an option is unknown or invalid.
        """
        made: optuna.pruners.BasePruner = _make("pruner", PRUNERS, self.pruner, self.pruner_options)
        return made

    def open_study(self, number: int = 0) -> optuna.Study:
        """Return the study with the sampler of trial `number`; a missing study is created.

        Raises:
            DamagedFileError: its file is damaged, or that of another search.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.WARNING)
        path, name = self.path, self.folder.name
        if not path.is_file():  # under a temporary name first, so that a kill leaves no partial file
            unfinished = path.with_name(".study.db.new")
            for left in self.folder.glob(f"{unfinished.name}*"):
                left.unlink()
            storage = open_storage(unfinished)
            optuna.create_study(storage=storage, study_name=name, direction=self.direction)
            storage.remove_session()
            unfinished.replace(path)
        sampler, pruner = self.make_sampler(number), self.make_pruner()
        with reading_study(path):
            return optuna.load_study(study_name=name, storage=open_storage(path), sampler=sampler, pruner=pruner)


class TrialPruner:
    """The pruner of one trial: reports the running score of its run to the study, and decides when the run ends.

    The score is the mean so far of `test/miou` (online), or the final student's validation score. Optuna's step is the
    position in the stream, or the epoch, so runs with different windows are compared at the same position.

    A resumed run passes its lines again. Optuna's pruner considers the newest step of a trial only, so it is not asked
    about earlier steps, at which the run was not pruned. A decision to prune made by an earlier process stays.
    """

    def __init__(self, search: Search, number: int) -> None:
        self.search, self.number = search, number
        self._values: list[float] = []

    def __call__(self, record: Mapping[str, Any]) -> str | None:
        """Take the next metrics line of the run; return a reason to end the run, or None."""
        metric = self.search.metric or _metric_of(record["metrics"])
        value = record["metrics"].get(metric)
        if value is None:
            return None
        self._values.append(value)
        if len(self._values) % self.search.report_every:
            return None
        is_epoch = "epoch" in record
        running = value if is_epoch else statistics.fmean(self._values)
        step = record["epoch"] if is_epoch else record["position"]
        trial = self._trial
        newest = max(self._reported, default=-1)
        if step < newest:
            return None
        if step == newest and (earlier := trial.user_attrs.get("verdict")) is not None:
            return str(earlier)
        if step != newest:
            trial.report(running, step)
        if not trial.should_prune():
            return None
        where = f"{'epoch' if is_epoch else 'position'} {step}"
        reason = f"pruned at {where} by the {self.search.pruner} pruner: {metric} {running:.4f} so far"
        trial.set_user_attr("verdict", reason)
        return reason

    @functools.cached_property
    def _trial(self) -> optuna.Trial:
        import optuna

        study = self.search.open_study(self.number)
        return optuna.Trial(study, study.get_trials(deepcopy=False)[self.number]._trial_id)

    @functools.cached_property
    def _reported(self) -> frozenset[int]:
        """Steps that an earlier process has reported; Optuna accepts each step once."""
        return frozenset(self._trial.study.get_trials(deepcopy=False)[self.number].intermediate_values)


def _metric_of(metrics: Mapping[str, Any]) -> str:
    """Return `test/miou`, or the final student's validation mIoU against the labels that it learns from."""
    references = ("previous_round", "teacher", "groundtruth")
    names = (metric_name("final/val", "miou", reference) for reference in references)
    return next((name for name in names if name in metrics), metric_name("test", "miou", "teacher"))


def open_storage(path: Path) -> optuna.storages.RDBStorage:
    """Open a study's file; it is closed after each access, because Optuna never closes what it keeps open."""
    import optuna
    from sqlalchemy.pool import NullPool

    options = {"connect_args": {"timeout": LOCK_SECONDS}, "poolclass": NullPool}
    return optuna.storages.RDBStorage(f"sqlite:///{path}", options)


def _make(what: str, names: Mapping[str, str], name: str, options: Mapping[str, Any], **more: Any) -> Any:
    import optuna

    try:
        return getattr(getattr(optuna, f"{what}s"), names[name])(**more, **options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"hydra.sweeper.{what}={name} with {what}_options={dict(options)}: {error}") from error
