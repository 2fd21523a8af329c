"""Weights as trainers leave them: unwrapped and renamed where it is plain, named where it is not; no code is run."""

import argparse
import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from extras import need
from safetensors.torch import save_file
from torch import Tensor, nn

from odkd.students.fitting import fit, load_weights
from odkd.students.tinynet import TinyNet
from odkd.students.weights import read_checkpoint
from odkd.teachers.checkpoint import CheckpointTeacher

State = dict[str, Tensor]


def under(prefix: str) -> Callable[[State], State]:
    return lambda state: {prefix + name: tensor for name, tensor in state.items()}


def adam(state: State) -> dict[str, Any]:
    moments = {number: {"exp_avg": tensor, "step": torch.tensor(1.0)} for number, tensor in enumerate(state.values())}
    return {"state": moments, "param_groups": [{"lr": 0.1, "params": list(moments)}]}


OPTIONS = argparse.Namespace(lr=0.1, folder=Path("x"))
LEFT: dict[str, Callable[[State], Any]] = {
    "data parallel": under("module."),
    "compiled": under("_orig_mod."),
    "compiled and parallel": under("module._orig_mod."),
    "lightning": lambda s: {"state_dict": under("model.")(s), "epoch": 3, "hyper_parameters": {"o": OPTIONS}},
    "lightning with a criterion": lambda s: {"state_dict": under("net.")(s) | {"criterion.weight": torch.ones(3)}},
    "another prefix": under("segmentor.inner."),
    "beside another network": lambda s: under("student.")(s) | {"teacher.conv.weight": torch.ones(2)},
    "model": lambda s: {"model": s, "optimizer": adam(s), "args": OPTIONS, "best": np.float64(0.4)},
    "model_state_dict": lambda s: {"model_state_dict": s, "optimizer_state_dict": adam(s), "loss": torch.tensor(1.0)},
    "nested": lambda s: {"state": {"network": under("module.")(s)}, "rng": {"cpu": torch.zeros(4)}},
    "an unknown key": lambda s: {"my_weights": s, "epoch": 1},
    "averaged": lambda s: {"n_averaged": torch.tensor(3)} | under("module.")(s),
    "counted by thop": lambda s: s | {"total_ops": torch.zeros(1), "encoder.total_params": torch.zeros(1)},
    "with an auxiliary head": lambda s: s | {"aux_classifier.0.weight": torch.zeros(1)},
    "numbers beside": lambda s: s | {"epoch": 3},
    "without counters": lambda s: {name: t for name, t in s.items() if not name.endswith("num_batches_tracked")},
}


@pytest.mark.parametrize("name", LEFT)
def test_what_a_trainer_leaves_loads_as_the_plain_weights(name: str, tmp_path: Path) -> None:
    source, target = TinyNet(3), TinyNet(3)
    torch.save(LEFT[name](source.state_dict()), tmp_path / "left.pth")
    load_weights(target, tmp_path / "left.pth")
    assert all(
        torch.equal(a, b) for a, b in zip(source.state_dict().values(), target.state_dict().values(), strict=True)
    )


def test_names_inside_are_compared_without_what_wrapped_modules_add(tmp_path: Path) -> None:
    source = nn.Sequential(nn.Sequential(nn.Conv2d(3, 2, 1)), nn.Conv2d(2, 2, 1))
    target = copy.deepcopy(source)
    source[0][0].weight.data += 1
    inside = {name.replace("0.0.", "0.module.0."): tensor for name, tensor in source.state_dict().items()}
    fit(target, inside, tmp_path, "this student")
    assert torch.equal(target[0][0].weight, source[0][0].weight)
    outer = nn.Sequential(target)  # as a student that wraps a library's network, which the file holds alone
    source[0][0].weight.data += 1
    fit(outer, under("net.")(source.state_dict()), tmp_path, "this student")
    assert torch.equal(target[0][0].weight, source[0][0].weight)


def test_weights_that_lie_beside_averaged_ones_are_used_and_the_others_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    source, target = TinyNet(3), TinyNet(3)
    torch.save({"model_ema": TinyNet(3).state_dict(), "model": source.state_dict()}, tmp_path / "two.pth")
    load_weights(target, tmp_path / "two.pth")
    assert all(torch.equal(a, b) for a, b in zip(source.parameters(), target.parameters(), strict=True))
    assert "under model and model_ema; those under model are used" in caplog.text


