"""Console script `odkd-profile`: what a student costs, how fast it is here, and what it keeps up with."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from odkd.common.arguments import Arguments, add_version
from odkd.common.console import say
from odkd.common.ending import one_line
from odkd.common.names import counted

if TYPE_CHECKING:
    from omegaconf import DictConfig

DESCRIPTION = """\
Measure a student: parameters, FLOPs, memory, and the time to evaluate a frame and to learn from one, at the size and
precision of its run, on 1, 2, 4, ... threads or on the GPU; ONNX beside PyTorch where it is installed. From these: the
frame rate that it keeps up with, how often it can be retrained here, the longest window and the shortest stride.

  odkd-profile outputs/runs/NAME-KEY                      print it, and keep it there for odkd-tables: profile.json
  odkd-profile student=tinynet 'dataset.size=[360,640]'   of a student that has no run yet; settings as for odkd
  odkd-profile --all dataset=camvid                       a table of all students with these settings
  odkd-profile outputs/runs/*                             of several runs; equal students are measured once

Frames are noise and the weights random: neither changes the figures. Nothing else should run meanwhile.
"""


def main(arguments: Sequence[str] | None = None) -> None:
    """Profile; a mistake becomes one message and exit code 2, a student of several that fails exit code 1."""
    parser = Arguments(
        prog="odkd-profile", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_version(parser)
    what = "folders of runs, such as outputs/runs/NAME-KEY, or settings, such as student=tinynet"
    parser.add_argument("subjects", nargs="*", metavar="RUN or KEY=VALUE", help=what)
    parser.add_argument("--all", action="store_true", help="of all students (conf/student, and those of --config-dir)")
    of_video = "frames a second of the video (default: that of the run, else 25)"
    parser.add_argument("--rate", type=float, metavar="FPS", help=of_video)
    parser.add_argument("--seconds", type=float, default=1.0, help="for each timing, after warm-up (default: 1)")
    parser.add_argument("--device", help="auto, cpu, cuda, ... (default: auto, or the setting device)")
    parser.add_argument("--json", action="store_true", help="print JSON: a profile, or a list of them")
    parser.add_argument("--config-dir", metavar="FOLDER", help="folder of your own YAML groups, as for odkd")
    own = "that your own student, loss or stage is in"
    parser.add_argument("--allow-targets", nargs="+", default=[], metavar="PACKAGE", help=own)
    args = parser.parse_intermixed_args(arguments)
    with one_line("odkd-profile"):
        sys.exit(run(args))


def run(args: argparse.Namespace) -> int:
    """Profile what the command line names; return the exit code.

    Raises:
        ValueError: a mistake in it.
    """
    from odkd.commands.profile.show import text_of

    runs, words = split_subjects(args.subjects)
    check(args, runs, words)
    if args.all:
        return profile_all(args, words)
    if len(runs) > 1:
        return profile_runs(args, runs)
    folder = runs[0] if runs else None
    profile = profile_one(args, folder, words)
    say(json.dumps(profile, indent=1) if args.json else text_of(profile))
    if folder is not None:
        keep(folder, profile)
    return 0


def split_subjects(subjects: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Return the folders and the settings among the words of a command.

    >>> split_subjects(["student=tinynet", "outputs/runs/a"])
    ([PosixPath('outputs/runs/a')], ['student=tinynet'])
    """
    words = [word for word in subjects if "=" in word and not Path(word).exists()]
    return [Path(word) for word in subjects if word not in words], words


def check(args: argparse.Namespace, runs: Sequence[Path], words: Sequence[str]) -> None:
    """Check how the words of a command go together.

    Raises:
        ValueError: they do not.
    """
    if runs and words:
        raise ValueError(f"{words[0]}: {runs[0]} has its own settings; leave the settings out, or the run")
    if args.all and (runs or any(word.startswith("student=") for word in words)):
        raise ValueError(f"--all profiles every student; leave {runs[0] if runs else 'student=...'} or --all out")
    if not (runs or words or args.all):
        raise ValueError("name a run's folder, settings such as student=tinynet, or --all (see odkd-profile --help)")
    if runs and args.config_dir:
        raise ValueError("--config-dir is for settings; a run has its own, leave it out")
    for name, value in (("--seconds", args.seconds), ("--rate", args.rate)):
        if value is not None and not 0 < value < 1e6:
            raise ValueError(f"{name} {value}: expected a number above 0 and below a million")


def profile_one(args: argparse.Namespace, folder: Path | None, words: Sequence[str]) -> dict[str, Any]:
    """Return the profile of one student, measured in this process."""
    from odkd.commands.profile.measure import measure
    from odkd.commands.profile.plans import plan_of, with_real_time

    cfg = _config(args, folder, words)
    return with_real_time(measure(cfg, args.seconds), plan_of(cfg, args.rate, folder))


def _config(args: argparse.Namespace, folder: Path | None, words: Sequence[str]) -> DictConfig:
    from odkd.commands.profile.configs import config_of_run, config_of_words

    if folder is not None:
        return config_of_run(folder, args.device or "auto", args.allow_targets)
    device = [f"device={args.device}"] if args.device else []
    return config_of_words([*words, *device], args.config_dir, args.allow_targets)


def keep(folder: Path, profile: dict[str, Any]) -> None:
    """Write the profile of a run into its folder."""
    from odkd.runs.profiles import write_profile
    from odkd.runs.run_file import read_record

    record = read_record(folder) if (folder / "run.json").is_file() else {}
    path = write_profile(folder, profile | {"run": record.get("key")})
    say(f"kept in {path}", file=sys.stderr)


def profile_runs(args: argparse.Namespace, runs: Sequence[Path]) -> int:
    """Profile several runs, those with equal students once; each in a process, so that none disturbs another."""
    from odkd.commands.profile.configs import digest_of
    from odkd.commands.profile.plans import plan_of, with_real_time

    groups: dict[str, list[Path]] = {}
    configs, profiles, failed = {}, list[dict[str, Any]](), 0
    for folder in runs:
        try:
            configs[folder] = _config(args, folder, [])
        except ValueError as error:
            failed += _failed(str(folder), str(error))
            continue
        groups.setdefault(digest_of(configs[folder]), []).append(folder)
    for number, folders in enumerate(groups.values(), 1):
        say(f"{folders[0]} ({number} of {counted(len(groups), 'student')})", file=sys.stderr)
        found, message = _in_process(args, [str(folders[0])])
        if found is None:
            failed += _failed(str(folders[0]), message)
            continue
        for folder in folders:
            try:
                profiles.append(with_real_time(found, plan_of(configs[folder], args.rate, folder)))
                keep(folder, profiles[-1])
            except ValueError as error:  # its lines or its run.json are damaged
                failed += _failed(str(folder), str(error))
    print_table(args, profiles)
    return 1 if failed else 0


def profile_all(args: argparse.Namespace, words: Sequence[str]) -> int:
    """Profile every student that there is; one that cannot be built, or fails, is a line."""
    from odkd.config.known import known_groups

    names = sorted(known_groups(args.config_dir)["student"])
    profiles, failed = list[dict[str, Any]](), 0
    for number, name in enumerate(names, 1):
        say(f"student={name} ({number} of {len(names)})", file=sys.stderr)
        found, message = _in_process(args, [f"student={name}", *words])
        if found is None:
            failed += _failed(f"student={name}", message)
        else:
            profiles.append(found)
    print_table(args, profiles)
    return 1 if failed else 0


def _failed(what: str, message: str) -> int:
    say(f"odkd-profile: {what}: {message}", file=sys.stderr)
    return 1


def _in_process(args: argparse.Namespace, subjects: Sequence[str]) -> tuple[dict[str, Any] | None, str]:
    """Return the profile that this command prints in a new process; None and its message if it fails."""
    options = ["--json", "--seconds", str(args.seconds)]
    for name in ("rate", "device", "config_dir"):
        if (value := getattr(args, name)) is not None:
            options += [f"--{name.replace('_', '-')}", str(value)]
    own = ["--allow-targets", *args.allow_targets] if args.allow_targets else []
    command = [sys.executable, "-m", "odkd.commands.profile", *subjects, *options, *own]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        found: dict[str, Any] = json.loads(done.stdout)
        return found, ""
    if done.returncode < 0:
        return None, f"its process was ended by signal {-done.returncode}, as if the memory were full"
    last = (done.stderr.strip().splitlines() or ["it failed without a word"])[-1]
    return None, last.removeprefix("odkd-profile: ")


def print_table(args: argparse.Namespace, profiles: Sequence[dict[str, Any]]) -> None:
    """Print profiles as a table, or as a JSON list."""
    from odkd.commands.profile.show import table_of

    if args.json:
        say(json.dumps(list(profiles), indent=1))
    elif profiles:
        say(table_of(profiles))
