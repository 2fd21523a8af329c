"""Execute the steps of the Dockerfile in a temporary folder, where no daemon is at hand, and then the image's program.

python scripts/docker_steps.py                                  (minutes: it installs odkd and its libraries anew)
python scripts/docker_steps.py --here --run debug=smoke         (with the libraries that this Python has)

A folder stands for the image's file system and a virtual environment for its Python. ARG, ENV, WORKDIR, COPY and RUN do
what they do in a build, --build-arg sets arguments; ENTRYPOINT and CMD are run at the end. Others are refused.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import venv
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CACHES = shutil.ignore_patterns("__pycache__")  # .dockerignore leaves them out


def instructions(text: str) -> Iterator[tuple[str, str]]:
    """Yield (name, rest) of each instruction of a Dockerfile; lines that end with a backslash are joined.

    >>> list(instructions("# hello\\nARG A=1\\nRUN one \\\\\\n    two\\n"))
    [('ARG', 'A=1'), ('RUN', 'one      two')]
    """
    lines = [line for line in text.splitlines() if line.strip() and not line.lstrip().startswith("#")]
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, rest = line.strip().partition(" ")
        yield name.upper(), rest.strip()


@dataclass
class Image:
    """A folder that stands for an image's file system.

    Args:
        root: the folder.
        context: what COPY copies from.
        given: build arguments of the command.
        environment: of all steps.
    """

    root: Path
    context: Path
    given: Mapping[str, str]
    environment: dict[str, str]
    arguments: dict[str, str] = field(default_factory=dict)
    folder: str = "/"
    program: dict[str, list[str]] = field(default_factory=dict)

    def build(self, text: str) -> None:
        """Execute all instructions of a Dockerfile.

        Raises:
            ValueError: an instruction that cannot be executed here, or a build argument that it does not have.
            subprocess.CalledProcessError: a step has failed.
        """
        known = {rest.partition("=")[0] for name, rest in instructions(text) if name == "ARG"}
        if unknown := sorted(set(self.given) - known):
            raise ValueError(f"--build-arg {unknown[0]}: the Dockerfile has {', '.join(sorted(known))}")
        for name, rest in instructions(text):
            print(f"{name} {rest}", flush=True)
            if name == "ARG":
                key, _, default = rest.partition("=")
                self.arguments[key] = self.given.get(key, default)
            elif name == "ENV":
                self.environment |= dict(word.split("=", 1) for word in rest.split())
            elif name == "WORKDIR":
                self.folder = os.path.normpath(os.path.join(self.folder, self.filled(rest)))  # noqa: PTH118
                self.place(self.folder).mkdir(parents=True, exist_ok=True)
            elif name == "COPY":
                *sources, target = self.filled(rest).split()
                self.copy(sources, target)
            elif name == "RUN":
                self.run(["sh", "-e", "-c", rest])
            elif name in ("ENTRYPOINT", "CMD"):
                self.program[name] = json.loads(rest)
            elif name != "FROM":  # a virtual environment stands for the base image
                raise ValueError(f"{name} {rest}: this instruction is not known to scripts/docker_steps.py")

    def copy(self, sources: Sequence[str], target: str) -> None:
        """Copy files, or the content of folders."""
        for source in sources:
            path, goal = self.context / source, self.place(target)
            if path.is_dir():
                shutil.copytree(path, goal, dirs_exist_ok=True, ignore=CACHES)
            else:
                shutil.copy(path, goal / path.name if target.endswith("/") else goal)

    def run(self, command: Sequence[str]) -> None:
        """Run a command in the current folder."""
        subprocess.run(command, cwd=self.place(self.folder), env=self.arguments | self.environment, check=True)

    def place(self, path: str) -> Path:
        """Return the place of a path of the image."""
        return self.root / os.path.normpath(os.path.join(self.folder, path)).lstrip("/")  # noqa: PTH118

    def filled(self, text: str) -> str:
        """Return a text with the build arguments in it."""
        return re.sub(r"\$\{?(\w+)\}?", lambda found: self.arguments[found[1]], text)


def python_of(folder: Path, *, with_libraries: bool) -> dict[str, str]:
    """Make a virtual environment and return the variables of processes that use it.

    Args:
        with_libraries: it sees the libraries of this Python, and pip downloads nothing.
    """
    venv.create(folder, with_pip=True)
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV", "PYTHONHOME")}
    environment = kept | {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}", "VIRTUAL_ENV": str(folder)}
    if with_libraries:
        own = Path(sysconfig.get_path("purelib", vars={"base": str(folder), "platbase": str(folder)}))
        for path in [*own.glob("setuptools*"), *own.glob("distutils*")]:  # an old one, which would be found first
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        (own / "libraries.pth").write_text(sysconfig.get_path("purelib") + "\n")
        environment |= {"PIP_NO_INDEX": "1", "PIP_NO_BUILD_ISOLATION": "0"}  # 0: without a fresh environment
    return environment


def main(arguments: Sequence[str] | None = None) -> None:
    """Execute the steps; a failed one ends with its exit code."""
    description = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("docker_steps.py", description=__doc__, formatter_class=description)
    parser.add_argument("--build-arg", action="append", default=[], metavar="NAME=VALUE", help="as of docker build")
    parser.add_argument("--here", action="store_true", help="use the libraries of this Python; nothing is downloaded")
    parser.add_argument("--folder", type=Path, help="to keep (default: a temporary one)")
    parser.add_argument("--run", nargs="*", metavar="WORD", help="what follows the image's name in docker run")
    chosen = parser.parse_args(arguments)
    given = dict(word.partition("=")[::2] for word in chosen.build_arg)
    with tempfile.TemporaryDirectory(prefix="odkd-docker-") as temporary:
        folder = Path(chosen.folder or temporary).resolve()
        environment = python_of(folder / "python", with_libraries=chosen.here)
        image = Image(folder / "root", ROOT, given, environment)
        try:
            image.build((ROOT / "Dockerfile").read_text())
            if chosen.run is not None:
                command = [*image.program["ENTRYPOINT"], *(chosen.run or image.program.get("CMD", []))]
                image.run(command)
        except subprocess.CalledProcessError as error:
            sys.exit(f"docker_steps.py: this step has failed with exit code {error.returncode}: {error.cmd}")
        except ValueError as error:
            sys.exit(f"docker_steps.py: {error}")
    print("all steps of the Dockerfile were executed", flush=True)


if __name__ == "__main__":
    main()
