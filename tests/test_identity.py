"""Run keys: what changes a run's numbers changes its key, what does not does not."""

import hashlib
import json
import sys
from pathlib import Path

import pytest
from conftest import TINY
from hydra import compose, initialize_config_dir

from odkd.commands.job import describe
from odkd.common.dotted import WHERE_AND_HOW
from odkd.config.compose import CONF, compose_config, default_config
from odkd.config.own_code import own_files
from odkd.config.parts import Parts
from odkd.report.tables.wanted import WantedRun, wanted_settings


def key(cache: Path, *overrides: str) -> str:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return Parts(compose("config", [*TINY, f"paths.outputs={cache}", f"paths.cache={cache}", *overrides])).key


CHANGES = [
    "seed=1", "run.repeat=1", "precision=bfloat16", "channels_last=true", "compile=true", "threads=1",
    "dataset.stride=3", "dataset.size=[64,96]", "dataset.start=1", "dataset.stride_seconds=2",
    "dataset.prepare.seed=1",
    "teacher.label_noise=0.1", "teacher.seed=1", "teacher.size=[64,96]", "evaluation.batch_size=2",
    "evaluation.groundtruth=false", "student.dropout=0", "student.mean=[0,0,0]", "window.learn=5", "window.test=3",
    "window.step=3", "stage.epochs=2", "stage.batch_size=2", "stage.order=shuffled", "stage.learn_from=groundtruth",
    "optimizer.lr=1e-3", "optimizer=sgd", "stage=label", "replay.capacity=3",
    "loss.class_weights=[1,1,1,1,1,1,1,1,1,1,2]", "teacher.classes={car: car}", "deterministic=false",
]  # fmt: skip
NO_CHANGES = [
    "tracking=mlflow", "tracking.experiment=other", "bank.memory_gib=0.5", "run.name=x", "run.restart=true",
    "run.overlay_video=true", "run.checkpoint_overhead=0.5", "dataset.frame_store=none", "teacher.batch_size=2",
    "allow_targets=[my_lab]", "dataset.palette=null", "teacher.name=mine", "teacher.allow_missing=true",
    "teacher.licence=MIT", "teacher.source=here",
]  # fmt: skip
LAST_BITS = ("compile", "threads", "deterministic", "device")  # in the key, and of no matter to a table


@pytest.mark.parametrize("override", CHANGES)
def test_what_may_change_a_number_changes_the_key(cache: Path, override: str) -> None:
    mean = ["student.std=[1,1,1]"] if "student.mean" in override else []
    assert key(cache, override, *mean) != key(cache)


@pytest.mark.parametrize("override", NO_CHANGES)
def test_what_changes_no_number_leaves_the_key(cache: Path, override: str) -> None:
    assert key(cache, override) == key(cache)


@pytest.mark.parametrize("override", [*CHANGES, *NO_CHANGES])
def test_a_table_takes_two_commands_for_one_run_where_their_keys_are_equal(override: str) -> None:
    """Else it would ask for a run that has finished, or show one run in the place of another."""
    wanted, plain = (wanted_settings(WantedRun((*TINY, *more), 0)) for more in ([override], []))
    if override.startswith("seed="):
        wanted = wanted_settings(WantedRun((*TINY,), 1))
    assert wanted.is_as(plain) is (override in NO_CHANGES or override.split("=")[0] in LAST_BITS)


def test_of_a_teacher_that_is_not_asked_only_its_classes_are_in_the_key_and_matter_to_a_table(cache: Path) -> None:
    for override, is_same in (("teacher.label_noise=0.1", True), ("teacher.classes={car: car}", False)):
        commands = [["stage=supervised", "evaluation.groundtruth=true", *more] for more in ([override], [])]
        assert (key(cache, *commands[0]) == key(cache, *commands[1])) is is_same
        wanted, plain = (wanted_settings(WantedRun((*TINY, *words), 0)) for words in commands)
        assert wanted.is_as(plain) is is_same


def test_of_the_settings_of_a_run_only_its_repetition_changes_numbers() -> None:
    listed = {name.removeprefix("run.") for name in WHERE_AND_HOW if name.startswith("run.")}
    assert listed | {"repeat"} == default_config().run.keys()


def test_weights_count_by_content_not_by_name(cache: Path, tmp_path: Path) -> None:
    a, b, c = (tmp_path / f"{name}.pth" for name in "abc")
    a.write_bytes(b"1")
    b.write_bytes(b"1")
    c.write_bytes(b"2")
    keys = [key(cache, f"student.weights={path}") for path in (a, b, c)]
    assert keys[0] == keys[1] != keys[2]


def test_a_run_says_what_is_in_the_files_that_its_settings_name(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"1")
    settings = [f"paths.outputs={cache}", f"paths.cache={cache}", f"student.weights={tmp_path / 'a.pth'}"]
    record = describe(Parts(compose_config([*TINY, *settings])), [])
    known = {"student.weights": f"sha256:{hashlib.sha256(b'1').hexdigest()}"}
    assert json.loads(record["tags"]["odkd.file_digests"]) == known
    assert record["params"]["dataset.classes"].startswith("['road', ")


def test_the_users_own_code_is_part_of_the_key(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / "lab_replay.py"
    overrides = ["replay._target_=lab_replay.Mine", "allow_targets=[lab_replay]"]
    source.write_text("class Mine:\n    def __init__(self, capacity): self.capacity = capacity\n")
    before = key(cache, *overrides)
    assert key(cache, *overrides) == before
    source.write_text(source.read_text() + "    # now different\n")
    assert key(cache, *overrides) != before
    sys.modules.pop("lab_replay")


def test_the_users_own_modules_that_it_imports_are_part_of_the_key(
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
    known = {key(cache, *overrides)}
    for name, text in files.items():
        (tmp_path / name).write_text(text + "# now different\n")
        known.add(key(cache, *overrides))
    assert len(known) == 1 + len(files)
    (tmp_path / "lab_unrelated.py").write_text("")
    assert key(cache, *overrides) in known
    for name in found:
        sys.modules.pop(name, None)


def test_other_peoples_code_is_not_looked_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    elsewhere = tmp_path / "lib" / "site-packages"
    elsewhere.mkdir(parents=True)
    (elsewhere / "big_library.py").write_text("raise AssertionError('imported')")
    (tmp_path / "lab_plain.py").write_text(
        "import big_library.part, torch.nn\nfrom odkd.common.files import write_json\n"
    )
    for folder in (tmp_path, elsewhere):
        monkeypatch.syspath_prepend(folder)
    assert list(own_files("lab_plain", tmp_path / "lab_plain.py", [])) == ["lab_plain"]


def test_yaml_cannot_name_what_an_allowed_module_merely_imported(cache: Path) -> None:
    with pytest.raises(ValueError, match="may not name"):
        key(cache, "replay._target_=odkd.common.files.os.system")
