"""The Hydra entry point: check the config, open the run, call the stage, return the swept metric."""

import errno
import logging
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException, InstantiationException
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from odkd.build import Parts
from odkd.checks import explain, is_mistake
from odkd.compose import CONF, flatten

logger = logging.getLogger(__name__)

# What a sweep compares: dataset mIoU of the stream against the teacher; the final student's best validation score
# (never the test split's: what is chosen by it is no longer a test).
SWEPT_METRICS = ("total/miou", "final/val_best")


def run_job(cfg: DictConfig) -> float:
    """One run, from its config to its summary. Returns what a sweep compares (NaN for a stage that has no such)."""
    from odkd.artifacts import write_overlay_video, write_report
    from odkd.device import set_up
    from odkd.report.summary import summary_table
    from odkd.runs import Run, RunIsBusyError

    parts = Parts(cfg)
    set_up(parts.device, threads=cfg.threads, deterministic=cfg.deterministic)
    folder = parts.folder
    overrides = list(HydraConfig.get().overrides.task) if HydraConfig.initialized() else []
    run = Run(folder, describe(parts, overrides), checkpoint_overhead=cfg.run.checkpoint_overhead)
    if run.status == "finished" and not (cfg.run.restart or cfg.stage.always):
        logger.info("this run has finished before; run.restart=true starts over, run.repeat=1 repeats it independently")
        if cfg.run.overlay_video and (folder / "predictions").is_dir() and not (folder / "overlay.mp4").is_file():
            write_overlay_video(parts, run)
        if cfg.run.report and not (folder / "report.html").is_file():
            write_report(parts, run, run.summary())
        catch_up(cfg, folder)
    else:
        try:
            compute(parts, run, overrides)
        except RunIsBusyError:
            if not cfg.stage.is_shared:
                raise
            logger.info("another process has this run; helping it with the labels")
            _ = parts.teacher_labels
            return float("nan")
        except BaseException as error:
            # A sweep keeps its jobs' errors to the end, and their frames would keep the networks of each.
            traceback.clear_frames(error.__traceback__)
            raise
    print(summary_table(folder))
    summary = run.summary()
    value = next((summary[name] for name in SWEPT_METRICS if summary.get(name) is not None), None)
    return float("nan") if value is None else value


def compute(parts: Parts, run: Any, overrides: list[str]) -> None:
    """Open the run, let MLflow follow it, call the stage, write what it leaves behind."""
    from odkd.artifacts import write_artifacts, write_report
    from odkd.cost import Cost
    from odkd.stills import write_run_stills
    from odkd.sync import Follower

    cfg, cost = parts.cfg, Cost(parts.device)
    files = {"config.yaml": OmegaConf.to_yaml(cfg, resolve=True), "overrides.txt": "".join(f"{o}\n" for o in overrides)}
    run.open(files, restart=cfg.run.restart)
    logger.info("run %s", run.folder)
    tracking = cfg.tracking
    follower = Follower(run.folder, **tracking_place(cfg), seconds=tracking.seconds)
    if tracking.enabled:
        follower.start()
    try:
        with run:
            summary = parts.call_stage(run)
            if cfg.run.report:
                write_run_stills(parts, run)
            parts.close()
            write_artifacts(parts, run, summary)
            write_report(parts, run, summary, cost)
            run.finish(summary)
    finally:
        parts.close()
        if tracking.enabled:
            follower.close(timeout_seconds=tracking.close_seconds)


def tracking_place(cfg: DictConfig) -> dict[str, str]:
    """Where MLflow keeps the runs: a SQLite file beside them unless the config names a place."""
    uri = cfg.tracking.uri or f"sqlite:///{(Path(cfg.paths.outputs) / 'mlflow.db').resolve()}"
    return {"uri": uri, "experiment": cfg.tracking.experiment}


def catch_up(cfg: DictConfig, folder: Path) -> None:
    """Send MLflow what it lacks of a finished run whose process was killed before it could."""
    from odkd.sync import Follower
    from odkd.tracking import is_complete

    place = tracking_place(cfg)
    if cfg.tracking.enabled and not is_complete(folder, **place):
        follower = Follower(folder, **place, seconds=cfg.tracking.seconds)
        follower.start()
        follower.close(timeout_seconds=cfg.tracking.close_seconds)


def describe(parts: Parts, overrides: list[str]) -> dict[str, Any]:
    """run.json: who this run is, on what it ran, with which versions."""
    from odkd.environment import environment

    cfg = parts.cfg
    shown = {
        k: v
        for k, v in flatten(OmegaConf.to_container(cfg, resolve=True)).items()
        if not k.startswith(("paths.", "tracking."))
    }
    tags = {
        "odkd.run_key": parts.key,
        "odkd.stage": cfg.stage.name,
        "odkd.overrides": " ".join(overrides),
        "odkd.dataset_digest": parts.sampled.digest,
        "odkd.groundtruth_digest": parts.groundtruth_digest or "",
        "odkd.teacher": OmegaConf.to_yaml(OmegaConf.create(parts.teacher_identity)),
        **environment(parts.device),
    }
    return {
        "key": parts.key,
        "name": parts.folder.name,
        "stage": cfg.stage.name,
        "params": shown,
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


def main() -> None:
    """The `odkd` command. A user's mistake is one message and exit code 2; a fault is a traceback and 1."""
    sys.path.append(str(Path.cwd()))  # a user's own file, named by _target_, may lie where odkd is started
    wants_traceback = os.environ.get("HYDRA_FULL_ERROR") == "1"
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us instead of being printed by Hydra
    failures: list[Exception] = []

    def job(cfg: DictConfig) -> float:
        """A sweep needs to see a job's error; alone, it would print the whole command above our message."""
        try:
            return run_job(cfg)
        except Exception as error:
            if HydraConfig.get().mode != RunMode.RUN:
                raise
            failures.append(error)
            return float("nan")

    previous = signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a terminated run is marked killed
    try:
        hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(job)()
        if failures:
            raise failures[0]
    except KeyboardInterrupt:
        sys.exit("\nodkd: interrupted; the same command goes on from here")
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
