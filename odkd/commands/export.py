"""Console script `odkd-export`: write a run's student as ONNX, torch.export program or TorchScript, and compare it."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from odkd.common.arguments import Arguments, add_version, version_text
from odkd.common.console import log_to_console, say
from odkd.common.ending import one_line

if TYPE_CHECKING:
    from odkd.config.segmenter import Segmenter

DESCRIPTION = """\
Write the student of a run as a file that needs no odkd, and compare its answers with the student's on real frames.

  odkd-export outputs/runs/NAME-KEY --to onnx                 outputs/runs/NAME-KEY/exported/student.onnx
  odkd-export outputs/runs/NAME-KEY --to onnx --preprocess inside --frames drive.mp4
  odkd-export outputs/runs/NAME-KEY --to onnx --int8          outputs/runs/NAME-KEY/exported/student.int8.onnx

The file is removed again if more pixels than --bound get another class than from float32 PyTorch; in int8, if it loses
more mIoU than --bound against the labels of the run. It works as a teacher:
odkd teacher=exported teacher.file=student.onnx
"""
KINDS = ("onnx", "pt2", "torchscript")
BOUND, INT8_BOUND = 0.001, 0.02
NUM_FRAMES, INT8_FRAMES = 16, 64


def main(arguments: Sequence[str] | None = None) -> None:
    """Export; a mistake becomes one message and exit code 2, a file that differs too much exit code 1."""
    parser = Arguments(
        prog="odkd-export", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_version(parser)
    parser.add_argument("run", type=Path, help="a run's folder, such as outputs/runs/NAME-KEY")
    parser.add_argument("--to", choices=KINDS, required=True, help="ONNX, a program of torch.export, or TorchScript")
    parser.add_argument("--output", type=Path, metavar="FILE", help="default: RUN/exported/STUDENT and the ending")
    parser.add_argument("--student", metavar="NAME", help="as in the run's metrics (default: the last one)")
    inside = "who subtracts mean and divides by std: the caller (outside, default), or the file, which takes 0 to 255"
    parser.add_argument("--preprocess", choices=("outside", "inside"), default="outside", help=inside)
    parser.add_argument("--frames", metavar="SOURCE", help="to compare on: video, pictures (default: those of the run)")
    frames = f"to compare on (default: {NUM_FRAMES}; in int8 {INT8_FRAMES}, and as many others to calibrate on)"
    parser.add_argument("--num-frames", type=int, metavar="N", help=frames)
    bound = f"largest share of pixels with another class (default: {BOUND}); in int8, of lost mIoU ({INT8_BOUND})"
    parser.add_argument("--bound", type=float, help=bound)
    parser.add_argument("--int8", action="store_true", help="of --to onnx: static quantisation, calibrated on frames")
    own = "that your own student is in"
    parser.add_argument("--allow-targets", nargs="+", default=[], metavar="PACKAGE", help=own)
    args = parser.parse_args(arguments)
    log_to_console(logging.WARNING)
    with one_line("odkd-export"):
        sys.exit(run(args))


def run(args: argparse.Namespace) -> int:
    """Export and compare; return the exit code.

    Raises:
        ValueError: a mistake in the command.
    """
    from odkd.commands.export_beside import check_replaced
    from odkd.commands.export_frames import read_calibration, read_frames
    from odkd.commands.export_parity import compare, given
    from odkd.common.files import write_json
    from odkd.config.segmenter import load_student
    from odkd.teachers.export import SUFFIXES, Export, write_export
    from odkd.teachers.export_int8 import write_int8

    if args.int8 and args.to != "onnx":
        raise ValueError(f"--int8 is of --to onnx; --to {args.to} has float32 alone: leave one of them out")
    num_frames = (INT8_FRAMES if args.int8 else NUM_FRAMES) if args.num_frames is None else args.num_frames
    if num_frames < 1:
        raise ValueError(f"--num-frames {num_frames}; expected 1 or more")
    if args.bound is not None and not 0 <= args.bound <= 1:
        raise ValueError(f"--bound {args.bound}; expected a share, from 0 to 1")
    student = load_student(args.run, args.student, device="cpu", allow_targets=args.allow_targets)
    suffix = SUFFIXES[args.to]
    path = args.output or place_in(args.run, f"{student.file.stem}{'.int8' if args.int8 else ''}{suffix}")
    if path.suffix != suffix:
        raise ValueError(f"--output {path}: a file --to {args.to} ends in {suffix}")
    if args.output:
        check_replaced(path)
    normalization = student.normalization
    export = Export(
        student.network,
        student.classes,
        list(normalization.mean or [0.0] * 3),
        list(normalization.std or [1.0] * 3),
        student.size,
        facts_of(args.run, student),
        takes_pixels=args.preprocess == "inside",
    )
    if args.int8:
        calibration_NHWC, frames = read_calibration(args.run, args.frames, num_frames, student.size, args.allow_targets)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_int8(export, path, given(export, calibration_NHWC))
    else:
        frames = read_frames(args.run, args.frames, num_frames, student.size, args.allow_targets)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_export(export, path, args.to)
    parity = compare(export, path, frames, with_miou=args.int8)
    write_json(path.with_suffix(".parity.json"), parity)
    height, width = student.size
    batches = (
        "one image at a time (its batch norms use the batch)" if export.depends_on_batch else "batches of any length"
    )
    say(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {batches}, {height} x {width} pixels")
    if too_far := tell(parity, args.bound):
        path.unlink()
        path.with_suffix(".yaml").unlink()
        say(f"odkd-export: {too_far}; {path} is removed", file=sys.stderr)
        return 1
    return 0


def tell(parity: Mapping[str, Any], bound: float | None) -> str:
    """Print how far a file is from the network; return what is beyond the bound, if anything is.

    Args:
        parity: of `compare`.
        bound: as in the command; None = the usual one.
    """
    from odkd.commands.export_parity import ITSELF, lost_miou

    say(
        f"on {parity['frames']} frames against float32 PyTorch: largest difference of logits "
        f"{parity['largest_difference']:.2g}, {parity['differing_pixels']:.4%} of the pixels get another class"
    )
    if "miou" not in parity:
        bound = BOUND if bound is None else bound
        return f"that is more than --bound {bound:.2%}" if parity["differing_pixels"] > bound else ""
    bound, lost = INT8_BOUND if bound is None else bound, lost_miou(parity)
    for reference, (before, after) in parity["miou"].items():
        against = f"against {reference}" if reference != ITSELF else "against its own classes in float32 (no labels)"
        say(f"mIoU {against}: {before:.4f} in float32, {after:.4f} in int8: {-100 * lost[reference]:+.2f} points")
    most = max(lost, key=lambda name: lost[name])
    return f"{100 * lost[most]:.2f} points of mIoU are more than --bound {bound}" if lost[most] > bound else ""


def place_in(run: Path, name: str) -> Path:
    """Return where a file of a run goes, RUN/exported/NAME, which must not lead out of the run's folder.

    Raises:
        ValueError: the folder, or a file that is written beside NAME, is a link.
    """
    from odkd.common.files import check_own

    path = run / "exported" / name
    try:
        for suffix in (path.suffix, ".yaml", ".parity.json"):
            check_own(run, path.with_suffix(suffix))
    except ValueError as error:
        raise ValueError(f"{error}, or name a file with --output") from error
    return path


def facts_of(run: Path, student: Segmenter) -> dict[str, str]:
    """Return where the student comes from, for the file's metadata."""
    import json

    from odkd.runs.run_file import read_record

    record = read_record(run)
    return {
        "odkd": version_text().removeprefix("odkd "),
        "run": str(record.get("key", run.name)),
        "student": student.file.stem,
        "palette": json.dumps([list(colour) for colour in student.palette]),
    }


if __name__ == "__main__":
    main()
