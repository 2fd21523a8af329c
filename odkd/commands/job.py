"""The life of a job: open the run, call the stage, write reports and artifacts, return the score for a sweep."""

import contextlib
import glob
import json
import logging
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

if TYPE_CHECKING:
    from odkd.config.parts import Parts

from odkd.common.console import say
from odkd.common.files import json_digest
from odkd.config.compose import config_dir
from odkd.config.identity import digests_of_files, source_digests
from odkd.config.loader import left_out_by
from odkd.config.params import curated_params
from odkd.config.roles import targets
from odkd.config.unused import unused_words
from odkd.runs.outcome import Outcome, RunPruned, is_ending

logger = logging.getLogger(__name__)


def run_job(cfg: DictConfig, outcome: Outcome | None = None) -> float:
    """Run a config to its summary and return the score that a sweep compares (NaN if the stage has none).

    `outcome` is filled in: how the job ended, and its score. A job of a sweep prints no table.
    """
    outcome, is_alone = outcome or Outcome(), outcome is None
    with outcome.log:
        try:
            summary = perform(cfg, outcome)
        except BaseException as error:
            outcome.log.write_error(error)
            # The frames of the traceback would keep the networks of a failed job in memory while the next ones run.
            traceback.clear_frames(error.__traceback__)
            if isinstance(error, SystemExit) and not is_ending(error):
                raise RuntimeError(f"a part of the job called sys.exit({error.code!r})") from error
            raise
    if is_alone and outcome.run is not None and summary is not None:
        from odkd.report.summary import summary_table

        say(summary_table(outcome.run))
    outcome.value = (summary or {}).get(outcome.metric or "")
    outcome.metric = None if outcome.value is None else outcome.metric
    return float("nan") if outcome.value is None else outcome.value


def perform(cfg: DictConfig, outcome: Outcome) -> dict[str, float | None] | None:
    """Bring a run to its end, whether it is new, cut off or finished, and return its summary.

    None if another process has the run, or if it was pruned.
    """
    from odkd.common.device import set_up
    from odkd.config.check_parts import check_components, check_parts
    from odkd.config.parts import Parts
    from odkd.config.parts_tracking import tracking_of
    from odkd.report.artifacts import is_wanted, write_overlay_video, write_report
    from odkd.runs.mlflow_place import tell_variables
    from odkd.runs.run import OpenRun, RunIsBusyError, RunIsFinishedError

    parts = Parts(cfg)
    cfg = parts.cfg
    tell_variables(cfg)
    set_up(parts.device, threads=cfg.threads, deterministic=cfg.deterministic, precision=cfg.precision)
    if not has_finished_namesake(parts):  # a finished run returns at once; otherwise mistakes come before the stream
        check_components(parts)
    folder, outcome.metric = parts.folder, parts.traits.compared
    overrides = user_overrides()
    for line in unused_words(overrides, parts.asked, parts.cfg.stage.name):
        logger.warning(line)
    description = describe(parts, overrides, outcome)
    run = OpenRun(folder, description, checkpoint_overhead=cfg.run.checkpoint_overhead, pruner=outcome.pruner)
    is_to_compute = run.status != "finished" or cfg.run.restart or parts.traits.always
    if is_to_compute:
        check_parts(parts)  # before the run has a folder
    outcome.begin(folder)
    try:
        if is_to_compute:
            compute(parts, run, overrides, outcome)
            return run.summary() if outcome.status != "pruned" else None
    except RunIsFinishedError:
        pass  # another process finished it in the meantime
    except RunIsBusyError:
        if parts.traits.is_shared:
            logger.info("another process has this run; helping it with the labels")
            parts.label_stream()
            outcome.status = "finished"
            return None
        if outcome.sweep is None:
            raise
        logger.info("another process has this run; waiting for it")
        run.wait()
        return perform(cfg, outcome)
    logger.info("this run has finished before; run.restart=true starts over, run.repeat=1 repeats it independently")
    outcome.status = "skipped"
    run.bring_up_to_date(["odkd.file_digests"], ["dataset.classes"])  # tables find a run by these
    if outcome.sweep is not None:
        run.adopt(outcome.sweep)
    if cfg.run.overlay_video and (folder / "predictions").is_dir() and not (folder / "overlay.mp4").is_file():
        write_overlay_video(parts, run)
    if is_wanted(cfg.run.report, run, None) and not (folder / "report.html").is_file():
        write_report(parts, run, run.summary())
    if outcome.sweep is None:  # otherwise the sweep sends what is missing at its end
        tracking_of(cfg).send(folder)
    return run.summary()


def user_overrides() -> list[str]:
    """Return the settings of the command, without the one that a search adds."""
    given = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    return [override for override in given if not override.startswith("sweep.job=")]


def has_finished_namesake(parts: "Parts") -> bool:
    """Return True if a run of the same name has finished, so that this one may be it. Its key needs the stream."""
    from odkd.runs.results import status_of

    runs = Path(parts.cfg.paths.outputs) / "runs"
    return any(status_of(folder) == "finished" for folder in runs.glob(f"{glob.escape(parts.name)}-*"))


