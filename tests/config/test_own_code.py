"""User-defined code in the run key: the modules that a user's method imports count, installed libraries do not."""

import sys
from pathlib import Path

import pytest
from run_keys import run_key

from odkd.config.own_code import own_files


def test_user_modules_that_a_method_imports_are_part_of_the_key(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "lab_tools").mkdir()
    files = {
        "lab_memory.py": "import numpy\nfrom lab_base import Base\nclass Mine(Base): pass\n",
        "lab_base.py": "class Base:\n    def __init__(self, capacity):\n        from lab_tools import half\n",
        "lab_tools/__init__.py": "",
        "lab_tools/half.py": "from .third import THIRD\nimport json.decoder, no_such_package.part\n",
        "lab_tools/third.py": "THIRD = 3\n",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    overrides = ["replay._target_=lab_memory.Mine", "allow_targets=[lab_memory]"]
    found = own_files("lab_memory", tmp_path / "lab_memory.py", [])
    assert set(found) == {"lab_memory", "lab_base", "lab_tools", "lab_tools.half", "lab_tools.third"}
    known = {run_key(cache, *overrides)}
    for name, text in files.items():
        (tmp_path / name).write_text(text + "# now different\n")
        known.add(run_key(cache, *overrides))
    assert len(known) == 1 + len(files)
    (tmp_path / "lab_unrelated.py").write_text("")
    assert run_key(cache, *overrides) in known
    for name in found:
        sys.modules.pop(name, None)


def test_installed_libraries_are_not_searched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "lib" / "site-packages"
    elsewhere.mkdir(parents=True)
    (elsewhere / "big_library.py").write_text("raise AssertionError('imported')")
    (tmp_path / "lab_plain.py").write_text(
        "import big_library.part, torch.nn\nfrom odkd.common.files import write_json\n"
    )
    for folder in (tmp_path, elsewhere):
        monkeypatch.syspath_prepend(folder)
    assert list(own_files("lab_plain", tmp_path / "lab_plain.py", [])) == ["lab_plain"]
