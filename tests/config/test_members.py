"""Teachers made of teachers in a config: how members are named, checked, built, identified and stored."""

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from samples import one_of
from tiny_settings import TINY

from odkd.commands.repair import read_recipe
from odkd.config.compose import compose_config, compose_table_config
from odkd.config.parts import Parts
from odkd.data.labels.store import LabelStore

NOISY = "{teacher: oracle, label_noise: 0.4, seed: %d}"
THREE = f"teacher.members={{a: {NOISY % 1}, b: {NOISY % 2}, c: {NOISY % 3}}}"
ENSEMBLE = ["stage=label", "teacher=ensemble"]


def parts_of(cache: Path, *words: str, config_dir: Path | None = None) -> Parts:
    folder = None if config_dir is None else str(config_dir)
    return Parts(compose_config([*TINY, f"paths.cache={cache}", *ENSEMBLE, *words], folder))


def test_members_are_named_by_their_files_with_settings_of_their_own() -> None:
    word = "teacher.members={a: eomt_coco, b: {teacher: oracle, seed: 3}, c: {_target_: odkd.teachers.oracle.Oracle}}"
    members = compose_table_config([*ENSEMBLE, word]).teacher.members
    assert members.a.model == "tue-mps/coco_panoptic_eomt_large_640"
    assert (members.a.batch_size, members.b.batch_size) == (2, 8)
    assert (members.b.seed, members.b.label_noise) == (3, 0.0)
    assert members.c.label_set is None  # settings that every teacher has


def test_a_file_includes_members_as_hydra_does(tmp_path: Path) -> None:
    (tmp_path / "teacher").mkdir()
    content = {
        "defaults": ["ensemble", "oracle@members.first", "oracle@members.second", "_self_"],
        "name": "two",
        "members": {"second": {"label_noise": 0.1}},
    }
    (tmp_path / "teacher" / "two.yaml").write_text(yaml.safe_dump(content))
    members = compose_table_config(["teacher=two", "teacher.members.first.seed=5"], str(tmp_path)).teacher.members
    assert list(members) == ["first", "second"]
    assert (members.first.seed, members.second.label_noise) == (5, 0.1)
    nested = compose_table_config([*ENSEMBLE, "teacher.members={all: two, one: oracle}"], str(tmp_path))
    assert nested.teacher.members.all.members.second.label_noise == 0.1


@pytest.mark.slow
def test_a_majority_of_noisy_oracles_is_better_than_each(odkd: Callable[..., Path], cache: Path) -> None:
    odkd(*ENSEMBLE, THREE)
    parts = parts_of(cache, THREE)
    truth = parts.groundtruth
    assert truth is not None
    labels = [parts.labels.read(position) for position in range(len(parts.stream))]
    wrong = np.mean([labels[p] != truth.read(p) for p in range(len(labels))])
    assert 0.05 < wrong < 0.3  # of one: 0.4 * 10 / 11


@pytest.mark.slow
def test_the_identity_has_what_decides_the_labels(cache: Path) -> None:
    def identity(*words: str) -> Any:
        return parts_of(cache, *words).teacher_identity

    whole = identity(THREE)
    assert identity(THREE, "teacher.name=other", "teacher.members.a.batch_size=1") == whole
    assert [name for name, *_ in whole["members"]] == ["a", "b", "c"]
    differing: Sequence[Sequence[str]] = (
        [THREE, "teacher.members.b.seed=9"],
        [THREE, "teacher.weights={a: 2}"],
        [THREE, "teacher.members.a.classes={car: road}", "teacher.allow_missing=true"],
        [f"teacher.members={{b: {NOISY % 2}, a: {NOISY % 1}, c: {NOISY % 3}}}"],  # the first one decides ties
    )
    for words in differing:
        assert identity(*words) != whole, words
    assert all(member["groundtruth"] for _, member, _ in whole["members"])


CODE = """
import numpy as np


class Sees:
    needs_images, num_classes, classes = True, 2, ["road", "sky"]

    def __init__(self, at: float) -> None:
        self.at = at

    def label(self, frames):
        return (frames.images_BHWC.mean(-1) > 255 * self.at).astype(np.uint8)
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder with a teacher of two classes."""
    (tmp_path / "my_eyes.py").write_text(CODE)
    (tmp_path / "conf" / "teacher").mkdir(parents=True)
    text = "defaults: [parts/common@_here_, _self_]\n_target_: my_eyes.Sees\nname: sees\nat: 0.5\n"
    (tmp_path / "conf" / "teacher" / "sees.yaml").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_eyes", raising=False)
    return tmp_path / "conf"


