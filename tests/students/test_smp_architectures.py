"""Every architecture of segmentation-models-pytorch learns from one image; the table of the documentation holds."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest
from extras import need

from odkd.students.smp import SmpStudent

ROOT = Path(__file__).resolve().parents[2]


def student_table() -> ModuleType:
    need("segmentation_models_pytorch")
    spec = importlib.util.spec_from_file_location("student_table", ROOT / "scripts" / "student_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("arch", ["DeepLabV3Plus", "PSPNet"])
def test_networks_that_pool_to_one_pixel_learn_from_one_image(arch: str) -> None:
    table = student_table()
    student = SmpStudent(3, arch=arch, encoder="resnet18")
    assert table.outcome(student, (64, 75), (1, 2, 1)) == "runs"


@pytest.mark.slow
def test_the_table_of_architectures_in_the_documentation_holds() -> None:
    """At the odd size, which needs most; the command that writes the table tries both."""
    table, page = student_table(), (ROOT / "docs" / "own_student.md").read_text()
    for arch in table.architectures():
        name, encoder, *cells = table.row(arch, table.SIZES[1:]).strip("| ").split(" | ")
        (line,) = re.findall(rf"^\| {re.escape(name)} \|.*$", page, re.MULTILINE)
        documented = line.strip("| ").split(" | ")
        assert [documented[1], *documented[-len(cells) :]] == [encoder, *cells], arch
