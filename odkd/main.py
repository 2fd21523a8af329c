"""The Hydra entry point: check the config, open the run, call the stage, return the swept metric."""

import contextlib
import errno
import json
import logging
import os
import signal
import sys
import traceback
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import hydra
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from odkd.build import Parts
from odkd.checks import explain, is_mistake, targets
from odkd.compose import CONF, config_dir
from odkd.dotted import flatten
from odkd.files import json_digest
from odkd.identity import digests_of_files, source_digests
from odkd.outcome import Outcome, RunPruned, Terminated, is_ending
from odkd.params import curated_params

logger = logging.getLogger(__name__)

# What a sweep compares: dataset mIoU of the stream against the teacher; the final student's best validation score
# (never the test split's: what is chosen by it is no longer a test).
SWEPT_METRICS = ("total/miou", "final/val_best")


def run_job(cfg: DictConfig, outcome: Outcome | None = None) -> float:
    """One run, from its config to its summary. Returns what a sweep compares (NaN for a stage that has no such).

    `outcome` says in the end how the job ended; a job of a sweep prints no table of its own.
    """
    outcome, is_alone = outcome or Outcome(), outcome is None
    with outcome.log:
        try:
            summary = perform(cfg, outcome)
        except BaseException as error:
            outcome.log.write_error(error)
            # Their frames would keep the networks of a failed job while the next ones run.
            traceback.clear_frames(error.__traceback__)
            if isinstance(error, SystemExit) and not is_ending(error):
                raise RuntimeError(f"a part of the job called sys.exit({error.code!r})") from error
            raise
    if is_alone and outcome.run is not None and summary is not None:
        from odkd.report.summary import summary_table

        print(summary_table(outcome.run))
    found = ((name, value) for name in SWEPT_METRICS if (value := (summary or {}).get(name)) is not None)
    outcome.metric, outcome.value = next(found, (None, None))
    return float("nan") if outcome.value is None else outcome.value


def perform(cfg: DictConfig, outcome: Outcome) -> dict[str, float | None] | None:
    """Find the run, finished or not, and bring it to its end; its summary.

    None where another process has it, or if it was pruned.
    """
    from odkd.artifacts import write_overlay_video, write_report
    from odkd.device import set_up
    from odkd.runs import Run, RunIsBusyError, RunIsFinishedError
    from odkd.sync import send

    parts = Parts(cfg)
    set_up(parts.device, threads=cfg.threads, deterministic=cfg.deterministic)
    folder = parts.folder
    outcome.begin(folder)
    given = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    overrides = [override for override in given if not override.startswith("sweep.job=")]  # a search's, not the user's
    description = describe(parts, overrides, outcome)
    run = Run(folder, description, checkpoint_overhead=cfg.run.checkpoint_overhead, judge=outcome.judge)
    try:
        if run.status != "finished" or cfg.run.restart or cfg.stage.always:
            compute(parts, run, overrides, outcome)
            return run.summary() if outcome.status != "pruned" else None
    except RunIsFinishedError:
        pass  # since we looked
    except RunIsBusyError:
        if cfg.stage.is_shared:
            logger.info("another process has this run; helping it with the labels")
            _ = parts.teacher_labels
            outcome.status = "finished"
            return None
        if outcome.sweep is None:
            raise
        logger.info("another process has this run; waiting for it")
        run.wait()
        return perform(cfg, outcome)
    logger.info("this run has finished before; run.restart=true starts over, run.repeat=1 repeats it independently")
    outcome.status = "skipped"
    run.add_known(["odkd.file_digests"], ["dataset.classes"])  # by which tables find it
    if outcome.sweep is not None:
        run.adopt(outcome.sweep)
    if cfg.run.overlay_video and (folder / "predictions").is_dir() and not (folder / "overlay.mp4").is_file():
        write_overlay_video(parts, run)
    if cfg.run.report and not (folder / "report.html").is_file():
        write_report(parts, run, run.summary())
    if outcome.sweep is None:  # else the sweep sends what is missing, in the end
        send(folder, cfg)
    return run.summary()


def compute(parts: Parts, run: Any, overrides: list[str], outcome: Outcome) -> None:
    """Open the run, let MLflow follow it, call the stage, write what it leaves behind."""
    from odkd.artifacts import write_artifacts, write_report
    from odkd.cost import Cost
    from odkd.stills import write_run_stills
    from odkd.sync import Follower, close_seconds, place_of

    cfg, cost = parts.cfg, Cost(parts.device)
    files = {"config.yaml": OmegaConf.to_yaml(cfg, resolve=True), "overrides.txt": "".join(f"{o}\n" for o in overrides)}
    run.open(files, restart=cfg.run.restart, again=cfg.stage.always)
    outcome.log.move_to(run.folder / "run.log")
    outcome.status = "resumed" if run.has_checkpoint else "finished"
    logger.info("run %s", run.folder)
    tracking = cfg.tracking
    follower = Follower(run.folder, **place_of(cfg), seconds=tracking.seconds)
    is_brief = outcome.sweep is not None  # which sends in the end what its jobs could not
    if tracking.enabled:
        follower.start()
    try:
        with run, _sampler(run.folder, tracking.system_seconds):
            summary = parts.call_stage(run)
            if cfg.run.report:
                write_run_stills(parts, run)
            parts.close()
            write_artifacts(parts, run, summary)
            write_report(parts, run, summary, cost)
            run.finish(summary)
    except RunPruned as ending:
        outcome.status = "pruned"
        logger.info("%s; the same settings alone go on from its checkpoint", ending)
    except BaseException as error:
        outcome.log.write_error(error)  # before MLflow is sent the log
        is_brief |= not isinstance(error, Exception)
        raise
    finally:
        parts.close()
        if tracking.enabled:
            follower.close(timeout_seconds=close_seconds(cfg, briefly=is_brief))


