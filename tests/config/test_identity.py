"""Run keys: a setting that may change numbers changes the key, any other setting does not."""

import hashlib
import importlib.metadata
import json
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from run_keys import run_key
from samples import one_of
from tiny_settings import TINY

from odkd.commands.job import describe
from odkd.common.dotted import WHERE_AND_HOW, flatten
from odkd.common.renamed import current_params
from odkd.config.compose import compose_config, default_config
from odkd.config.identity import teacher_identity
from odkd.config.parts import Parts
from odkd.report.tables.wanted import Settings, WantedRun, wanted_settings

CHANGES = [
    "seed=1",
    "run.repeat=1",
    "precision=bfloat16",
    "channels_last=true",
    "compile=true",
    "threads=1",
    "dataset.stride=3",
    "dataset.size=[64,96]",
    "dataset.start=1",
    "dataset.decoder=torchcodec",
    "dataset.stride_seconds=2",
    "dataset.prepare.seed=1",
    "teacher.label_noise=0.1",
    "teacher.seed=1",
    "teacher.size=[64,96]",
    "evaluation.batch_size=2",
    "evaluation.groundtruth=false",
    "student.dropout=0",
    "student.mean=[0,0,0]",
    "window.learn=5",
    "window.test=3",
    "window.step=3",
    "stage.epochs=2",
    "stage.batch_size=2",
    "stage.order=shuffled",
    "stage.learn_from=groundtruth",
    "optimizer.lr=1e-3",
    "optimizer=sgd",
    "stage=label",
    "replay.capacity=3",
    "loss.class_weights=[1,1,1,1,1,1,1,1,1,1,2]",
    "teacher.classes={car: car}",
    "deterministic=false",
]
NO_CHANGES = [
    "tracking=mlflow",
    "tracking.experiment=other",
    "bank.memory_gib=0.5",
    "run.name=x",
    "run.restart=true",
    "run.overlay_video=true",
    "run.checkpoint_overhead=0.5",
    "dataset.frame_store=none",
    "teacher.batch_size=2",
    "allow_targets=[my_lab]",
    "dataset.palette=null",
    "teacher.name=mine",
    "teacher.allow_missing=true",
    "teacher.licence=MIT",
    "teacher.source=here",
]
LAST_BITS = ("compile", "threads", "deterministic", "device")  # part of the key, ignored by tables


@pytest.fixture(scope="module")
def plain_key(cache: Path) -> str:
    return run_key(cache)


@pytest.fixture(scope="module")
def plain_settings() -> Settings:
    return wanted_settings(WantedRun((*TINY,), 0))


@pytest.mark.parametrize("override", CHANGES)
def test_a_setting_that_may_change_a_number_changes_the_key(cache: Path, plain_key: str, override: str) -> None:
    mean = ["student.std=[1,1,1]"] if "student.mean" in override else []
    assert run_key(cache, override, *mean) != plain_key


@pytest.mark.parametrize("override", NO_CHANGES)
def test_a_setting_that_changes_no_number_leaves_the_key(cache: Path, plain_key: str, override: str) -> None:
    assert run_key(cache, override) == plain_key


@pytest.mark.parametrize("override", one_of(6, [*CHANGES, *NO_CHANGES]))
def test_a_table_counts_two_commands_as_one_run_where_their_keys_are_equal(
    plain_settings: Settings, override: str
) -> None:
    """Otherwise a table would ask for a finished run again, or show the numbers of another run."""
    wanted = wanted_settings(WantedRun((*TINY,), 1) if override == "seed=1" else WantedRun((*TINY, override), 0))
    assert wanted.is_as(plain_settings) is (override in NO_CHANGES or override.split("=")[0] in LAST_BITS)


@pytest.mark.parametrize(
    ("choice", "key", "other"),
    [("regularizer=mas", "regularizer.objective", "map_norm"), ("loss=dice", "loss.absent", "counted")],
)
def test_a_setting_that_came_later_leaves_the_keys_of_runs_from_before_it(
    cache: Path, choice: str, key: str, other: str
) -> None:
    now = run_key(cache, choice)
    assert run_key(cache, choice, f"~{key}") == now
    assert run_key(cache, choice, f"{key}={other}") != now
    given = OmegaConf.to_container(compose_config([*TINY, choice, f"~{key}"]))
    stored = flatten(OmegaConf.to_container(compose_config([*TINY, choice])))
    assert current_params(flatten(given)) == current_params(stored)  # so tables find the earlier runs


