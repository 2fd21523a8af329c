"""Runs that learn from a teacher's layers: what they store, what they compare, and that they resume bit for bit."""

import json
import logging
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from feature_teacher import FeatureTeacher, config_dir
from run_keys import run_key
from safetensors.torch import load_file
from tiny_settings import TINY

from odkd.commands.job import run_job
from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.data.labels.damage import find_damage
from odkd.data.labels.features import FeatureKind
from odkd.data.labels.store import LabelStore
from odkd.data.labels.store_files import find_stores
from odkd.teachers import SampledFrames

Run = Callable[..., Path]
WORDS = ["teacher=features", "optimizer.lr=1e-3"]


def pairs(*of: str) -> str:
    """Return features.pairs from "STUDENT TEACHER LOSS" each."""
    made = [dict(zip(("student", "teacher", "loss"), one.split(), strict=True)) for one in of]
    return "features.pairs=[" + ",".join(f"{{{','.join(f'{k}: {v}' for k, v in one.items())}}}" for one in made) + "]"


ALL = pairs("merge.0 body mse", "stem.3 stem cwd", "merge.0 body attention", "squeeze act cirkd")


@pytest.fixture
def config(tmp_path: Path, cache: Path) -> Callable[..., object]:
    def compose(*words: str) -> object:
        paths = [f"paths.outputs={tmp_path}/outputs", f"paths.cache={cache}", f"paths.labels={tmp_path}/labels"]
        given = [*TINY, *paths, *WORDS, "allow_targets=[feature_teacher]", *words]
        return compose_config(given, config_dir(tmp_path / "conf"))

    return compose


@pytest.fixture
def odkd(config: Callable[..., object]) -> Run:
    def run(*words: str) -> Path:
        cfg = config(*words)
        run_job(cfg)  # type: ignore[arg-type]
        return Parts(cfg).folder  # type: ignore[arg-type]

    return run