def test_a_teacher_of_the_users_own_is_a_member_if_the_command_allows_it(lab: Path, cache: Path) -> None:
    with pytest.raises(ValueError, match=r"teacher\.members\.b\._target_=my_eyes\.Sees is not allowed.*allow_targets"):
        parts_of(cache, "teacher.members={a: oracle, b: {_target_: my_eyes.Sees, at: 0.5}}")
    cfg = compose_table_config(
        [*TINY, f"paths.cache={cache}", *ENSEMBLE, "teacher.members={a: oracle, b: sees}", "allow_targets=[my_eyes]"],
        str(lab),
    )
    parts = Parts(cfg)
    teacher = parts.teacher_parts.teacher
    assert (teacher.needs_images, teacher.num_classes) == (True, len(parts.classes))
    assert parts.teacher_identity["members"][1][1]["my_eyes.Sees"]  # its source counts


@pytest.mark.parametrize(
    ("word", "message"),
    one_of(
        4,
        [
            ("teacher.vote=majority", "teacher.members is not set"),
            ("teacher.members=[oracle]", "teacher.members=['oracle']; expected a table of teachers"),
            ("teacher.members={a: orakle}", "teacher.members.a: there is no teacher=orakle; did you mean oracle?"),
            ("teacher.members={a: {seed: 1}}", "expected the name of a teacher, or {teacher: NAME, key: value, ...}"),
            (
                "teacher.members={a: {teacher: oracle, sed: 1}}",
                "teacher.members.a.sed: odkd.teachers.oracle.Oracle takes no",
            ),
            (
                "teacher.members={a: {teacher: oracle, label_noise: 2}}",
                "teacher.members.a.label_noise=2; expected a number",
            ),
            ("teacher.members={a: {teacher: oracle, size: [8,8]}}", "teacher.members.a.size is set; members see what"),
            (
                "teacher.members={a: {teacher: oracle, soft: {top_k: 2}}}",
                "teacher.members.a.soft is set; members see what",
            ),
            ("teacher.members={a: {teacher: checkpoint}}", "teacher.members.a.checkpoint is not set"),
            ("teacher.members={a: {_target_: os.getcwd}}", "teacher.members.a._target_=os.getcwd is not allowed"),
            ("teacher.members={a: {_target_: odkd.teachers.hub.locate}}", "teacher.members.a._target_="),
            ("teacher.members={1a: oracle}", "expected a name of letters, digits"),
        ],
    ),
)
def test_a_mistake_in_a_member_is_one_message_that_names_it(word: str, message: str, cache: Path) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parts_of(cache, word)


def test_classes_that_no_member_labels_are_named(cache: Path) -> None:
    word = "teacher.members={a: {teacher: oracle, classes: {car: road}}, b: {teacher: oracle, classes: {car: sky}}}"
    with pytest.raises(ValueError, match=r"no member of teacher ensemble labels car of the dataset"):
        _ = parts_of(cache, word).teacher_parts.teacher
    assert parts_of(cache, word, "teacher.allow_missing=true").teacher_parts.teacher.num_classes == 11
    lacking = "teacher.members={a: {teacher: oracle, label_set: [cat, dog]}, b: oracle}"
    with pytest.raises(ValueError, match=r"none of the teacher's classes.*set teacher.members.a.classes|members\.a"):
        _ = parts_of(cache, lacking).teacher_parts.teacher


def test_a_stores_recipe_gives_no_permission_to_members(odkd: Callable[..., Path], cache: Path) -> None:
    odkd(*ENSEMBLE, "teacher.members={a: oracle}", "teacher.name=one")
    (folder, *_) = (cache / "labels" / "one").iterdir()
    store = LabelStore(folder)
    assert store.manifest["recipe"]["teacher"]["members"]["a"]["name"] == "oracle"
    store.manifest["recipe"]["teacher"]["members"]["a"]["trust"] = True
    assert "trust" not in read_recipe(store, [], None).teacher.members.a
