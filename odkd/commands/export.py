"""Console script `odkd-export`: write a run's student as ONNX, torch.export program or TorchScript, and compare it."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from odkd.common.console import log_to_console
from odkd.common.ending import one_line
from odkd.common.progress import tracked
from odkd.common.version import add_version

if TYPE_CHECKING:
    import numpy as np

    from odkd.config.segmenter import Segmenter

DESCRIPTION = """\
Write the student of a run as a file that needs no odkd, and compare its answers with the student's on real frames.

  odkd-export outputs/runs/NAME-KEY --to onnx                 outputs/runs/NAME-KEY/exported/student.onnx
  odkd-export outputs/runs/NAME-KEY --to onnx --preprocess inside --frames drive.mp4

The file is removed again if more pixels than --bound get another class than from float32 PyTorch. It works as a
teacher: odkd teacher=exported teacher.file=student.onnx
"""
KINDS = ("onnx", "pt2", "torchscript")
BOUND = 0.001


def main(arguments: Sequence[str] | None = None) -> None:
    """Export; a mistake becomes one message and exit code 2, a file that differs too much exit code 1."""
    parser = argparse.ArgumentParser(
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
    parser.add_argument("--num-frames", type=int, default=16, help="to compare on (default: 16)")
    parser.add_argument("--bound", type=float, default=BOUND, help="largest share of pixels with another class")
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
    from odkd.common.files import write_json
    from odkd.config.segmenter import load_student
    from odkd.teachers.export import SUFFIXES, Export, write_export

    student = load_student(args.run, args.student, device="cpu", allow_targets=args.allow_targets)
    path = args.output or args.run / "exported" / f"{student.file.stem}{SUFFIXES[args.to]}"
    if path.suffix != SUFFIXES[args.to]:
        raise ValueError(f"--output {path}: a file --to {args.to} ends in {SUFFIXES[args.to]}")
    images_NHWC = read_frames(args.run, args.frames, args.num_frames, student.size)
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
    path.parent.mkdir(parents=True, exist_ok=True)
    write_export(export, path, args.to)
    parity = compare(export, path, images_NHWC)
    write_json(path.with_suffix(".parity.json"), parity)
    height, width = student.size
    batches = (
        "one image at a time (its batch norms use the batch)" if export.depends_on_batch else "batches of any length"
    )
    print(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {batches}, {height} x {width} pixels")
    print(
        f"on {parity['frames']} frames against float32 PyTorch: largest difference of logits "
        f"{parity['largest_difference']:.2g}, {parity['differing_pixels']:.4%} of the pixels get another class"
    )
    if parity["differing_pixels"] > args.bound:
        path.unlink()
        path.with_suffix(".yaml").unlink()
        print(f"odkd-export: that is more than --bound {args.bound:.2%}; {path} is removed", file=sys.stderr)
        return 1
    return 0


def facts_of(run: Path, student: Segmenter) -> dict[str, str]:
    """Return where the student comes from, for the file's metadata."""
    import json

    from odkd.common.version import version_text
    from odkd.runs.run_file import read_record

    record = read_record(run)
    return {
        "odkd": version_text().removeprefix("odkd "),
        "run": str(record.get("key", run.name)),
        "student": student.file.stem,
        "palette": json.dumps([list(colour) for colour in student.palette]),
    }


def read_frames(run: Path, source: str | None, num_frames: int, size: tuple[int, int]) -> np.ndarray:
    """Return frames at the student's size, uint8 [N, H, W, 3], evenly spread over the source.

    Raises:
        ValueError: there are none.
    """
    import numpy as np

    if source is None:
        return _frames_of_run(run, num_frames)
    from odkd.commands.predict.models import CACHE
    from odkd.commands.predict.sources import find_sources
    from odkd.data.video.decode import decode_frames
    from odkd.data.video.fit import stretched
    from odkd.data.video.image_index import read_picture
    from odkd.data.video.index import index_video

    found = find_sources(source)
    images = []
    for _, path in found.videos[:1]:
        index = index_video(path, CACHE)
        numbers = _spread(index.num_frames, num_frames)
        images += [image for _, image in decode_frames(index, numbers, size=size) if image is not None]
    for _, path in found.pictures[: num_frames - len(images)]:
        images.append(stretched(read_picture(path), size))
    if not images:
        raise ValueError(f"--frames {source}: no frame can be read")
    return np.stack(images)


def _spread(num_there: int, num_wanted: int) -> np.ndarray:
    """Return int64 [n], ascending: numbers evenly spread over 0 to num_there - 1."""
    import numpy as np

    return np.unique(np.linspace(0, num_there - 1, num_wanted).astype(np.int64))


def _frames_of_run(run: Path, num_frames: int) -> np.ndarray:
    from odkd.config.parts import Parts
    from odkd.config.schema import stored_config

    try:
        parts = Parts(stored_config(run))
        return parts.frames.read(_spread(len(parts.stream), num_frames).tolist())
    except (ValueError, OSError) as error:
        raise ValueError(f"the frames of {run} cannot be read ({error}); give others with --frames SOURCE") from error


def compare(export: Any, path: Path, images_NHWC: np.ndarray) -> dict[str, float]:
    """Return how far the file's answers are from those of the network in float32.

    Returns:
        frames; largest_difference of logits; differing_pixels, the share that gets another class.
    """
    import numpy as np
    import torch

    from odkd.teachers.exported_network import open_network

    run: Callable[[torch.Tensor], torch.Tensor] = open_network(path, torch.device("cpu"))
    described = export.description()
    scale = 1.0 if described.get("scale") == "0..255" else 255.0
    mean, std = (torch.tensor(described[name]).view(1, 3, 1, 1) for name in ("mean", "std"))
    network, largest, num_different, num_pixels = export.plain(), 0.0, 0, 0
    with torch.inference_mode():
        for image_HWC in tracked(images_NHWC, "compared", "frames"):
            image_BCHW = torch.from_numpy(np.ascontiguousarray(image_HWC)).permute(2, 0, 1)[None].float() / scale
            given_BCHW = ((image_BCHW - mean) / std).contiguous()
            expected_BKHW, answered_BKHW = network(given_BCHW), run(given_BCHW)
            largest = max(largest, float((expected_BKHW - answered_BKHW).abs().max()))
            different = expected_BKHW.argmax(1) != answered_BKHW.argmax(1)
            num_different, num_pixels = num_different + int(different.sum()), num_pixels + different.numel()
    return {
        "frames": len(images_NHWC),
        "largest_difference": largest,
        "differing_pixels": num_different / num_pixels,
    }


if __name__ == "__main__":
    main()
