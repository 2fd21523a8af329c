"""Console script `odkd-predict`: run a student, an exported network or a teacher on videos, pictures and streams."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from odkd.common.arguments import Arguments, add_version
from odkd.common.console import log_to_console, say
from odkd.common.ending import one_line
from odkd.common.names import counted
from odkd.common.progress import Progress

if TYPE_CHECKING:
    import numpy as np

    from odkd.commands.predict.models import Model
    from odkd.commands.predict.outputs import Wanted
    from odkd.commands.predict.sources import Sources

DESCRIPTION = """\
Give each pixel of videos or pictures a class, by the student of a run, an exported network or a teacher.

  odkd-predict outputs/runs/NAME-KEY drive.mp4 --to predicted           predicted/drive.mp4: the classes over the video
  odkd-predict outputs/runs/NAME-KEY 'photos/*.jpg' --to predicted --write overlay ids
  odkd-predict teacher=exported drive.mp4 --to predicted teacher.file=network.onnx
  odkd-predict outputs/runs/NAME-KEY camera:0 --to predicted --seconds 60

The same command goes on after a kill, and does nothing twice. Class ids of videos (--write ids) can teach a student:
odkd teacher=folder teacher.folder=predicted/ids ...
"""
KINDS = ("overlay", "ids", "palette")


def main(arguments: Sequence[str] | None = None) -> None:
    """Predict; a mistake becomes one message and exit code 2, a failed read or write exit code 1."""
    parser = Arguments(
        prog="odkd-predict", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_version(parser)
    parser.add_argument("model", help="a run's folder, a .safetensors in it, an exported .onnx or .pt, or teacher=NAME")
    parser.add_argument("source", help="a video, a picture, a folder, a pattern in quotes, an address, or camera:0")
    parser.add_argument("settings", nargs="*", help="of a teacher, such as teacher.checkpoint=FILE")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="where everything goes")
    overlay, ids = "overlay: the classes over the picture", "ids: PNG of class ids"
    described = f"{overlay}; {ids}; palette: PNG in the classes' colours (default: overlay)"
    parser.add_argument("--write", nargs="+", choices=KINDS, default=["overlay"], help=described)
    parser.add_argument(
        "--truth", type=Path, metavar="FOLDER", help="class ids named as --write ids does: print scores"
    )
    parser.add_argument("--student", metavar="NAME", help="of a run, as in its metrics (default: the last one)")
    parser.add_argument("--seconds", type=float, help="of a stream, after which it ends (default: Ctrl-C)")
    parser.add_argument("--device", default="auto", help="auto, cpu, cuda, ... (default: auto)")
    own = "that your own student or teacher is in"
    parser.add_argument("--allow-targets", nargs="+", default=[], metavar="PACKAGE", help=own)
    args = parser.parse_intermixed_args(arguments)
    log_to_console()
    with one_line("odkd-predict"):
        run(args)


def run(args: argparse.Namespace) -> None:
    """Predict what the command line asks for.

    Raises:
        ValueError: a mistake in it.
    """
    from odkd.commands.predict.live import predict_live
    from odkd.commands.predict.models import open_model
    from odkd.commands.predict.outputs import Wanted
    from odkd.commands.predict.sources import find_sources, is_live

    if args.truth is not None and not args.truth.is_dir():
        raise ValueError(f"--truth {args.truth}: no such folder; expected one with class ids as PNG")
    sources = None if is_live(args.source) else find_sources(args.source)
    model = open_model(
        args.model, args.settings, device=args.device, student=args.student, allow_targets=args.allow_targets
    )
    wanted = Wanted(args.to, args.write, args.truth)
    if sources is not None:
        _predict_files(model, sources, wanted)
        return
    with Progress("predicted", "frames") as bar:
        num_done, num_dropped = predict_live(model, args.source, wanted, seconds=args.seconds, progress=bar.advance)
    say(f"{args.to}: {counted(num_done, 'frame')} of {args.source}, {num_dropped} dropped")


def _predict_files(model: Model, sources: Sources, wanted: Wanted) -> None:
    import numpy as np

    from odkd.commands.predict.models import CACHE
    from odkd.commands.predict.pictures import predict_pictures
    from odkd.commands.predict.video import predict_video
    from odkd.data.video.index import index_video

    confusion_KK, num_scored = np.zeros((len(model.classes),) * 2, np.int64), 0
    for name, path in sources.videos:
        index = index_video(path, CACHE)
        with Progress(f"predicted {name}", "frames", index.num_frames) as bar:
            result = predict_video(model, index, name, wanted, bar)
        confusion_KK, num_scored = confusion_KK + result.confusion_KK, num_scored + result.num_scored
        damaged = f", {result.num_damaged} damaged and left out" if result.num_damaged else ""
        say(f"{_shown(wanted, name, '.mp4')}: {counted(index.num_frames, 'frame')}{damaged}")
    if sources.pictures:
        with Progress("predicted", "pictures", len(sources.pictures)) as bar:
            counted_KK, num, unreadable = predict_pictures(model, sources.pictures, wanted, bar.advance)
        confusion_KK, num_scored = confusion_KK + counted_KK, num_scored + num
        for path in unreadable:
            say(f"left out: {path} is no picture that can be read", file=sys.stderr)
        say(f"{wanted.folder}: {counted(len(sources.pictures) - len(unreadable), 'picture')}")
    if wanted.truth is not None:
        _print_scores(confusion_KK, num_scored, model.classes, wanted)


def _shown(wanted: Wanted, name: str, ending: str) -> Path:
    """Return the path that is most worth a look."""
    return wanted.folder / (f"{name}{ending}" if "overlay" in wanted.kinds else f"{wanted.kinds[0]}/{name}")


def _print_scores(confusion_KK: np.ndarray, num_scored: int, classes: Sequence[str], wanted: Wanted) -> None:
    from odkd.commands.predict.outputs import scores_of
    from odkd.common.files import write_json

    if not num_scored:
        raise ValueError(f"--truth {wanted.truth} has no file of these names, such as NAME/000000.png for a video")
    scores = scores_of(confusion_KK, num_scored, classes)
    write_json(wanted.folder / "scores.json", scores)
    say(f"{counted(num_scored, 'scored frame')}: mIoU {scores['miou']:.4f}, pixel accuracy {scores['accuracy']:.4f}")
    for name, iou in scores["iou"].items():
        say(f"  {name:<20} {'-' if iou is None else f'{iou:.4f}'}")


if __name__ == "__main__":
    main()
