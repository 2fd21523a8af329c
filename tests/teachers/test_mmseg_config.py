"""Configs of mmsegmentation: how they are found and identified, and messages about missing packages."""

import hashlib
import importlib
import sys
from pathlib import Path
from typing import Any

import pytest
from mmseg_networks import (
    BASES,
    teacher_of,
)

from odkd.teachers.mmseg import MMSegTeacher
from odkd.teachers.mmseg_config import OLD_NAMES, config_identity, load_config, own_file


def test_shipped_configs_are_found_by_any_of_their_names_and_download_nothing() -> None:
    name = "segformer_mit-b5_8xb1-160k_cityscapes-1024x1024"
    old = "segformer_mit-b5_8x1_1024x1024_160k_cityscapes.py"
    given = (name, f"{name}.py", f"segformer/{name}.py", old, f"../mmsegmentation/configs/segformer/{old}")
    assert len({str(load_config(each, {}).model) for each in given}) == 1
    for new in OLD_NAMES.values():
        text = str(load_config(new, {}).model)
        assert not any(part in text for part in ("http", "open-mmlab:", "torchvision:", "pretrain/", "SyncBN"))


def identify(
    checkpoint: Path | str, config: Path | str = "pspnet_r101b-d8_512x1024_80k_cityscapes.py", **more: Any
) -> Any:
    settings = {
        "config": str(config),
        "checkpoint": str(checkpoint),
        "precision": "float32",
        "tta": False,
        "options": None,
    }
    return MMSegTeacher.identity(settings | more, lambda path: hashlib.sha256(path.read_bytes()).hexdigest())


def test_identity_is_that_of_weights_and_config_in_any_place(tmp_path: Path) -> None:
    content = b"weights"
    digest = hashlib.sha256(content).hexdigest()
    names = [f"net-{digest[:8]}.pth", "net.pth", "net-20240131.pth", "net-00112233.pth"]
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.write_bytes(content)
    published = identify(f"https://example.org/{names[0]}")
    assert published["config"] == "pspnet_r101b-d8_4xb2-80k_cityscapes-512x1024"
    assert published["checkpoint"] == digest[:8]
    assert identify(paths[0]) == identify(f"https://example.org/{names[0]}?download=1") == published
    assert identify(paths[0], "pspnet/pspnet_r101b-d8_4xb2-80k_cityscapes-512x1024.py") == published
    installed = next(BASES.parent.rglob("pspnet_r101b-d8_4xb2-80k_cityscapes-512x1024.py"))
    assert identify(paths[0], installed) == published
    assert [identify(path)["checkpoint"] for path in paths[1:]] == [digest] * 3, "names with a wrong digest or none"
    assert identify("https://example.org/net.pth")["checkpoint"] == "https://example.org/net.pth"
    others = [{"precision": "bfloat16"}, {"tta": True}, {"options": {"test_pipeline.1.scale": [64, 64]}}]
    assert all(identify(paths[0], **other) != published for other in others)


def test_a_users_config_is_identified_by_its_text_and_that_of_its_bases(tmp_path: Path) -> None:
    def digest(path: Path) -> str:
        return path.read_text()

    for folder in ("a", "b"):
        (tmp_path / folder / "bases").mkdir(parents=True)
        (tmp_path / folder / "own.py").write_text("_base_ = ['./bases/one.py', 'bases/one.py']\nx = 1")
        (tmp_path / folder / "bases" / "one.py").write_text("_base_ = 'two.py'")
        (tmp_path / folder / "bases" / "two.py").write_text("y = 1")
        (tmp_path / folder / "lazy.py").write_text("with read_base():\n    from .bases.two import *")
    first, second = (tmp_path / folder / "own.py" for folder in ("a", "b"))
    assert own_file(str(first)) == first
    assert config_identity(str(first), digest) == [
        path.read_text() for path in (first, tmp_path / "a/bases/one.py", tmp_path / "a/bases/two.py")
    ]
    assert config_identity(str(first), digest) == config_identity(str(second), digest)
    lazy = config_identity(str(tmp_path / "b" / "lazy.py"), digest)
    (tmp_path / "b" / "bases" / "two.py").write_text("y = 2")
    assert config_identity(str(first), digest) != config_identity(str(second), digest)
    assert lazy != config_identity(str(tmp_path / "b" / "lazy.py"), digest)
    first.write_text("model = dict(")
    with pytest.raises(ValueError, match="cannot be read"):
        config_identity(str(first), digest)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("No module named 'mmseg'"), r"pip install 'odkd\[mmseg\]'"),
        (ImportError("libGL.so.1: cannot open shared object file"), "apt install libgl1"),
    ],
)
def test_missing_packages_are_named(error: ImportError, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def refuse(name: str, *rest: Any) -> Any:
        if name.startswith("mmseg"):
            raise error
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(ValueError, match=message):
        teacher_of("x", "x")


def test_identity_needs_no_mmseg(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("mmseg", "mmengine", "mmcv")]:
        monkeypatch.setitem(sys.modules, name, None)
    assert identify("https://example.org/net-0011223f.pth")["checkpoint"] == "0011223f"