def compute(parts: "Parts", run: Any, overrides: list[str], outcome: Outcome) -> None:
    """Open the run, let the trackers follow it, call the stage, write artifacts and report."""
    from odkd.config.call_stage import call_stage
    from odkd.config.parts_tracking import tracking_of
    from odkd.report.artifacts import is_wanted, write_artifacts, write_report
    from odkd.report.run_stills import write_run_stills
    from odkd.runs.cost import Cost
    from odkd.runs.sync import PATIENCE

    cfg, cost = parts.cfg, Cost(parts.device)
    files = {"config.yaml": OmegaConf.to_yaml(cfg, resolve=True), "overrides.txt": "".join(f"{o}\n" for o in overrides)}
    is_brief = outcome.sweep is not None  # the sweep sends at its end what its jobs could not send
    tracking, followers = tracking_of(cfg), None
    run.open(files, restart=cfg.run.restart, again=parts.traits.always)
    try:
        with run, _sampler(run.folder, cfg.tracking.system_seconds):
            outcome.log.move_to(run.folder / "run.log")
            outcome.status = "resumed" if run.has_checkpoint else "finished"
            logger.info("run %s", run.folder)
            if parts.chosen_numerics and parts.traits.learns:
                logger.info(parts.chosen_numerics)
            followers = tracking.follow(run.folder, after_seconds=PATIENCE if is_brief else 0.0)
            summary = call_stage(parts, run)
            if is_wanted(cfg.run.report, run, cost):
                write_run_stills(parts, run)
            parts.close()
            write_artifacts(parts, run, summary)
            write_report(parts, run, summary, cost)
            run.finish(summary, keeps_checkpoint=parts.traits.is_live)
    except RunPruned as ending:
        outcome.status = "pruned"
        logger.info("%s; the same settings outside a search continue from its checkpoint", ending)
    except BaseException as error:
        outcome.log.write_error(error)  # before the log goes to trackers
        is_brief |= not isinstance(error, Exception)
        raise
    finally:
        parts.close()
        if followers is not None:
            followers.close(timeout_seconds=tracking.wait_seconds(briefly=is_brief))


def _sampler(run_folder: Path, seconds: float | None) -> contextlib.AbstractContextManager[Any]:
    """Return a sampler of CPU, memory and GPU usage, or a context that does nothing."""
    from odkd.runs.usage import Sampler

    return Sampler(run_folder, seconds) if seconds is not None else contextlib.nullcontext()


def describe(parts: "Parts", overrides: list[str], outcome: Outcome | None = None) -> dict[str, Any]:
    """Return the content of run.json: identity, settings, device, versions."""
    from odkd.runs.environment import environment

    cfg = parts.cfg
    outcome = outcome or Outcome()
    choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    sweep = {"odkd.sweep_key": outcome.sweep["key"]} if outcome.sweep is not None else {}
    own_code = source_digests(targets(cfg), parts.allowed, parts.cache)
    whole: Any = OmegaConf.to_container(cfg, resolve=True)
    named_files = digests_of_files(whole, parts.cache)
    tags = {
        "odkd.kind": "run",
        "odkd.run_key": parts.key,
        "odkd.stage": cfg.stage.name,
        "odkd.overrides": " ".join(overrides),
        **({"odkd.config_dir": own_yaml} if (own_yaml := config_dir()) is not None else {}),
        "odkd.dataset_digest": parts.sampled.digest,
        "odkd.groundtruth_digest": parts.groundtruth_digest or "",
        "odkd.teacher": OmegaConf.to_yaml(OmegaConf.create(parts.teacher_identity)),
        "odkd.teacher_digest": json_digest(parts.teacher_identity),
        **({"odkd.code_digest": json_digest(own_code)} if own_code else {}),
        **({"odkd.file_digests": json.dumps(named_files)} if named_files else {}),
        **sweep,
        **environment(parts.device),
    }
    return {
        "key": parts.key,
        "name": parts.folder.name,
        "title": outcome.title or parts.folder.name,
        "stage": cfg.stage.name,
        "sweep": outcome.sweep,
        "params": curated_params(cfg, choices),
        "tags": tags,
    }


@dataclass
class Job:
    """The task function of Hydra and its launchers (can be pickled); a sweep wraps it and passes an outcome."""

    failures: list[Exception] = field(default_factory=list)

    def __call__(self, cfg: DictConfig, outcome: Outcome | None = None) -> float:
        """Run the job. Outside a sweep an error is kept for `main`: Hydra would print the command above our message."""
        try:
            check_mode(HydraConfig.get())
            if HydraConfig.get().mode == RunMode.RUN:  # a sweep says it once, for all jobs
                for line in left_out_by(GlobalHydra.instance().config_loader(), is_sweep=False):
                    logger.info(line)
            return run_job(cfg, outcome)
        except Exception as error:
            if HydraConfig.get().mode != RunMode.RUN:
                raise
            self.failures.append(error)
            return float("nan")


def check_mode(hydra_cfg: Any) -> None:
    """Check that a study of several jobs is run as a sweep.

    Raises:
        ValueError: `sweep=NAME`, or a launcher that starts several jobs, without --multirun.
    """
    launcher = hydra_cfg.runtime.choices.get("hydra/launcher")
    if launcher not in (None, "basic") and hydra_cfg.mode == RunMode.RUN:
        raise ValueError(f"hydra/launcher={launcher} starts the jobs of a sweep; run one by  odkd -m, or leave it out")
    study = hydra_cfg.runtime.choices.get("sweep")
    if study is not None and hydra_cfg.mode == RunMode.RUN:
        raise ValueError(f"sweep={study} is a study of several jobs; run it by  odkd -m  (--multirun)")
