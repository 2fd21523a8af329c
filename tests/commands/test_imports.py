"""Which libraries a command imports: seconds of waiting, and what most commands can do without."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LIGHT = {"numpy", "av", "PIL", "pydantic", "google_crc32c", "numcodecs"}  # together under half a second
HEAVY = {
    *("torch", "torchvision", "sympy", "mlflow", "sqlalchemy", "alembic", "matplotlib", "jinja2", "pandas", "scipy"),
    *(
        "sklearn",
        "skimage",
        "zarr",
        "segmentation_models_pytorch",
        "timm",
        "transformers",
        "optuna",
        "joblib",
        "psutil",
    ),
    *("ray", "submitit", "cv2", "mmseg", "onnxruntime"),
}
LISTED = "import atexit, sys; atexit.register(lambda: print(*sys.modules, file=open({file!r}, 'w')))\n"
ODKD = "sys.argv = {words!r}\nimport odkd.__main__\nodkd.__main__.main()"
OTHERS = (
    *("odkd.commands.labels", "odkd.commands.prepare", "odkd.commands.report", "odkd.commands.sync"),
    *("odkd.commands.profile", "odkd.commands.doctor"),
    *("odkd.report.tables.command", "odkd.report.tables.figures"),
)
HELP_OF_OTHERS = """
import contextlib, importlib
for name in {names!r}:
    sys.argv = ["command", "--help"]
    with contextlib.suppress(SystemExit):
        importlib.import_module(name).main()
"""
ENDED_AT_THE_STREAM = """
import os, odkd.training.iteration as iteration
iteration.select = lambda *_: (atexit._run_exitfuncs(), os._exit(0))
"""


def libraries(folder: Path, code: str) -> set[str]:
    """The libraries of LIGHT and HEAVY that a process imports until it ends."""
    file = folder / "modules.txt"
    environment = {key: value for key, value in os.environ.items() if key != "HYDRA_FULL_ERROR"}
    command = [sys.executable, "-c", LISTED.format(file=str(file)) + code]
    subprocess.run(command, cwd=folder, env=environment, capture_output=True, timeout=200, check=False)
    return {name.partition(".")[0] for name in file.read_text().split()} & (LIGHT | HEAVY)


def test_help_imports_none_of_the_libraries_that_compute(tmp_path: Path) -> None:
    assert libraries(tmp_path, ODKD.format(words=["odkd", "--help"])) == set()


def test_a_misspelt_word_is_answered_without_a_heavy_library(tmp_path: Path) -> None:
    assert libraries(tmp_path, ODKD.format(words=["odkd", "-m", "debug=smoke", "window.lern=3,4"])) <= LIGHT


def test_the_help_of_the_other_commands_imports_no_heavy_library(tmp_path: Path) -> None:
    assert libraries(tmp_path, HELP_OF_OTHERS.format(names=OTHERS)) <= LIGHT


@pytest.mark.slow
def test_a_run_has_imported_neither_plots_nor_pages_when_its_stream_begins(tmp_path: Path) -> None:
    """Nor MLflow's library, if nothing is tracked; sympy comes with torch, whose optimizers import its compiler."""
    code = ENDED_AT_THE_STREAM + ODKD.format(words=["odkd", "debug=smoke", "tracking=none"])
    assert libraries(tmp_path, code) <= LIGHT | {"torch", "sympy", "psutil"}
