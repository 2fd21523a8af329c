"""The wheel contains odkd, its YAML and its plugins, and no other package; what states versions and extras agrees."""

import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import yaml
from extras import need
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from paths import ROOT

import odkd


def test_the_wheel_contains_the_configuration(tmp_path: Path) -> None:
    need("hatchling")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], cwd=ROOT, check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    carried = [path for ending in ("py", "json", "in") for path in (ROOT / "odkd").rglob(f"*.{ending}")]
    for path in [*(ROOT / "conf").rglob("*.yaml"), *carried]:
        inside = path.relative_to(ROOT).as_posix()
        assert (f"odkd/config/{inside}" if inside.startswith("conf/") else inside) in names
    assert "odkd/py.typed" in names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"odkd", "hydra_plugins"}


def test_every_place_that_states_the_version_states_the_same() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    newest = re.search(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest is not None
    assert {citation["version"], newest[1]} == {odkd.__version__}


def test_every_extra_of_the_project_is_known_to_the_message_that_names_it() -> None:
    """A message says `pip install 'odkd[EXTRA]'`; documents do too."""
    extras = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])
    pages = [ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "odkd").rglob("*.py")]
    for page in pages:
        for names in re.findall(r"odkd\[([a-z0-9_,]+)\]", page.read_text()):
            assert set(names.split(",")) <= extras, page


def test_constraints_satisfy_the_requirements_of_the_project() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line)
    pins = {canonicalize_name(name): version for name, version in pins.items()}
    lines = [*project["dependencies"], *(line for extra in project["optional-dependencies"].values() for line in extra)]
    for requirement in map(Requirement, lines):
        if canonicalize_name(requirement.name) not in ("odkd", "nvidia-ml-py"):  # the latter only where there is a GPU
            assert requirement.specifier.contains(pins[canonicalize_name(requirement.name)]), requirement