@pytest.mark.parametrize(
    ("words", "digest"),
    [
        ([], "f58b4ba2723429cf25e4fb256794696c65679f8e8eefb13a08a32002bb5a2b96"),
        (
            ["teacher.label_noise=0.3", "teacher.boundary_jitter_pixels=2"],
            "c8bc8d754be3c8af81065873163f40339ef3ff2ebfd0263f3b6bcc5ef80bd0a7",
        ),
    ],
)
def test_labels_of_the_oracle_keep_their_identity_when_it_learns_other_errors(
    words: list[str], digest: str, tmp_path: Path
) -> None:
    identity = teacher_identity(compose_config(["dataset=synthetic_tiny", *words]), [], tmp_path, "digest")
    assert hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest() == digest


def test_only_the_classes_of_an_unused_teacher_count_in_the_key_and_in_a_table(cache: Path) -> None:
    for override, is_same in (("teacher.label_noise=0.1", True), ("teacher.classes={car: car}", False)):
        commands = [["stage=supervised", "evaluation.groundtruth=true", *more] for more in ([override], [])]
        assert (run_key(cache, *commands[0]) == run_key(cache, *commands[1])) is is_same
        wanted, plain = (wanted_settings(WantedRun((*TINY, *words), 0)) for words in commands)
        assert wanted.is_as(plain) is is_same


def test_repeat_is_the_only_setting_of_run_that_changes_numbers() -> None:
    listed = {name.removeprefix("run.") for name in WHERE_AND_HOW if name.startswith("run.")}
    assert listed | {"repeat"} == default_config().run.keys()


def test_weights_count_by_their_content_not_their_name(cache: Path, tmp_path: Path) -> None:
    a, b, c = (tmp_path / f"{name}.pth" for name in "abc")
    a.write_bytes(b"1")
    b.write_bytes(b"1")
    c.write_bytes(b"2")
    keys = [run_key(cache, f"student.weights={path}") for path in (a, b, c)]
    assert keys[0] == keys[1] != keys[2]


def test_a_run_records_the_digests_of_the_files_that_its_settings_name(cache: Path, tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(b"1")
    settings = [f"paths.outputs={cache}", f"paths.cache={cache}", f"student.weights={tmp_path / 'a.pth'}"]
    record = describe(Parts(compose_config([*TINY, *settings])), [])
    known = {"student.weights": f"sha256:{hashlib.sha256(b'1').hexdigest()}"}
    assert json.loads(record["tags"]["odkd.file_digests"]) == known
    assert record["params"]["dataset.classes"].startswith("['road', ")


def test_user_defined_code_is_part_of_the_key(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    source = tmp_path / "lab_replay.py"
    overrides = ["replay._target_=lab_replay.Mine", "allow_targets=[lab_replay]"]
    source.write_text("class Mine:\n    def __init__(self, capacity): self.capacity = capacity\n")
    before = run_key(cache, *overrides)
    assert run_key(cache, *overrides) == before
    source.write_text(source.read_text() + "    # now different\n")
    assert run_key(cache, *overrides) != before
    sys.modules.pop("lab_replay")


def test_versions_of_the_libraries_that_make_a_student_are_part_of_its_key(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = importlib.metadata.version
    students = {"tinynet": (), "smp": ("timm", "segmentation-models-pytorch"), "swin_tiny_deeplabv3plus": ("timm",)}
    keys = {name: run_key(cache, f"student={name}") for name in students}
    for library in ("timm", "segmentation-models-pytorch"):
        with monkeypatch.context() as patch:
            patch.setattr(importlib.metadata, "version", lambda name, own=library: "99" if name == own else real(name))
            changed = {name for name, key in keys.items() if run_key(cache, f"student={name}") != key}
        assert changed == {name for name, libraries in students.items() if library in libraries}