NOT_PLAIN: dict[str, tuple[Callable[[State], Any], str]] = {
    "whole model": (lambda _: TinyNet(3), "a pickled object (odkd.students.tinynet.TinyNet), such as a whole model"),
    "wrapped model": (lambda _: {"model": TinyNet(3), "epoch": 1}, "save its weights alone: torch.save(model.state_"),
    "unknown keys": (lambda s: {"a": s, "b": s}, "holds weights under a, b; expected one of them"),
    "two networks": (lambda s: under("student.")(s) | under("teacher.")(s), "under student., teacher.; expected one"),
    "a list": (lambda _: [1, 2], "holds a list; expected a dict"),
    "no weights": (lambda _: {"epoch": 3}, "holds epoch; expected a state_dict"),
    "nothing": (lambda _: {}, "holds nothing; expected a state_dict"),
    "another network": (lambda _: under("x.")({"a": torch.ones(1)}), "1 weight without a place in it, such as x.a"),
    "other classes": (lambda _: TinyNet(4).state_dict(), "of another shape: "),
    "other classes, wrapped": (lambda _: {"model": under("module.")(TinyNet(4).state_dict())}, "of another shape: "),
}


@pytest.mark.parametrize("name", NOT_PLAIN)
def test_what_is_not_plain_is_one_line_that_names_it(name: str, tmp_path: Path) -> None:
    make, part = NOT_PLAIN[name]
    path = tmp_path / "file.pth"
    torch.save(make(TinyNet(3).state_dict()), path)
    with pytest.raises(ValueError, match=re.escape(part)) as raised:
        load_weights(TinyNet(3), path)
    assert str(raised.value).startswith(f"{path} ")
    assert "\n" not in str(raised.value)


