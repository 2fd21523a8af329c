"""What a machine without a network lacks, carried as wheels: pure Python ones, and those for its Python on Linux.

`make_folder` runs where there is a network: it follows the requirements of odkd from package to package, leaves out
what is installed there, and downloads the rest. `install` runs there, and needs no network.
"""

import re
import site
import subprocess
import sys
import tomllib
import zipfile
from collections import deque
from collections.abc import Iterator, Sequence
from email.parser import Parser
from pathlib import Path

MOST_BYTES = 64 * 2**20
# Not for this check: libraries of tracking servers (it uses tracking=none), and torch, which must fit the driver there.
LEFT_OUT = {"mlflow-skinny", "sqlalchemy", "alembic", "torch", "torchvision", "triton"}
EXTRAS = ("smp", "test")
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (39, 35, 34, 31, 28, 27, 24, 17)]
PLATFORMS += ["manylinux2014_x86_64", "manylinux2010_x86_64", "manylinux1_x86_64"]
ROOT = Path(__file__).resolve().parents[2]


def make_folder(folder: Path, there: Path | None, *, python: str) -> int:
    """Fill a folder with the wheels of what is missing there; return the exit code: 1 if they are too large.

    Args:
        there: a file that lists what is installed there, a line each; None = nothing but torch.
        python: the version there, such as 3.12.
    """
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    folder.mkdir(parents=True, exist_ok=True)
    for old in folder.glob("*.whl"):
        old.unlink()
    installed = dict(read_names(there.read_text())) if there is not None else {}
    todo, done = deque(own_requirements()), set(LEFT_OUT)
    while todo:
        wanted = Requirement(todo.popleft())
        name = canonicalize_name(wanted.name)
        environment = {
            "python_version": python,
            "python_full_version": f"{python}.0",
            "sys_platform": "linux",
            "extra": "",
        }
        if name in done or (wanted.marker is not None and not wanted.marker.evaluate(environment)):
            continue
        done.add(name)
        if name in installed and (not installed[name] or wanted.specifier.contains(installed[name], prereleases=True)):
            continue
        wheel = fetch(f"{wanted.name}{wanted.specifier}", folder, python)
        print(f"{wheel.stat().st_size / 2**20:7.1f} MiB  {wheel.name}", flush=True)
        todo.extend(requirements_of(wheel))
    total = sum(wheel.stat().st_size for wheel in folder.glob("*.whl"))
    print(f"{total / 2**20:7.1f} MiB in {folder}")
    if total > MOST_BYTES:
        print(f"more than {MOST_BYTES / 2**20:.0f} MiB; name in --there what is installed there", file=sys.stderr)
    return int(total > MOST_BYTES)


def read_names(text: str) -> Iterator[tuple[str, str]]:
    """Yield the packages of a list and their versions, if it has them: pip's lists, or plain names.

    >>> list(read_names("Numpy==2.5.2\\ntorch 2.11.0\\n\\nhf_xet"))
    [('numpy', '2.5.2'), ('torch', '2.11.0'), ('hf-xet', '')]
    """
    for line in text.splitlines():
        if found := re.match(r"\s*([A-Za-z0-9][\w.-]*)(?:\s*==\s*|\s+|$)([\w.+!]*)", line):
            yield re.sub(r"[-_.]+", "-", found[1]).lower(), found[2]


def own_requirements() -> list[str]:
    """Return what odkd needs, with the extras that the check uses."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = project["optional-dependencies"]
    return [*project["dependencies"], *(wanted for extra in EXTRAS for wanted in extras[extra])]


def fetch(requirement: str, folder: Path, python: str) -> Path:
    """Download a wheel, or build a pure one from a package that has none; return its path."""
    before = set(folder.glob("*.whl"))
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    platforms = [word for platform in PLATFORMS for word in ("--platform", platform)]
    only = ["--no-deps", "--only-binary=:all:", "--python-version", python, "--implementation", "cp", *platforms]
    done = subprocess.run([*pip, "download", *only, "-d", str(folder), requirement], capture_output=True, text=True)
    if done.returncode != 0:
        subprocess.run([*pip, "wheel", "--no-deps", "-w", str(folder), requirement], check=True)
    (made,) = set(folder.glob("*.whl")) - before
    if done.returncode != 0 and not made.name.endswith("-none-any.whl"):
        made.unlink()
        raise SystemExit(
            f"{requirement} has no wheel for Python {python} on Linux: {done.stderr.strip().splitlines()[-1]}"
        )
    return made


def requirements_of(wheel: Path) -> list[str]:
    """Return the Requires-Dist lines of a wheel."""
    with zipfile.ZipFile(wheel) as content:
        name = next(name for name in content.namelist() if name.endswith(".dist-info/METADATA"))
        found = Parser().parsestr(content.read(name).decode()).get_all("Requires-Dist")
    return [str(line) for line in found or ()]


def install(folder: Path, target: Path) -> Path:
    """Install the wheels of a folder beside the packages of this Python; return the Python that sees both.

    This Python may itself be one of a virtual environment, whose packages a second one does not see by itself: a .pth
    file names them.
    """
    wheels: Sequence[Path] = sorted(folder.glob("*.whl"))
    if not wheels:
        raise SystemExit(f"{folder} has no wheels; make them where there is a network: --wheels FOLDER")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", "--clear", str(target)], check=True)
    packages = target / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", "install", "--no-index", "--no-deps"]
    chosen = [str(wheel) for wheel in wheels]
    subprocess.run([*pip, "--no-compile", "--no-cache-dir", "--target", str(packages), *chosen], check=True)
    (packages / "beside.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return target / "bin" / "python"
