"""Run the default tests with the lowest, newest or published releases of the libraries, in a separate environment.

    python scripts/test_versions.py lowest                    # the oldest releases that pyproject.toml allows
    python scripts/test_versions.py newest --python python3.13
    python scripts/test_versions.py newest --pin 'torch==2.11.*' --pin 'torchvision==0.26.*' --python python3.12
    python scripts/test_versions.py lowest --sample           # the files in SAMPLE alone: minutes
    python scripts/test_versions.py lowest -- tests/data -x   # words for pytest

The environment lies in build/versions/; a change of pyproject.toml or of a pin makes another. The last line names the
releases.
"""

import argparse
import hashlib
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
# mmseg needs numpy 2, and documents and lint are not what a release of a library breaks.
EXTRAS = {
    "lowest": ["imagenet", "transformers", "onnx", "optuna", "slurm", "ray", "dashboard", "test"],
    "newest": ["imagenet", "mmseg", "transformers", "onnx", "optuna", "slurm", "ray", "dashboard", "test"],
}
TOOLS = ("docs", "test", "dev")  # extras of development; their newest releases test everything
OF_DEV = ("onnx", "scikit-learn", "zarr")  # what single tests need beside the extras
# One file a library, the loops, and the files that every run writes.
SAMPLE = [
    "tests/data/video/test_video_decode.py",
    "tests/data/labels/test_label_store.py",
    "tests/training/test_learn.py",
    "tests/evaluation/test_metrics.py",
    "tests/students/test_tinynet.py",
    "tests/common/test_isolation.py",
    "tests/stages/test_online.py",
]
SHOWN = [
    "torch",
    "torchvision",
    "numpy",
    "hydra-core",
    "omegaconf",
    "av",
    "pillow",
    "mlflow-skinny",
    "mlflow",
    "pydantic",
    "segmentation-models-pytorch",
    "timm",
    "transformers",
    "onedl-mmsegmentation",
    "optuna",
    "onnxruntime",
    "submitit",
    "ray",
]


def lower_bounds(project: dict[str, Any]) -> list[str]:
    """Return `name==version` for each requirement of odkd and its extras that has a lower bound; tools have none."""
    extras = {name: lines for name, lines in project["optional-dependencies"].items() if name not in TOOLS}
    requirements = [*project["dependencies"], *(line for lines in extras.values() for line in lines)]
    found = [re.match(r"([A-Za-z0-9_.-]+)>=([0-9.]+)", line) for line in requirements]
    return [f"{match[1]}=={match[2]}" for match in found if match]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("set", choices=("lowest", "newest", "published"))
    parser.add_argument("--python", default=sys.executable, help="interpreter of the environment")
    parser.add_argument("--pin", action="append", default=[], help="a release to hold, such as 'torch==2.11.*'")
    parser.add_argument("--base", action="store_true", help="odkd and what its tests need, without the other extras")
    parser.add_argument("--sample", action="store_true", help="run a sample of the tests, not all")
    split = sys.argv.index("--") if "--" in sys.argv else len(sys.argv)
    args, words = parser.parse_args(sys.argv[1:split]), sys.argv[split + 1 :]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    python = environment(args, project)
    tests = words or (SAMPLE if args.sample else [])
    quiet = ["-W", "ignore::DeprecationWarning"] if args.set == "lowest" else []  # by new dependencies of old releases
    command = [str(python), "-m", "pytest", "-n", "2", "--dist", "loadfile", "-p", "no:cacheprovider", *quiet, *tests]
    code = subprocess.run(command, cwd=ROOT, check=False).returncode
    print(f"{args.set}: {versions(python)}")
    return code


def environment(args: argparse.Namespace, project: dict[str, Any]) -> Path:
    """Make the environment of a set if it is not there yet; return its interpreter."""
    extras = ["test"] if args.base else EXTRAS["lowest" if args.set == "lowest" else "newest"]
    beside = [] if args.base else [line for line in project["optional-dependencies"]["dev"] if line.startswith(OF_DEV)]
    pins = list(args.pin)
    if args.set == "lowest":
        pins += [bound for bound in lower_bounds(project) if not bound.startswith(pinned_names(args.pin))]
    elif args.set == "published":
        pins += (ROOT / "constraints.txt").read_text().splitlines()
    key = hashlib.sha256(repr([project, pins, extras, beside, args.python]).encode()).hexdigest()[:8]
    folder = ROOT / "build" / "versions" / f"{args.set}-{key}"
    python, done = folder / "bin" / "python", folder / "installed"
    if not done.exists():
        subprocess.run([args.python, "-m", "venv", "--clear", folder], check=True)
        (folder / "constraints.txt").write_text("\n".join(pins) + "\n")
        install: list[str | Path] = [python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        wanted = ["--editable", f"{ROOT}[{','.join(extras)}]", *beside]
        subprocess.run([*install, "--constraint", folder / "constraints.txt", *wanted], check=True)
        done.touch()
    return python


def pinned_names(pins: list[str]) -> tuple[str, ...]:
    return tuple(pin.split("==")[0] + "==" for pin in pins)


def versions(python: Path) -> str:
    """Return Python's version and those of the libraries of an environment, in one line."""
    code = (
        "import importlib.metadata as m, platform\n"
        "have = {d.name.lower().replace('_', '-'): d.version for d in m.distributions()}\n"
        f"found = [f'{{name}} {{have[name]}}' for name in {SHOWN} if name in have]\n"
        "print('Python ' + platform.python_version(), *found, sep=', ')"
    )
    return subprocess.run([python, "-c", code], check=True, capture_output=True, text=True).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