class Evil:
    """An object that makes a file when it is unpickled."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return open, (str(self.path), "w")


def test_nothing_in_a_file_is_run(tmp_path: Path) -> None:
    made, path = tmp_path / "made", tmp_path / "evil.pth"
    torch.save({"state_dict": TinyNet(3).state_dict(), "x": Evil(made), "meta": {"y": Evil(made), "z": 1}}, path)
    content = read_checkpoint(path, "student.weights")
    assert content["meta"] == {"z": 1}
    assert "x" not in content
    torch.save(Evil(made), path)
    with pytest.raises(ValueError, match="pickled object"):
        load_weights(TinyNet(3), path)
    assert not made.exists()


def test_files_that_are_no_weights_are_one_line_for_students_and_teachers(tmp_path: Path) -> None:
    need("segmentation_models_pytorch")
    whole, safe = tmp_path / "whole.pth", tmp_path / "whole.safetensors"
    torch.save(TinyNet(3).state_dict(), whole)
    save_file(TinyNet(3).state_dict(), safe)
    torch.export.save(torch.export.export(nn.Linear(1, 1), (torch.ones(1, 1),)), tmp_path / "program.pth")
    files = {
        "page.pth": (b"\n<!DOCTYPE html><html>404</html>", "is a page of the web"),
        "page.safetensors": (b"<html>404</html>", "is a page of the web"),
        "pointer.pth": (b"version https://git-lfs.github.com/spec/v1\noid", "git lfs pull"),
        "cut.pth": (whole.read_bytes()[:-500], "damaged or cut off"),
        "cut.safetensors": (safe.read_bytes()[:-500], "damaged or cut off"),
        "head.safetensors": (safe.read_bytes()[:9], "damaged or cut off"),
        "empty.pth": (b"", "it is empty"),
        "words.pth": (b"not a checkpoint", "it begins with b'not a check"),
    }
    for name, (content, part) in files.items():
        path = tmp_path / name
        path.write_bytes(content)
        for load in (
            lambda path=path: load_weights(TinyNet(3), path),
            lambda path=path: CheckpointTeacher(str(path), device=torch.device("cpu"), arch="FPN"),
        ):
            with pytest.raises(ValueError, match=re.escape(part)) as raised:
                load()
            assert str(raised.value).startswith(f"{path} holds no weights that load safely")
            assert "\n" not in str(raised.value)
    with pytest.raises(ValueError, match="no student weights"):
        load_weights(TinyNet(3), tmp_path)
    with pytest.raises(ValueError, match=r"program\.pth holds no weights that load safely"):
        load_weights(TinyNet(3), tmp_path / "program.pth")


@pytest.mark.parametrize("name", ["data parallel", "lightning", "model"])
def test_a_teacher_takes_what_a_trainer_leaves(name: str, tmp_path: Path) -> None:
    smp = need("segmentation_models_pytorch")
    network = smp.create_model("FPN", encoder_name="mobilenet_v2", encoder_weights=None, classes=3)
    torch.save(LEFT[name](network.state_dict()), tmp_path / "left.pth")
    teacher = CheckpointTeacher(
        str(tmp_path / "left.pth"),
        device=torch.device("cpu"),
        arch="FPN",
        encoder_name="mobilenet_v2",
        num_classes=3,
        mean=[0.5] * 3,
        std=[0.5] * 3,
    )
    own = teacher._network.state_dict()
    assert all(torch.equal(tensor, own[name]) for name, tensor in network.state_dict().items())


def changed(state: State, change: Callable[[Tensor], Tensor]) -> State:
    """Return a state dict with its last floating-point weight changed."""
    name = [name for name, tensor in state.items() if tensor.is_floating_point()][-1]
    return state | {name: change(state[name])}


@pytest.mark.parametrize(
    ("change", "part"),
    [
        (lambda w: w * float("nan"), "1 weight with NaN, such as"),
        (lambda w: (100 * w).to(torch.int8), "is int8, expected plain float32"),
        (lambda w: w.to_sparse(), "is float32 sparse_coo, expected plain float32"),
        (lambda w: w.to("meta"), "is without data (meta), expected plain float32"),
    ],
)
def test_weights_that_are_no_plain_numbers_are_one_line(
    change: Callable[[Tensor], Tensor], part: str, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=re.escape(part)):
        fit(TinyNet(3), changed(TinyNet(3).state_dict(), change), tmp_path / "mine.pth", "this student")


def test_weights_of_lower_precision_are_taken(tmp_path: Path) -> None:
    source, target = TinyNet(3), TinyNet(3)
    for kind in (torch.bfloat16, torch.float16, torch.float64, torch.float8_e5m2):
        fit(target, changed(source.state_dict(), lambda w, kind=kind: w.to(kind)), tmp_path, "this student")


def test_parts_of_weights_are_named_as_such(tmp_path: Path) -> None:
    state = TinyNet(3).state_dict()
    save_file(dict(list(state.items())[:3]), tmp_path / "model-00001-of-00002.safetensors")
    with pytest.raises(ValueError, match=r"weights missing, .* \(it is part 1 of 2: join them in one file\)"):
        load_weights(TinyNet(3), tmp_path / "model-00001-of-00002.safetensors")
    (tmp_path / "model.safetensors.index.json").write_text('{"weight_map": {}}')
    with pytest.raises(ValueError, match="is an index of files with parts of the weights"):
        load_weights(TinyNet(3), tmp_path / "model.safetensors.index.json")
    np.savez(tmp_path / "weights.npz", w=np.zeros(1))
    with pytest.raises(ValueError, match=r"is a zip archive of w\.npy: unpack it"):
        load_weights(TinyNet(3), tmp_path / "weights.npz")


def test_normalization_in_a_teachers_file_is_that_of_images_in_0_to_1(tmp_path: Path) -> None:
    smp = need("segmentation_models_pytorch")
    network = smp.create_model("FPN", encoder_name="mobilenet_v2", encoder_weights=None, classes=3)
    facts = {"state_dict": network.state_dict(), "arch": "FPN", "encoder_name": "mobilenet_v2"}
    torch.save(facts | {"mean": [123.7, 116.3, 103.5], "std": [58.4, 57.1, 57.4]}, tmp_path / "net.pth")
    with pytest.raises(ValueError, match=r"net\.pth: mean=\[123\.7, .*\]; expected RGB in 0\.\.1: divide"):
        CheckpointTeacher(str(tmp_path / "net.pth"), device=torch.device("cpu"))
