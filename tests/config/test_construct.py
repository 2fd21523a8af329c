"""Construction from YAML: a place takes classes of its role, whoever has written the YAML."""

import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from run_keys import run_key

from odkd.config.construct import construct, resolve
from odkd.config.roles import PACKAGES

WRITES = "odkd.common.files.write_atomic"


@pytest.mark.parametrize("place", [*PACKAGES, "loss.parts.mine", "student.head", "window", "anything"])
@pytest.mark.parametrize(
    "target",
    [
        *(WRITES, "odkd.common.files.os.system", "os.system", "odkd.config.compose.compose_config"),
        *("torch.hub.load", "torch.load", "odkd.teachers.download.download", "odkd.teachers.labeller.Labeller"),
        *("torch.optim.optimizer.torch.load", "odkd.students.weights.read_weights", "odkd.stages.online.logger"),
        *("segmentation_models_pytorch.from_pretrained", "odkd.training.replay.random.choice", "builtins.eval"),
    ],
)
def test_no_place_takes_a_function_that_is_not_of_its_role(place: str, target: str) -> None:
    with pytest.raises(ValueError, match=r"is not allowed|is not there|expected a class"):
        resolve(target, [], place)


def test_a_name_that_is_not_allowed_is_not_even_imported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "harmful.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match=r"add 'allow_targets=\[harmful\]' to the command if you trust"):
        resolve("harmful.Replay", [], "replay")
    assert "harmful" not in sys.modules


@pytest.mark.parametrize(
    "inside",
    [
        {"_target_": WRITES, "path": "x", "content": "y"},
        [{"_target_": "os.system", "command": "touch x"}],
        {"deep": {"deeper": [{"_target_": "odkd.config.compose.compose_config", "overrides": []}]}},
        {"_target_": "torch.nn.Sequential", "_args_": [{"_target_": "os.getcwd"}]},
    ],
)
def test_nested_nodes_are_checked_before_anything_is_called(
    inside: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    node = OmegaConf.create({"_target_": "torch.nn.CrossEntropyLoss", "weight": inside})
    with pytest.raises(ValueError, match="is not allowed"):
        construct(node, (), {}, [], "loss")
    assert not list(tmp_path.iterdir())


def test_layers_and_losses_may_be_nested() -> None:
    assert resolve("torch.nn.Conv2d", [], "student.head").__name__ == "Conv2d"
    assert resolve("odkd.training.losses.dice.Dice", [], "loss.parts.mine").__name__ == "Dice"


def test_yaml_cannot_name_what_an_allowed_module_imported_from_elsewhere(cache: Path) -> None:
    with pytest.raises(ValueError, match=r"expected a class of odkd\.training\.replay"):
        run_key(cache, "replay._target_=odkd.common.files.os.system")
    with pytest.raises(ValueError, match=r"expected a class of torch\.optim"):
        resolve("torch.optim.lr_scheduler.math.gcd", [], "optimizer")


@pytest.mark.parametrize("packages", ["abc", "[1]", "[my-lab]", "['a b']", "null"])
def test_allowed_packages_are_a_list_of_names(packages: str, cache: Path) -> None:
    with pytest.raises(ValueError, match="expected a list of packages"):
        run_key(cache, f"allow_targets={packages}")
