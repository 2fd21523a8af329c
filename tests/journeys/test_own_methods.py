"""A user adds a replay memory, a regularizer, partial updates and other parts in one file outside odkd.

Nothing in odkd names them: their settings are checked by the types of their constructors, their run has a page, and a
table finds it.
"""

import json
import re
import sys
from pathlib import Path

import pytest
from tiny_settings import TINY

from odkd.commands.job import run_job
from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.report.tables import command

CODE = '''
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F

from odkd.common.settings import Fraction, PositiveInt
from odkd.stages import Traits


class Newest:
    def __init__(self, keep: PositiveInt) -> None:
        self.keep, self.positions = keep, []

    def select(self, num_positions, scorer):
        return self.positions[-self.keep :]

    def observe(self, fresh, scorer):
        self.positions += list(fresh)

    def kept(self):
        return self.positions

    def state_dict(self):
        return {"positions": self.positions}

    def load_state_dict(self, state):
        self.positions = state["positions"]


class Shrink:
    """Pulls all weights towards 0."""

    def __init__(self, strength: Fraction) -> None:
        self.strength = strength

    def adjust_logits(self, logits_BKHW, update):
        return logits_BKHW

    def penalty(self, student, logits_BKHW, update):
        return self.strength * sum(p.square().mean() for p in student.parameters())

    def after_update(self, student, update):
        pass

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class Strided:
    """Lets an iteration change every `stride`th entry of each parameter."""

    def __init__(self, stride: PositiveInt) -> None:
        self.stride = stride

    def choose(self, weights):
        masks = {name: torch.zeros_like(weight, dtype=torch.bool) for name, weight in weights.items()}
        for mask in masks.values():
            mask.view(-1)[:: self.stride] = True
        return masks

    def state_dict(self):
        return {}

    def load_state_dict(self, state):
        pass


class Smooth:
    name = "smooth"

    def __init__(self, smoothing: Fraction) -> None:
        self.smoothing = smoothing

    def __call__(self, logits_BKHW, labels_BHW):
        return F.cross_entropy(logits_BKHW, labels_BHW, ignore_index=255, label_smoothing=self.smoothing)


class Pixelwise(torch.nn.Module):
    def __init__(self, num_classes: int, width: PositiveInt) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(3, width, 1), torch.nn.ReLU(), torch.nn.Conv2d(width, num_classes, 1)
        )

    def forward(self, images_BCHW):
        return self.layers(images_BCHW)


class Brightness:
    """Labels a pixel by its brightness."""

    needs_images = True

    def __init__(self, classes: list[str], direction: Literal["up", "down"]) -> None:
        self.classes, self.num_classes, self.direction = classes, len(classes), direction

    def label(self, frames):
        levels = frames.images_BHWC.mean(-1) / 256
        levels = levels if self.direction == "up" else 1 - levels - 1e-6
        return np.clip(levels * self.num_classes, 0, self.num_classes - 1).astype(np.uint8)


@dataclass(frozen=True, kw_only=True)
class Halves:
    """Learns from the first half of the stream, then is scored on the second."""

    name: str
    passes: PositiveInt = 1
    traits: ClassVar[Traits] = Traits(compared="total/miou")

    def run(self, *, stream, learner, watch, run):
        middle = len(stream) // 2
        for _ in range(self.passes):
            learner.learn(watch.evaluator.bank, [[p] for p in range(middle)], stream_positions=range(middle))
        found = watch.evaluator.confusions(learner.student, range(middle, len(stream)))["teacher"].sum(0)
        run.save_confusions({"teacher": found})
        return {"total/miou": (found.diagonal().sum() / found.sum()).item()}
'''
YAML = {
    "replay": "_target_: my_lab.Newest\nkeep: 3\n",
    "regularizer": "_target_: my_lab.Shrink\nstrength: 0.5\n",
    "updates": "_target_: my_lab.Strided\nstride: 4\nsent: float16\n",
    "loss": "_target_: my_lab.Smooth\nsmoothing: 0.1\n",
    "student": (
        "_target_: my_lab.Pixelwise\nname: pixelwise\nwidth: 8\nweights: null\nfreeze: []\nmean: null\nstd: null\n"
    ),
    "teacher": (
        "defaults: [parts/common@_here_, _self_]\n_target_: my_lab.Brightness\nname: brightness\ndirection: up\n"
    ),
    "stage": "_target_: my_lab.Halves\nname: halves\npasses: 1\n",
}
TABLE = """
fixed: {fixed}
seeds: [0]
rows: {{Own: [], Plain: [replay=fifo, stage=online]}}
columns: {{mIoU: total/miou}}
"""
METHODS = [f"{group}=mine" for group in YAML if group != "stage"]
ALL = [*(word for word in METHODS if word != "updates=mine"), "stage=mine"]  # this stage sends no updates


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A user's folder: one module and a YAML file per group."""
    (tmp_path / "my_lab.py").write_text(CODE)
    for group, text in YAML.items():
        (tmp_path / "conf" / group).mkdir(parents=True)
        (tmp_path / "conf" / group / "mine.yaml").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "my_lab", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def words(cache: Path, *more: str) -> list[str]:
    return [*TINY, "allow_targets=[my_lab]", f"paths.cache={cache}", "dataset.groundtruth=null", *more]


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("replay.keep=0", "replay.keep=0; expected a whole number of at least 1"),
        ("regularizer.strength=2", "regularizer.strength=2; expected a number of at least 0 and of at most 1"),
        ("loss.smoothing=much", "loss.smoothing=much; expected a number of at least 0 and of at most 1"),
        ("student.width=2.5", "student.width=2.5; expected a whole number of at least 1"),
        ("teacher.direction=dwn", "teacher.direction=dwn; expected one of up, down; did you mean down?"),
        ("stage.passes=true", "stage.passes=true; expected a whole number of at least 1"),
        ("+replay.kept=1", "takes no kept; did you mean keep?; it takes keep"),
    ],
)
def test_a_wrong_setting_of_an_own_method_is_one_message(lab: Path, cache: Path, word: str, message: str) -> None:
    cfg = compose_config(words(cache, *ALL, word), str(lab / "conf"))
    with pytest.raises(ValueError, match=re.escape(message)):
        _ = Parts(cfg).replay


