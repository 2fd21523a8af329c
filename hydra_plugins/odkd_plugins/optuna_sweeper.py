"""Hydra's sweeper for a search with Optuna: overrides define the space, and any launcher runs the trials.

Hydra's own plugin requires Optuna 2. odkd.runs.sweeps.search holds the settings of the search; this file turns
overrides into a space and runs trials as jobs. Everything else (folder, parent run, table, exit code) is as in a grid.
"""

import contextlib
import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from odkd.common.dotted import split_override
from odkd.common.optional import check_installed

from .grid_sweeper import OdkdSweeper, command, start_launcher, sweep_name, write_report
from .joblib_launcher import JoblibLauncher

if TYPE_CHECKING:
    from odkd.runs.sweeps.plan import SweepPlan
    from odkd.runs.sweeps.search import Search

# If hydra-optuna-sweeper is installed too, Hydra would use its settings of the same name as the schema of odkd's.
ConfigStore.instance().repo.get("hydra", {}).get("sweeper", {}).pop("optuna.yaml", None)


class OptunaSweeper(Sweeper):
    """A sweeper that searches; its arguments are the keys of conf/hydra/sweeper/optuna.yaml."""

    def __init__(self, params: dict[str, Any] | None, n_trials: int, n_jobs: int | None, **how: Any) -> None:
        for name, number in (("n_trials", n_trials), ("n_jobs", n_jobs)):
            if number is not None and (type(number) is not int or number < 1):
                raise HydraException(f"hydra.sweeper.{name}={number}; expected a whole number of at least 1")
        self.params, self.n_trials, self.n_jobs = dict(params or {}), n_trials, n_jobs
        self.how = how
        self.grid = OdkdSweeper(None, None)
        self.hydra_context: HydraContext | None = None
        self.config: DictConfig | None = None
        self.task_function: TaskFunction | None = None

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra passes to a sweeper."""
        self.hydra_context, self.config, self.task_function = hydra_context, config, task_function
        self.grid.setup(hydra_context=hydra_context, task_function=task_function, config=config)

    def sweep(self, arguments: list[str]) -> None:
        """Run trials until the study holds `n_trials`, and print the summary.

        Raises:
            ValueError: Optuna is not installed.
            HydraException: a mistake in the space, or a choice that cannot be composed; nothing is run.
            SystemExit: code 1 if a job has not finished.
        """
        from odkd.config.parts_tracking import tracking_of
        from odkd.runs.sweeps.job import SweepJob
        from odkd.runs.sweeps.launch import open_sweep
        from odkd.runs.sweeps.trial_jobs import TrialJobs
        from odkd.runs.sweeps.trials import Study

        assert self.hydra_context is not None
        assert self.config is not None
        assert self.task_function is not None
        check_installed("hydra/sweeper=optuna", ["optuna"])
        asked = self.grid.asked(self.params, arguments)
        space, fixed = self.space(asked)
        self.check(space, fixed)
        self.grid.say_left_out()
        plan, search = self.plan(asked, space)
        task = SweepJob(self.task_function, plan, tracking_of, search.pruner_of)
        launcher = start_launcher(self.hydra_context, task, self.config, plan.folder)
        tracking = tracking_of(self.config)
        if search.path.is_file():
            Study(search, space)  # a damaged one is found before the files of the sweep are written anew
        with open_sweep(self.config, plan, write_report, tracking) as sweep, contextlib.ExitStack() as cleaning:
            study, sweep.num_planned = Study(search, space), self.n_trials * len(self.how["seeds"] or [0])
            jobs = TrialJobs(study, sweep, fixed)
            jobs.add_earlier()
            size = self.n_jobs or num_slots(launcher)
            if isinstance(launcher, JoblibLauncher):
                cleaning.enter_context(launcher.kept())
            while plan.stop_reason() is None and (trials := study.begin(self.n_trials, size)):
                batch = jobs.add(trials)
                launcher.launch(
                    [[*words, f"sweep.job={number}"] for number, words in batch.items()], initial_job_idx=min(batch)
                )
                jobs.finish(trials)
            jobs.write_result()

    def plan(self, asked: Sequence[str], space: dict[str, Any]) -> "tuple[SweepPlan, Search]":
        """Return the plan of the sweep and the settings of the search.

        Raises:
            ValueError: a setting of the search makes no sense.
        """
        from odkd.runs.sweeps.launch import plan_sweep
        from odkd.runs.sweeps.search import Search

        assert self.config is not None
        seeds = self.how["seeds"]
        varying = [*(key.lstrip("+") for key in space), *(["seed"] if seeds else [])]
        name, how = sweep_name(self.config, varying), json.dumps(plain(self.how), sort_keys=True)
        plan = plan_sweep(self.config, name, asked, varying, command(), [f"search={how}"])
        options = {key: dict(self.how[key] or {}) for key in ("sampler_options", "pruner_options")}
        search = Search(plan.folder, **self.how | options | {"seeds": tuple(seeds or ())})
        search.make_sampler(0)  # they check their options
        search.make_pruner()
        return plan, search

    def space(self, asked: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
        """Return the search space by key (with a leading +, if given), and the overrides that all trials have.

        Raises:
            HydraException: the space is empty, or a range is invalid.
        """
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        space: dict[str, Any] = {}
        fixed: dict[str, str] = {}
        for override in parser.parse_overrides(list(asked)):  # the last values of a repeated key count
            key = override.get_key_element()
            space.pop(key, None)
            fixed.pop(key, None)
            if override.is_sweep_override():
                space[key] = self.dimension(override)
            else:
                fixed[key] = f"{key}={override.get_value_element_as_str()}"
        if not space:
            raise HydraException("nothing to search; give KEY=interval(LOW,HIGH), range(...) or choice(...)")
        if self.how["seeds"] and "seed" in {**space, **fixed}:
            raise HydraException("hydra.sweeper.seeds says with which seeds each trial is run; leave out seed=")
        return space, list(fixed.values())

    def dimension(self, override: Override) -> Any:
        """Return an override as a Range or Choice.

        Raises:
            HydraException: it is empty or has an unsuitable tag.
        """
        from odkd.runs.sweeps.search import Choice, Range

        value: Any = override.value()
        tags = set(getattr(value, "tags", ()))
        is_log = "log" in tags
        if tags - {"log"}:
            raise HydraException(f"{override.input_line}: the only tag is log")
        if isinstance(value, IntervalSweep):
            low, high, step = value.start, value.end, None
        elif isinstance(value, RangeSweep):
            assert value.start is not None
            assert value.stop is not None
            numbers = list(value.range())
            if not numbers:
                raise HydraException(f"{override.input_line}: the range is empty")
            is_whole = all(isinstance(number, int) for number in (value.start, value.stop, value.step))
            number = int if is_whole else float
            low, high, step = number(min(numbers)), number(max(numbers)), number(abs(value.step))
        elif is_log:
            raise HydraException(f"{override.input_line}: log is for interval(...) and range(...)")
        else:
            return Choice(tuple(self.grid.values(override)))
        if low is None or high is None or low > high or (is_log and (low <= 0 or step not in (None, 1))):
            wants = "; on a log scale LOW must be above 0, and a range's step 1" if is_log else ""
            raise HydraException(f"{override.input_line}: expected LOW below HIGH{wants}")
        return Range(low, high, step, is_log)

    def check(self, space: dict[str, Any], fixed: list[str]) -> None:
        """Compose each choice once, before anything is run.

        Raises:
            HydraException: one of them cannot be composed.
        """
        from odkd.runs.sweeps.search import Choice

        values = {key: item.values if isinstance(item, Choice) else (str(item.low),) for key, item in space.items()}
        given = {split_override(word)[0] for word in [*values, *fixed]}
        for key, choices in values.items():
            for choice in choices:
                chosen = {other: found[0] for other, found in values.items()} | {key: choice}
                more = self.grid.own_params([*fixed, *(f"{other}={value}" for other, value in chosen.items())])
                if missing := [name for name in more if name.lstrip("+~") not in given]:
                    raise HydraException(f"{key}={choice} sweeps over {', '.join(missing)} itself; set these yourself")


def num_slots(launcher: Launcher) -> int:
    """Return how many jobs the launcher runs at a time; 1 for all but `JoblibLauncher`."""
    return len(launcher.slots()) if isinstance(launcher, JoblibLauncher) else 1


def plain(value: Any) -> Any:
    """Convert lists and dictionaries of the config to plain Python."""
    from omegaconf import OmegaConf

    return OmegaConf.to_container(OmegaConf.create(value), resolve=True)
