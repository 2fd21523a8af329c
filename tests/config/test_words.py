"""What people type: settings that Hydra would not read are read, or refused in one line with advice."""

import re
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from odkd.common.dotted import quoted
from odkd.config.compose import complete, compose_config
from odkd.config.known import known_groups, known_keys
from odkd.config.words import is_readable, read_settings


def read(*words: str) -> list[str]:
    return read_settings(words, known_groups(), known_keys)


@pytest.mark.parametrize(
    ("word", "key", "value"),
    [
        ("dataset.root=~/data", "dataset.root", "/home/me/data"),
        ("dataset.root='~/data'", "dataset.root", "/home/me/data"),
        ('dataset.root="~/my data"', "dataset.root", "/home/me/my data"),
        ("dataset.root=~", "dataset.root", "/home/me"),
        ("dataset.root=a~b", "dataset.root", "a~b"),
        ("paths.labels=~/x", "paths.labels", "/home/me/x"),
        ("allow_targets=[~/a,'~/b']", "allow_targets", ["/home/me/a", "/home/me/b"]),
        ('dataset.domains={"*night*": night}', "dataset.domains", {"*night*": "night"}),
        ("dataset.domains={*night*: night}", "dataset.domains", {"*night*": "night"}),
        ('+dataset.domains={"a:b, {c}": night, "x y":"d: e"}', "dataset.domains", {"a:b, {c}": "night", "x y": "d: e"}),
        ("++dataset.domains={'a b': c}", "dataset.domains", {"a b": "c"}),
        ('dataset.order.skip_minutes={"*a*": 0.5}', "dataset.order.skip_minutes", {"*a*": 0.5}),
        ("dataset.domains.night=dark", "dataset.domains", {"night": "dark"}),
        ("teacher.confusion={car: {road: 0.1}}", "teacher.confusion", {"car": {"road": 0.1}}),
        ('teacher.confusion={"traffic light": {car: 1}}', "teacher.confusion", {"traffic light": {"car": 1}}),
        ("teacher.confusion.car={road: 0.1}", "teacher.confusion", {"car": {"road": 0.1}}),
        ("teacher.confusion.car.road=0.1", "teacher.confusion", {"car": {"road": 0.1}}),
        ("~dataset.domains", "dataset.domains", {}),
        ("seed = 3", "seed", 3),
        ("seed= 3", "seed", 3),
        ("dataset.root=/Bücher & Co/#1", "dataset.root", "/Bücher & Co/#1"),
        ("dataset.root=it's (1)", "dataset.root", "it's (1)"),
        ("dataset.root=a=b", "dataset.root", "a=b"),
        ("dataset.root=C:\\data\\", "dataset.root", "C:\\data\\"),
        ("dataset.root=(x)\\", "dataset.root", "(x)\\"),
        ("run.name=übung", "run.name", "übung"),
    ],
)
def test_a_setting_is_read_as_people_type_it(
    monkeypatch: pytest.MonkeyPatch, word: str, key: str, value: object
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    cfg = complete(compose_config(["dataset=videos", word]))
    assert OmegaConf.select(cfg, key) == value
    assert read(*read(word)) == read(word)  # what is read once is read again by tools that compose runs


@pytest.mark.parametrize(
    "word",
    [
        *("seed=3", "+window.x=20", "replay=fifo,uniform", "optimizer.lr=interval(1e-5,1e-3)", "hydra/launcher=joblib"),
        *(
            "teacher.classes={dark: night}",
            "dataset.size=[32,48]",
            "run.name=a b",
            "experiment=null",
            "seed=",
            "~x.y=3",
        ),
    ],
)
def test_what_hydra_reads_stays_as_it_is(word: str) -> None:
    assert read(word) == [word]


@pytest.mark.parametrize("name", ["pspnet.yaml", "conf/teacher/pspnet.yaml", "./conf/teacher/pspnet.yml"])
def test_a_choice_may_be_the_name_of_its_file(name: str) -> None:
    assert read(f"teacher={name}", f"teacher=folder.yaml,{name}") == ["teacher=pspnet", "teacher=folder,pspnet"]


@pytest.mark.parametrize(
    ("words", "advice"),
    [
        (["teacher", "pspnet"], "write teacher=pspnet"),
        (["seed", "=", "3"], "write seed=3"),
        (["seed", "=3"], "write seed=3"),
        (["seed=", "3"], "write seed=3"),
        (["seed:3"], "write seed=3"),
        (["seed: 3"], "write seed=3"),
        (["teacher.pspnet"], "write teacher=pspnet"),
        (["teacher/pspnet"], "write teacher=pspnet"),
        (["smoke"], "write debug=smoke"),
        (["debug"], "write debug=NAME (known: smoke)"),
        (["run"], "write run.NAME=VALUE"),
        (["seed"], "write seed=VALUE"),
        (["help"], "write --help"),
        ([""], "expected KEY=VALUE"),
        (["=3"], "expected KEY=VALUE"),
        (["replay=[fifo,uniform]"], "odkd -m replay=fifo,uniform"),
        (["“seed=3”"], "write seed=3"),
        (["seed=“3”"], 'write seed="3"'),
        (["optimizer.lr=1e−5"], "write optimizer.lr=1e-5"),
        (["dataset.size=[360,", "640]"], "'dataset.size=[360, 640]'"),
        (["dataset.domains={*night*:", "night}"], "'dataset.domains={*night*: night}'"),
        (["dataset.domains={*a*: é}"], "in double quotes"),
        (['dataset.domains={"é": night}'], "as a pattern: ? is any letter"),
        (['dataset.domains={"1": night}'], "[1] is the digit 1"),
        (["seed=rang(3)"], "there is no function rang; did you mean range?"),
        (["run.name='x"], "the quotes in it do not end"),
        (["~/data"], "expected KEY=VALUE"),
    ],
)
def test_a_word_that_cannot_be_read_is_refused_with_what_to_write(words: list[str], advice: str) -> None:
    with pytest.raises(ValueError, match=re.escape(advice)) as refused:
        read(*words)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("advised", ['dataset.domains={"[1]": a}', 'dataset.domains={"nuit ?*": a}'])
def test_the_advice_on_quoted_keys_works(advised: str) -> None:
    assert len(complete(compose_config([advised])).dataset.domains) == 3  # with the two of the dataset


def test_a_quoted_value_is_the_same_text_again() -> None:
    for text in ("it's", "a\\", "a\\'b", "é", "x y", "(a)\\\\"):
        assert is_readable(f"run.name={quoted(text)}")
        assert compose_config([f"run.name={quoted(text)}"]).run.name == text


def test_a_home_folder_in_yaml_is_expanded_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    (tmp_path / "dataset").mkdir()
    (tmp_path / "dataset" / "mine.yaml").write_text("defaults: [videos, _self_]\nroot: ~/videos\n")
    assert complete(compose_config(["dataset=mine"], str(tmp_path))).dataset.root == "/home/me/videos"
