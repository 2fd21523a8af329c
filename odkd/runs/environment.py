"""The environment of a run as tags: versions, machine and git state."""

import contextlib
import functools
import getpass
import os
import platform
import subprocess
import time
from pathlib import Path

import torch

from odkd.common.device import thread_choice
from odkd.common.errors import PACKAGE
from odkd.common.names import counted
from odkd.common.optional import version_of

PACKAGES = ("odkd", "torch", "numpy", "av", "hydra-core", "omegaconf", "segmentation-models-pytorch", "timm", "mlflow")


def environment(device: torch.device) -> dict[str, str]:
    """Return the tags odkd.device, odkd.threads, odkd.version.*, odkd.git.*, odkd.host and mlflow.user."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    tags = {
        "odkd.device": f"{device.type}: {name}, {counted(torch.get_num_threads(), 'thread')}",
        "odkd.threads": thread_choice(),
        "odkd.host": platform.node(),
    }
    with contextlib.suppress(KeyError, OSError, ImportError):  # a container may have no user name
        tags["mlflow.user"] = getpass.getuser()
    tags |= versions()
    minute = int(time.monotonic() // 60)
    for where, folder in {"source": PACKAGE, "folder": Path.cwd()}.items():
        if state := git_state(folder, minute):
            tags[f"odkd.git.{where}"] = state
    return tags


@functools.cache
def versions() -> dict[str, str]:
    """Return the tags odkd.version.*; looking them up takes 5 ms, and a process keeps the libraries that it has."""
    found = {"odkd.version.python": platform.python_version()}
    for package in PACKAGES:
        others = ("mlflow-skinny",) if package == "mlflow" else ()
        found[f"odkd.version.{package}"] = version_of(package, *others) or "not installed"
    return found


@functools.lru_cache(maxsize=2)
def git_state(folder: Path, _minute: int) -> str | None:
    """Return the commit of a folder and whether it has changes; None if git does not know it.

    git takes a quarter of a second, so the short jobs of a sweep ask for it once a minute.

    Args:
        folder: in a git repository.
        _minute: when it is asked; an answer counts for one minute.
    """
    commit = git(folder, "rev-parse", "HEAD")
    changes = git(folder, "status", "--porcelain") if commit else None
    return commit and commit + {"": "", None: " in unknown state"}.get(changes, " with uncommitted changes")


@functools.cache
def processor() -> str:
    """Return the CPU's model name if the system reports it, else the platform's name for it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next(
        (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor()
    )


def git(folder: Path, *arguments: str) -> str | None:
    """Return the output of a git command in `folder`; None if git fails or does not answer."""
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=10, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