def test_own_methods_learn_online_and_have_a_page(lab: Path, cache: Path) -> None:
    cfg = compose_config(words(cache, *METHODS, "run.report=true"), str(lab / "conf"))
    value = run_job(cfg)
    folder = Parts(cfg).folder
    assert folder.name.startswith("online-synthetic-pixelwise-brightness-newest-shrink-strided-")
    assert 0 < value <= 1
    records = [json.loads(line)["metrics"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert {"learn/loss_smooth", "learn/loss_total"} <= records[-1].keys()
    assert records[-1]["learn/loss_total"] > records[-1]["learn/loss_smooth"]  # the penalty is added
    page = (folder / "report.html").read_text()
    shares = [record["update/changed_share"] for record in records[1:]]
    assert 0.1 < min(shares) <= max(shares) <= (6 + 2 + 22 + 3) / (24 + 8 + 88 + 11)  # every fourth, of each parameter
    assert "Newest" in page
    assert "brightness" in page
    assert (folder / "student.safetensors").is_file()


def test_an_own_stage_has_a_page_and_a_row_in_a_table(
    lab: Path, cache: Path, empty_database: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (lab / "outputs").mkdir()
    (lab / "outputs" / "mlflow.db").write_bytes(empty_database.read_bytes())
    fixed = words(cache, *ALL, "tracking=mlflow")
    fixed = [word for word in fixed if word != "tracking=none"]
    plain = [word for word in fixed if word != "allow_targets=[my_lab]"]  # a file cannot permit code
    (lab / "table.yaml").write_text(TABLE.format(fixed=json.dumps(plain)))
    cfg = compose_config([*fixed, "seed=0", "run.report=true"], str(lab / "conf"))
    value = run_job(cfg)
    assert value == json.loads((Parts(cfg).folder / "summary.json").read_text())["total/miou"]
    assert "halves" in (Parts(cfg).folder / "report.html").read_text()
    command.main(["table.yaml", "allow_targets=[my_lab]", "--config-dir", "conf", "--allow-missing"])
    printed, complaint = capsys.readouterr()
    assert f"| Own | {100 * value:.1f} | 1 |" in printed, complaint


def test_an_own_stage_is_run_once_and_its_settings_make_its_key(lab: Path, cache: Path) -> None:
    cfg, other = (
        compose_config(words(cache, *ALL, word), str(lab / "conf")) for word in ("stage.passes=1", "stage.passes=2")
    )
    assert Parts(cfg).key != Parts(other).key
    with pytest.raises(ValueError, match=r"after each; stage=halves has none: set updates=all updates\.sent=null"):
        run_job(compose_config(words(cache, *ALL, "updates=mine"), str(lab / "conf")))
    first = run_job(cfg)
    began = (Parts(cfg).folder / "run.json").stat().st_mtime_ns
    assert run_job(cfg) == first
    assert (Parts(cfg).folder / "run.json").stat().st_mtime_ns == began
