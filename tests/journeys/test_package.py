"""The wheel contains odkd, its YAML and its plugins, and no other package."""

import subprocess
import sys
import zipfile
from pathlib import Path

from extras import need
from paths import ROOT


def test_the_wheel_contains_the_configuration(tmp_path: Path) -> None:
    need("hatchling")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)], cwd=ROOT, check=True
    )
    (wheel,) = tmp_path.glob("*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    carried = [path for ending in ("py", "json") for path in (ROOT / "odkd").rglob(f"*.{ending}")]
    for path in [*(ROOT / "conf").rglob("*.yaml"), *carried]:
        inside = path.relative_to(ROOT).as_posix()
        assert (f"odkd/config/{inside}" if inside.startswith("conf/") else inside) in names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"odkd", "hydra_plugins"}