def _sampler(run_folder: Path, seconds: float | None) -> contextlib.AbstractContextManager[Any]:
    """Of the machine's state, if it is asked for."""
    from odkd.usage import Sampler

    return Sampler(run_folder, seconds) if seconds is not None else contextlib.nullcontext()


def describe(parts: Parts, overrides: list[str], outcome: Outcome | None = None) -> dict[str, Any]:
    """run.json: who this run is, on what it ran, with which versions."""
    from odkd.environment import environment

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


def known_names() -> tuple[list[str], dict[str, list[str]]]:
    """Every dotted key of the default config, and every group with its choices."""
    folders = [path for path in sorted(CONF.rglob("*")) if path.is_dir()]
    groups = {str(path.relative_to(CONF)): sorted(file.stem for file in path.glob("*.yaml")) for path in folders}
    keys: list[str] = []
    for path in [
        CONF / "config.yaml",
        *(folder / f"{name}.yaml" for folder in folders for name in groups[str(folder.relative_to(CONF))]),
    ]:
        if path.relative_to(CONF).parts[0] in ("baseline", "experiment", "sweep", "debug", "hydra"):
            continue
        prefix = "" if path.parent == CONF else path.relative_to(CONF).parts[0]
        keys += list(flatten(OmegaConf.to_container(OmegaConf.load(path)), prefix))
    return keys, groups


@dataclass
class Job:
    """What Hydra and its launchers call (it can be pickled); a sweep wraps it and gives an outcome to fill in."""

    failures: list[Exception] = field(default_factory=list)

    def __call__(self, cfg: DictConfig, outcome: Outcome | None = None) -> float:
        """Alone, an error is kept for `main`: Hydra would print the whole command above our message."""
        try:
            check_mode(HydraConfig.get())
            return run_job(cfg, outcome)
        except Exception as error:
            if HydraConfig.get().mode != RunMode.RUN:
                raise
            self.failures.append(error)
            return float("nan")


def check_mode(hydra_cfg: Any) -> None:
    """
    Raises:
        ValueError: a study of many jobs is asked for, and one would be run.
    """
    study = hydra_cfg.runtime.choices.get("sweep")
    if study is not None and hydra_cfg.mode == RunMode.RUN:
        raise ValueError(f"sweep={study} is a study of several jobs; run it by  odkd -m  (--multirun)")


def check_words(words: list[str]) -> None:
    """
    Raises:
        ValueError: Hydra's parser would not know what to do with one of the command's words.
    """
    _, unknown = get_args_parser().parse_known_args(words)
    if unknown and unknown[0].startswith("-"):
        raise ValueError(f"there is no option {unknown[0]}; odkd --help and --hydra-help name those that there are")
    if unknown:
        raise ValueError(
            f"{unknown[0]} is cut off from the settings before it; "
            "put options such as --config-dir and -m before all settings"
        )


def terminate(*_: object) -> None:
    """SIGTERM's handler, so that a terminated run is marked killed.

    Raises:
        Terminated: always.
    """
    raise Terminated


def main() -> None:
    """The `odkd` command. A user's mistake is one message and exit code 2; a fault is a traceback and 1."""
    sys.path.append(str(Path.cwd()))  # a user's own file, named by _target_, may lie where odkd is started
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us instead of being printed by Hydra
    job = Job()
    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        check_words(sys.argv[1:])
        hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(job)()
        if job.failures:
            raise job.failures[0]
    except KeyboardInterrupt:
        print("\nodkd: interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)  # what shells say of a command that Ctrl-C has ended
    except BrokenPipeError:  # `odkd --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        message = None if wants_traceback else user_message(error)
        if message is None:
            raise
        print(f"odkd: {message}", file=sys.stderr)
        sys.exit(2)
    finally:
        signal.signal(signal.SIGTERM, previous)


def user_message(error: BaseException) -> str | None:
    """What to tell a user whose mistake this is; None for a fault, which needs its traceback."""
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__  # Hydra's wrapping of what a constructor raised
    if isinstance(error, HydraException | OmegaConfBaseException):
        return explain(error, *known_names()) or str(error)
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return f"the disk is full ({error}); make room and give the same command again: it goes on from here"
    if isinstance(error, OSError) and error.errno in (errno.EROFS, errno.EACCES, errno.ENOTDIR, errno.EEXIST):
        return f"cannot write there ({error}); choose another folder with paths.outputs= or paths.labels="
    return str(error) if is_mistake(error) else None


if __name__ == "__main__":
    main()