def lines(run: Path) -> list[dict[str, float]]:
    return [json.loads(line)["metrics"] for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_run_learns_from_features_of_both_and_stores_the_teacher_s(odkd: Run, tmp_path: Path) -> None:
    plain = odkd()
    stores = find_stores(tmp_path / "labels")
    before = [path for store in stores for path in (store / "labels").rglob("0") if path.is_file()]
    changed = {path: path.stat().st_mtime_ns for path in before}
    run = odkd(ALL, "replay=mir")
    names = {name for name in lines(run)[-1] if name.startswith("learn/loss_features_")}
    assert names == {f"learn/loss_features_{loss}" for loss in ("mse", "cwd", "attention", "cirkd")}
    assert lines(run)[-1]["learn/loss_features_mse"] < lines(run)[1]["learn/loss_features_mse"]
    assert not any("features" in name for name in lines(plain)[-1])
    assert find_stores(tmp_path / "labels") == stores
    assert {path: path.stat().st_mtime_ns for path in before} == changed  # labels that were there are not touched
    for store in map(LabelStore, stores):
        shapes = {kind.layer: shape for kind, shape in store.features.kinds.items()}
        assert shapes == {"stem": (6, 16, 24), "act": (6, 16, 24), "body": (12, 8, 12)}
        assert not find_damage(store)


def test_what_is_stored_is_what_the_layer_gives(odkd: Run, config: Callable[..., object]) -> None:
    size = "features.size=[2,3]"
    odkd("stage=label", pairs("merge body mse"))
    odkd("stage=label", pairs("merge body mse"), size)
    parts = Parts(config(pairs("merge body mse")))  # type: ignore[arg-type]
    position = 7
    whole = parts.teacher_labels.read_features(position, FeatureKind("body"))
    averaged = parts.teacher_labels.read_features(position, FeatureKind("body", (2, 3)))
    assert whole.dtype == averaged.dtype == np.float16
    teacher = FeatureTeacher(parts.classes, torch.device("cpu"))
    from odkd.data.video.decode import decode_frames

    number = int(parts.stream.frame_of[position])
    ((_, image_HWC),) = decode_frames(parts.stream.videos[0], [number])
    seen = teacher.seen(SampledFrames("", [number], image_HWC[None], None))
    with torch.inference_mode():
        expected = teacher.network.body(teacher.network.act(teacher.network.stem(seen)))
    np.testing.assert_allclose(whole, expected[0].numpy(), rtol=2e-3, atol=1e-3)
    pooled = torch.nn.functional.adaptive_avg_pool2d(expected, (2, 3))[0]
    np.testing.assert_allclose(averaged, pooled.numpy(), rtol=2e-3, atol=1e-3)


class Killed(BaseException):
    """What ends a run in the middle."""


@pytest.mark.slow
def test_a_killed_run_goes_on_with_its_projections(odkd: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from odkd.training.iteration import Journal

    words = (ALL, "replay=uniform", "stage.batch_size=2", "student.ema=0.9", "run.checkpoint_overhead=1e9")
    augmented = ("augmentation=flip_scale_crop", "augmentation.crop=null", "stage.order=paired_apart")
    words += ("updates=gradient_guided",)
    whole = odkd(*words, *augmented, "run.name=whole")
    report, seen = Journal.report, []

    def ends(journal: Journal) -> None:
        report(journal)
        seen.append(1)
        if len(seen) == 4:
            raise Killed

    monkeypatch.setattr(Journal, "report", ends)
    with pytest.raises(Killed):
        odkd(*words, *augmented, "run.name=killed")
    run = odkd(*words, *augmented, "run.name=killed")
    assert (run / "metrics.jsonl").read_bytes() == (whole / "metrics.jsonl").read_bytes()
    one, other = (load_file(folder / "student.safetensors") for folder in (whole, run))
    assert set(one) == set(other)
    assert all(torch.equal(value, other[name]) for name, value in one.items())
    assert not any("projection" in name for name in one)  # they are no part of the student


@pytest.mark.slow
def test_trainings_over_epochs_learn_from_features_too(odkd: Run) -> None:
    run = odkd("stage=mckd", "stage.epochs=2", "stage.batch_size=4", pairs("merge body cwd"), "dataset.stride=1")
    assert {"round_1/student_0/loss_features_cwd", "final/loss_features_cwd"} <= {
        name for line in lines(run) for name in line
    }


@pytest.mark.slow
def test_a_run_without_pairs_has_the_key_that_it_had(cache: Path, config: Callable[..., object]) -> None:
    assert (
        run_key(cache) == run_key(cache, "features.size=[2,3]") == run_key(cache, "features.losses.cwd.temperature=1")
    )
    made = [
        Parts(config(*words)).key
        for words in (  # type: ignore[arg-type]
            (pairs("merge body cwd"),),
            (pairs("merge body cwd"), "features.losses.cwd.temperature=1"),
            (pairs("merge body cwd"), "features.size=[2,3]"),
            (pairs("merge body attention"),),
        )
    ]
    assert len(set(made)) == len(made)
    unused = Parts(config(pairs("merge body cwd"), "features.losses.cirkd.patch=2")).key  # type: ignore[arg-type]
    assert unused == made[0]


def test_damaged_features_are_found_and_made_again(odkd: Run, tmp_path: Path) -> None:
    from odkd.commands.labels import main

    odkd("stage=label", pairs("merge body mse"))
    folder = find_stores(tmp_path / "labels")[0]
    store = LabelStore(folder)
    kind = FeatureKind("body")
    array = store.features.array(kind)
    assert array is not None
    expected = array.read(3).copy()
    path = array.shard_path(0)
    content = bytearray(path.read_bytes())
    content[20] ^= 1
    path.write_bytes(content)
    damage = find_damage(LabelStore(folder))
    assert list(damage.frames) == ["features-body-whole-12x8x12"]
    words = ["--set", "allow_targets=[feature_teacher]", str(folder)]
    with pytest.raises(SystemExit) as ended:
        main(["repair", *words])
    assert ended.value.code in (0, None)
    mended = LabelStore(folder)
    assert not find_damage(mended)
    np.testing.assert_array_equal(mended.features.read(3, kind), expected)
    shutil.rmtree(array.folder / "c")
    assert find_damage(LabelStore(folder)).missing_soft == {
        "features-body-whole-12x8x12": list(range(store.num_frames))
    }


def test_the_size_on_the_disk_is_said_before_a_frame_is_labelled(
    odkd: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Usage:
        free = 60_000

    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage)
    caplog.set_level(logging.INFO)
    with pytest.raises(ValueError, match=r"the features take 0.1 MB, and .* has 0.1 MB free; set features.size="):
        odkd(pairs("merge body mse"))
    assert "features of body: 30 x 12 x 8 x 12 x 2 bytes = 0.1 MB" in caplog.text
    assert not find_stores(tmp_path / "labels")
    odkd("stage=label", pairs("merge body mse"), "features.size=[2,2]")
    assert "features of body: 30 x 12 x 2 x 2 x 2 bytes = 0.0 MB" in caplog.text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (
            [pairs("merg.0 body mse")],
            r"the student has no layer merg.0; its nearest of \d+ are merge.0, merge.2, merge.1",
        ),
        ([pairs("merge bode mse")], r"teacher features has no layer bode; its nearest of 4 are body"),
        ([pairs("merge body cwt")], r"there is no loss cwt; did you mean cwd\?; features.losses has mse, attention"),
        (["features.pairs=[{student: a, techer: b}]"], r"has no key techer; did you mean teacher\?"),
        (["features.pairs=[{student: a, teacher: b, loss: mse, weight: 0}]"], "weight: 0; expected a number above 0"),
        (["features.pairs=cwd"], "expected .{student: LAYER"),
        ([pairs("merge body mse"), "compile=true"], "do not go together"),
        ([pairs("merge body mse"), "augmentation=class_mix"], "pastes classes of another frame"),
        ([pairs("merge body mse"), "stage=supervised"], "stage=supervised has no teacher"),
        ([pairs("merge body mse"), "features.size=[99,99]"], "is larger than what layer body gives"),
        ([pairs("merge body mse"), "teacher=oracle"], "teacher oracle names no layers"),
    ],
)
def test_a_mistake_is_one_line_before_the_run_has_a_folder(
    odkd: Run, tmp_path: Path, words: list[str], says: str
) -> None:
    with pytest.raises(ValueError, match=says) as error:
        odkd(*words)
    assert "\n" not in str(error.value)
    assert not list((tmp_path / "outputs" / "runs").glob("*/metrics.jsonl"))


OWN = """
from odkd.common.settings import PositiveFloat


class Mine:
    projection = "always"

    def __init__(self, power: PositiveFloat) -> None:
        self.power = power

    def __call__(self, student_BCHW, teacher_BCHW):
        return (student_BCHW - teacher_BCHW).abs().pow(self.power).mean()
"""


@pytest.mark.slow
def test_an_own_loss_is_one_file_and_one_yaml_file(odkd: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_features.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = tmp_path / "conf" / "features"
    folder.mkdir(parents=True)
    own = "defaults:\n  - default\n  - _self_\nlosses:\n  mine: {_target_: my_features.Mine, power: 1.5}\n"
    (folder / "mine.yaml").write_text(own)
    words = ["features=mine", "allow_targets=[my_features,feature_teacher]", pairs("merge body mine", "merge body cwd")]
    run = odkd(*words)
    assert lines(run)[-1]["learn/loss_features_mine"] > 0
    with pytest.raises(ValueError, match=r"features.losses.mine.power=-1"):
        odkd(*words, "features.losses.mine.power=-1")
