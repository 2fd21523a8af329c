"""`make gpu`: does odkd do on a GPU what it promises? No network, at most 8 minutes; without a GPU, a dry run.

    python scripts/gpu_check.py                       all parts, within 8 minutes
    python scripts/gpu_check.py repeat speed          some parts
    python scripts/gpu_check.py --minutes 4           less time: what does not fit is skipped, by name
    python scripts/gpu_check.py --device cpu          a dry run, also where there is a GPU

A machine without a network gets what it lacks as wheels, docs/gpu.md:

    python scripts/gpu_check.py --wheels FOLDER --there NAMES.txt   with a network: a folder of what is missing there
    python scripts/gpu_check.py --install FOLDER                    there: into build/gpu-venv; then the check

It writes gpu.json and gpu.md into build/gpu, and ends with exit code 1 if a figure is missed; the figure is named.
"""

import argparse
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "scripts"), str(ROOT)]

from gpu.plan import NAMES, PARTS  # noqa: E402
from gpu.report import Outcome, complaints, write_report  # noqa: E402
from gpu.result import Cell  # noqa: E402
from gpu.run_parts import Job, run_parts  # noqa: E402
from gpu.wheels import install, make_folder  # noqa: E402

PATIENCE_ON_CPU = 4.0  # other processes may share it, and a dry run is not about time
NEEDED = {"hydra": "hydra-core", "omegaconf": "omegaconf", "av": "av", "numcodecs": "numcodecs", "pydantic": "pydantic"}
NEEDED |= {"segmentation_models_pytorch": "segmentation-models-pytorch", "timm": "timm", "pytest": "pytest"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Do what the command line says; return the exit code."""
    parser = _parser()
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.parts) - set(NAMES):
        parser.error(f"unknown part {', '.join(sorted(unknown))}; expected {', '.join(NAMES)}")
    if chosen.wheels is not None:
        return make_folder(chosen.wheels, chosen.there, python=chosen.python)
    if chosen.install is not None:
        python = install(chosen.install, ROOT / "build" / "gpu-venv")
        rest = [
            *chosen.parts,
            f"--minutes={chosen.minutes}",
            f"--device={chosen.device}",
            f"--outputs={chosen.outputs}",
        ]
        return subprocess.run([python, __file__, *rest], check=False).returncode
    if missing := [package for name, package in NEEDED.items() if find_spec(name) is None]:
        parser.error(f"{', '.join(missing)} not installed: make install, or --wheels and --install (docs/gpu.md)")
    return check(chosen.parts or NAMES, chosen.device, minutes=chosen.minutes, outputs=chosen.outputs.absolute())


def check(names: Sequence[str], device: str, *, minutes: float, outputs: Path) -> int:
    """Run the parts, print and write how they ended; return 1 if one failed or missed a figure."""
    started, about = time.monotonic(), describe(device)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that the parts end, too
    device = str(about["device"])
    is_dry = not device.startswith("cuda")
    print("; ".join(f"{name} {value}" for name, value in about.items()), flush=True)
    if is_dry:
        print("no GPU: a dry run on the CPU. It shows that each part works; no time means anything", flush=True)
    told: list[str] = []

    def tell(outcomes: Sequence[Outcome]) -> None:
        order = {part.name: number for number, part in enumerate(PARTS)}
        write_report(outputs, about, sorted(outcomes, key=lambda o: order[o.name]), is_dry=is_dry)
        for outcome in outcomes:
            if outcome.name not in told:
                told.append(outcome.name)
                reason = f": {outcome.reason}" if outcome.reason else ""
                print(f"{outcome.name:<10} {outcome.status:<8} {outcome.seconds:5.0f} s{reason}", flush=True)

    job = Job(device, outputs, patience=PATIENCE_ON_CPU if is_dry else 1.0)
    outcomes = run_parts(names, job, seconds=60 * minutes - (time.monotonic() - started), tell=tell)
    lines = complaints(outcomes)
    for line in lines:
        print(f"NOT AS IT MUST BE  {line}")
    skipped = [outcome.name for outcome in outcomes if outcome.status == "skipped"]
    kind = "dry run on the CPU" if is_dry else "GPU check"
    verdict = f"failed, {len(lines)} complaint{'s' * (len(lines) > 1)}" if lines else "passed"
    without = f"; NOT RUN: {', '.join(skipped)}" if skipped else ""
    print(f"{kind} {verdict}{without}; {time.monotonic() - started:.0f} s; {outputs / 'gpu.md'}")
    return int(bool(lines))


def describe(device: str) -> dict[str, Cell]:
    """Return what is checked: device, its name, versions."""
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    found: dict[str, Cell] = {"device": device}
    if device.startswith("cuda"):
        found["GPU"] = torch.cuda.get_device_name(device)
        found["CUDA"] = str(torch.version.cuda)
    found |= {"Python": sys.version.split()[0], "torch": torch.__version__}
    for package in ("numpy", "av", "segmentation-models-pytorch", "timm"):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(NAMES)}; default: all")
    parser.add_argument("--minutes", type=float, default=8.0, help="of all parts together; default: 8")
    parser.add_argument("--device", default="auto", help="auto, cuda, cuda:1, cpu; default: auto")
    parser.add_argument("--outputs", type=Path, default=ROOT / "build" / "gpu", help="default: build/gpu")
    parser.add_argument(
        "--wheels", type=Path, metavar="FOLDER", help="make a folder of wheels for a machine without network"
    )
    parser.add_argument(
        "--there", type=Path, metavar="NAMES.txt", help="packages installed there: pip list --format=freeze"
    )
    parser.add_argument("--python", default="3.12", help="version of Python there; default: 3.12")
    parser.add_argument("--install", type=Path, metavar="FOLDER", help="install these wheels, then check")
    return parser


if __name__ == "__main__":
    sys.exit(main())
