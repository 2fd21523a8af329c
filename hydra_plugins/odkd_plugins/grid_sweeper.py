"""Hydra's sweeper for odkd: the grid of all combinations, in a folder that the same command finds again.

It differs from Hydra's own sweeper in four ways. A failed job does not end the sweep (odkd.runs.sweeps.job notes the
failure). The name of the sweep's folder depends on the settings. `glob(...)` reaches into folders of a group. In a
sweep over experiments, the `hydra.sweeper.params` of each experiment are expanded.
"""

import itertools
import logging
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.core_plugins.basic_launcher import BasicLauncher
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Override
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from hydra.plugins.launcher import Launcher
from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from odkd.common.dotted import is_in, split_override
from odkd.config.known import STUDIES
from odkd.config.loader import left_out_by
from odkd.config.words import without_effect

logger = logging.getLogger(__name__)
MAX_NAME = 60  # characters of a sweep's name
IN_TURN = 64  # jobs that Hydra's own launcher gets at a time: it keeps their configs, 0.7 MB each, until they all end


def key_of(override: str) -> str:
    """Return the group or key of an override: "window.learn" of "+window.learn=20", "replay" of "replay@x=fifo"."""
    return split_override(override)[0].partition("@")[0]


class OdkdSweeper(Sweeper):
    """A sweeper that runs one job for each combination of the given values."""

    def __init__(self, max_batch_size: int | None, params: dict[str, Any] | None) -> None:
        self.max_batch_size = max_batch_size
        self.params = dict(params or {})
        self.hydra_context: HydraContext | None = None
        self.config: DictConfig | None = None
        self.launcher: Launcher | None = None
        self.task_function: TaskFunction | None = None
        self.composed: set[tuple[str, ...]] = set()  # studies and a choice, composed together without error
        self.left_out: dict[str, None] = {}  # what the jobs leave out of their studies, in words
        self.params_of: dict[tuple[str, ...], dict[str, Any]] = {}
        self.groups: dict[str, bool] = {}

    def setup(self, *, hydra_context: HydraContext, task_function: TaskFunction, config: DictConfig) -> None:
        """Take what Hydra passes to a sweeper; the launcher is made when the name of the sweep's folder is known."""
        self.hydra_context, self.config, self.task_function = hydra_context, config, task_function

    def sweep(self, arguments: list[str]) -> None:
        """Run all jobs, and print the summary.

        Raises:
            HydraException: a job cannot be composed; nothing is run.
            SystemExit: code 1 if a job has not finished.
        """
        from odkd.config.parts_tracking import tracking_of
        from odkd.runs.sweeps.job import SweepJob
        from odkd.runs.sweeps.launch import open_sweep, plan_sweep

        assert self.hydra_context is not None
        assert self.config is not None
        assert self.task_function is not None
        self.left_out |= dict.fromkeys(without_effect(arguments))
        asked = self.asked(self.params, arguments)
        jobs, varying = self.expand(asked)
        self.say_left_out()
        plan = plan_sweep(self.config, sweep_name(self.config, varying), asked, varying, command())
        task = SweepJob(self.task_function, plan, tracking_of)
        launcher = start_launcher(self.hydra_context, task, self.config, plan.folder)
        with open_sweep(self.config, plan, write_report, tracking_of(self.config)) as sweep:
            sweep.add(jobs)
            at_once = IN_TURN if isinstance(launcher, BasicLauncher) else max(1, len(jobs))
            size = self.max_batch_size or at_once
            for first in range(0, len(jobs), size):
                launcher.launch(jobs[first : first + size], initial_job_idx=first)

    def asked(self, params: Mapping[str, Any], arguments: Sequence[str]) -> list[str]:
        """Return what a sweep is asked for: the params of its studies that the command leaves, and the command.

        Args:
            params: those of the config as a whole. It knows a group that is typed, but not one that is swept, which
                each job chooses; whether params below such a group count, a job tells.
            arguments: the words of the command.
        """
        assert self.hydra_context is not None
        # A study that is made of others varies its own group: each of them takes the place of the word that chose it.
        arguments = [word for word in arguments if not (key_of(word) in STUDIES and key_of(word) in params)]
        given = OverridesParser.create(config_loader=self.hydra_context.config_loader).parse_overrides(list(arguments))
        spelled = {override.get_key_element() for override in given}  # `combine` replaces these
        keys = [override.key_or_group for override in given if not self.is_group(override.key_or_group)]
        swept = [override.key_or_group for override in given if override.is_sweep_override()]
        left = {key: value for key, value in params.items() if key in spelled or not is_in(key.lstrip("+~"), keys)}
        open_ones = [key for key in left if key not in spelled and is_in(key.lstrip("+~"), swept)]
        if open_ones:
            sure = [f"{key}={value}" for key, value in left.items() if key not in open_ones]
            of_job = self.own_params(self.combine([*sure, *arguments], {})[0])
            left = {key: value for key, value in left.items() if key not in open_ones or key in of_job}
        return [f"{key}={value}" for key, value in left.items()] + list(arguments)

    def say_left_out(self) -> None:
        """Log what the jobs leave out of their studies."""
        for line in self.left_out:
            logger.info(line)

    def expand(self, asked: Sequence[str]) -> tuple[list[list[str]], list[str]]:
        """Return the overrides of each job, and the keys that vary.

        Raises:
            HydraException: a job cannot be composed.
        """
        jobs: list[list[str]] = []
        keys: dict[str, None] = {}
        for overrides in self.combine(asked, keys):
            given = {key_of(override) for override in overrides}
            more = [f"{key}={value}" for key, value in self.own_params(overrides).items() if key not in given]
            expanded = self.combine([*more, *overrides], keys) if more else [overrides]
            for job in expanded:
                self.own_params(job)
            jobs += expanded
        return jobs, list(keys)

    def own_params(self, overrides: list[str]) -> dict[str, Any]:
        """Compose a job, so that mistakes are found now, and return the `hydra.sweeper.params` of its chosen files.

        The params do not depend on the values of keys. So each choice of a group is composed once, and each combination
        of the groups whose files change other groups; composing all jobs of a large grid would take minutes.
        """
        assert self.hydra_context is not None
        assert self.config is not None
        shape = tuple(o if key_of(o) in STUDIES else key_of(o) for o in overrides)
        studies = tuple(o for o in overrides if key_of(o) in STUDIES)
        new = {(*studies, o) for o in overrides if self.is_group(key_of(o))} - self.composed
        if new or shape not in self.params_of:
            loader = self.hydra_context.config_loader
            cfg = loader.load_sweep_config(master_config=self.config, sweep_overrides=list(overrides))
            self.params_of[shape] = dict(OmegaConf.select(cfg, "hydra.sweeper.params") or {})
            self.left_out |= dict.fromkeys(left_out_by(loader, is_sweep=True))
            self.composed |= new
        return self.params_of[shape]

    def is_group(self, key: str) -> bool:
        """True if a key names a group of config files."""
        assert self.hydra_context is not None
        if key not in self.groups:
            self.groups[key] = bool(self.hydra_context.config_loader.get_group_options(key))
        return self.groups[key]

    def combine(self, asked: Sequence[str], keys: dict[str, None]) -> list[list[str]]:
        """Return all combinations of the overrides' values; add the keys of swept overrides to `keys`."""
        assert self.hydra_context is not None
        parser = OverridesParser.create(config_loader=self.hydra_context.config_loader)
        choices: dict[str, list[str]] = {}  # the last values of a repeated key count
        for override in parser.parse_overrides(list(asked)):
            key = override.get_key_element()
            if override.is_sweep_override():
                choices[key] = [f"{key}={value}" for value in self.values(override)]
                keys[key.lstrip("+~")] = None
            else:
                choices[key] = [f"{key}={override.get_value_element_as_str()}"]
        return [list(job) for job in itertools.product(*choices.values())]

    def values(self, override: Override) -> Iterable[str]:
        """Return the values of one override, as text.

        Raises:
            HydraException: there are no values, or they cannot be listed.
        """
        if not override.is_discrete_sweep():
            raise HydraException(f"{override.input_line}: an interval has no values to list; give choice(...)")
        pattern = override.value()
        found = list(
            self.matches(override.key_or_group, pattern)
            if isinstance(pattern, Glob)
            else override.sweep_string_iterator()
        )
        if not found:
            raise HydraException(f"{override.input_line}: nothing matches; odkd --help lists the choices")
        return found

    def matches(self, group: str, pattern: Glob) -> list[str]:
        """Return the matching choices of a group and its folders; `*` matches anything but a slash, as in a shell."""
        assert self.hydra_context is not None
        loader = self.hydra_context.config_loader

        def below(folder: str) -> list[str]:
            names = loader.get_group_options(f"{group}/{folder}".rstrip("/"), ObjectType.CONFIG)
            folders = loader.get_group_options(f"{group}/{folder}".rstrip("/"), ObjectType.GROUP)
            inner = [name for part in folders for name in below(f"{folder}{part}/")]
            return [f"{folder}{name}" for name in names] + inner

        def deep(text: str) -> int:
            return text.count("/")

        wanted = {deep(include) for include in pattern.include}
        return [name for name in pattern.filter(below("")) if deep(name) in wanted]


def start_launcher(context: HydraContext, task: TaskFunction, config: DictConfig, folder: Path) -> Launcher:
    """Return the chosen launcher; jobs that it composes in other processes get the sweep's folder too."""
    with open_dict(config):
        config.hydra.sweep.dir = str(folder)
        quoted = str(folder).replace("'", "\\'")
        config.hydra.overrides.hydra.append(f"hydra.sweep.dir='{quoted}'")
    return Plugins.instance().instantiate_launcher(hydra_context=context, task_function=task, config=config)


def sweep_name(config: DictConfig, varying: Sequence[str]) -> str:
    """Return the chosen file of conf/sweep, else the run's name, else the varying keys."""
    chosen = config.hydra.runtime.choices.get("sweep") or config.run.name or "-".join(varying) or "sweep"
    return re.sub(r"[^\w.-]+", "-", str(chosen))[:MAX_NAME].strip("-")


def write_report(sweep_folder: Path) -> Path:
    """Write the page of a sweep and return its path; the import takes seconds, so it happens only here."""
    from odkd.report.html_sweep import write_sweep_report

    return write_sweep_report(sweep_folder)


def command() -> str:
    """Return the command as typed."""
    return shlex.join(["odkd", *sys.argv[1:]])
