"""Link videos that alternate in a stream (Houyon et al. 2023: downtown and highway) into a dataset folder.

The released notebook joins stretches of two videos into a third file. odkd alternates positions instead: the folder
contains the unchanged videos, and dataset.order defines how they alternate. Nothing is re-encoded, and a different
stretch length needs no new file.
"""

import argparse
import math
import os
import re
import shlex
import shutil
from fractions import Fraction
from pathlib import Path

import numpy as np

from odkd.common.console import say
from odkd.common.dotted import setting
from odkd.data.prepare.building import building, check_absent
from odkd.data.video.scan import scan_video


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this subcommand."""
    parser.add_argument("videos", nargs="+", type=Path, metavar="VIDEO", help="videos in stream order")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="dataset folder to create")
    parser.add_argument("--periods", type=int, default=4, help="turns of each video (%(default)s)")
    parser.add_argument("--sequence-minutes", type=float, default=20.0, help="minutes per stretch (%(default)g)")
    parser.add_argument(
        "--skip-minutes",
        type=float,
        nargs="+",
        metavar="MINUTES",
        help="minutes skipped at the start of each video, one number per video; default 0.5 for the first, else 0",
    )
    parser.add_argument(
        "--sample-seconds", type=float, default=3.0, help="seconds between labelled frames (%(default)g)"
    )
    parser.add_argument("--copy", action="store_true", help="copy the files instead of linking them")


def run(arguments: argparse.Namespace) -> None:
    """Check the videos, link them, print the odkd command."""
    videos: list[Path] = arguments.videos
    skips: list[float] = arguments.skip_minutes or [0.5] + [0.0] * (len(videos) - 1)
    folder: Path = arguments.to
    if len(videos) < 2:
        raise ValueError(f"got {len(videos)} video; expected two or more to alternate")
    if len(skips) != len(videos) or min(skips) < 0:
        raise ValueError(
            f"--skip-minutes has {len(skips)} numbers for {len(videos)} videos; expected one per video, at least 0"
        )
    numbers = (arguments.periods, arguments.sequence_minutes, arguments.sample_seconds)
    if not all(0 < number < math.inf for number in numbers) or not all(map(math.isfinite, skips)):
        raise ValueError("--periods, --sequence-minutes and --sample-seconds must be above 0, and all times finite")
    if missing := [path for path in videos if not path.is_file()]:
        raise ValueError(f"{missing[0]}: no such file")
    check_absent(folder)
    frames_per_second = [check_length(path, skip, arguments) for path, skip in zip(videos, skips, strict=True)]
    digits = len(str(len(videos)))
    plain = [re.sub(r"[^\w.-]", "_", path.name) for path in videos]  # names that Hydra accepts unquoted
    names = [f"{number:0{digits}d}-{name}" for number, name in enumerate(plain, 1)]
    with building(folder, {"videos": [str(path.resolve()) for path in videos], "copy": arguments.copy}) as made:
        (made / "videos").mkdir(exist_ok=True)
        for path, name in zip(videos, names, strict=True):
            place(path, made / "videos" / name, copy=arguments.copy)
    say(f"created {folder} from {', '.join(names)}; use it with\n")
    say(command(arguments, names, skips, frames_per_second))


def check_length(path: Path, skip: float, arguments: argparse.Namespace) -> float:
    """Return the frames per second of a video; check that it is long enough for the sampling and the order.

    Raises:
        ValueError: the video is too short, or cannot be read.
    """
    facts = scan_video(path)
    seconds = np.asarray(facts["pts"]) * float(Fraction(facts["time_base"]))
    if len(seconds) < 2:
        raise ValueError(f"{path} has fewer than two frames; expected a video")
    gap = float(np.median(np.diff(seconds)))
    if not 0 < gap < math.inf:
        raise ValueError(f"{path}: its frames have no usable timestamps; convert it to .mp4 or .mkv")
    stride = max(1, round(arguments.sample_seconds / gap))
    num_sampled = len(seconds) // stride
    length = max(1, round(arguments.sequence_minutes * 60 / (stride * gap)))
    num_skipped = math.ceil(skip * 60 / (stride * gap) - 1e-6)
    if num_sampled < num_skipped + arguments.periods * length:
        minutes = num_sampled * stride * gap / 60
        raise ValueError(
            f"{path} has {minutes:.1f} minutes; {arguments.periods} stretches of {arguments.sequence_minutes:g} "
            f"minutes after {skip:g} skipped minutes need {skip + arguments.periods * arguments.sequence_minutes:g}; "
            "lower --periods or --sequence-minutes"
        )
    return 1 / gap


def place(path: Path, target: Path, *, copy: bool) -> None:
    """Create a hard link, a symbolic link where that fails (another disk), or a copy if `copy`."""
    target.unlink(missing_ok=True)  # left by a killed process
    if copy:
        shutil.copyfile(path, target)
        return
    try:
        os.link(path.resolve(), target)
    except OSError:
        target.symlink_to(path.resolve())


def command(arguments: argparse.Namespace, names: list[str], skips: list[float], frames_per_second: list[float]) -> str:
    """Return the odkd command that uses this folder."""
    stems = [Path(name).stem for name in names]
    sample_seconds: float = arguments.sample_seconds
    strides = {max(1, round(rate * sample_seconds)) for rate in frames_per_second}
    is_as_published = len(stems) == 2 and "downtown" in stems[0] and "highway" in stems[1]
    skipped = {stem: skip for stem, skip in zip(stems, skips, strict=True) if skip}
    settings = [
        f"dataset={'highway_downtown' if is_as_published else 'videos'}",
        setting("dataset.root", str(arguments.to)),
        f"dataset.stride={strides.pop()}" if len(strides) == 1 else f"dataset.stride_seconds={sample_seconds:g}",
        "dataset.order.kind=alternate",
        "dataset.order.by=video",
        f"dataset.order.periods={arguments.periods}",
        f"dataset.order.sequence_minutes={arguments.sequence_minutes:g}",
    ]
    if is_as_published and skipped != {stems[0]: 0.5}:
        settings.append("~dataset.order.skip_minutes")
    if skipped and not (is_as_published and skipped == {stems[0]: 0.5}):
        settings.append(setting("+dataset.order.skip_minutes", skipped))
    if not is_as_published:
        settings.append(setting("+dataset.domains", {stem: stem.partition("-")[2] for stem in stems}))
    lines = [settings[:3], settings[3:7], *([word] for word in settings[7:])]
    typed = [*map(shlex.join, lines), "window=houyon2023 teacher=segformer"]
    return "odkd " + " \\\n    ".join(typed)
