"""Weights from the cache of the Hugging Face hub or from a folder: found, identified, complete."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf
from transformers_networks import (
    CPU,
    images,
    save,
    segformer,
    show,
    transformers,
)

from odkd.config.compose import compose_config
from odkd.config.known import CONF
from odkd.teachers.hub import identify, is_commit, locate, weight_files
from odkd.teachers.transformers import TransformersTeacher
from odkd.teachers.transformers_load import check_config, read


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a network as the hub would have it."""
    return save(segformer, tmp_path_factory.mktemp("transformers") / "segformer")


@pytest.fixture
def cache(network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache with one commit of lab/segformer, to which its `main` pointed at the time of the download."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--lab--segformer"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    shutil.copytree(network, repository / "snapshots" / COMMIT)
    return tmp_path


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def never(path: Path) -> str:
    raise AssertionError(f"{path} was read without need")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


PRESETS = [
    path.stem
    for path in sorted((CONF / "teacher").glob("*.yaml"))
    if {"transformers", "smp_hub", "videomt"} & set(OmegaConf.load(path).defaults)
] + ["videomt", "sam3", "sam3_video"]
CONVERTED = "eomt_dinov3_"  # published as differences to other weights: there is no hub id to pin


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_pinned_or_marked_as_not_pinned(preset: str) -> None:
    teacher = compose_config([f"teacher={preset}"]).teacher
    text = (CONF / "teacher" / f"{preset}.yaml").read_text()
    assert teacher.name == preset
    assert teacher.revision == "main" or is_commit(teacher.revision)  # YAML may read digits as a number
    assert (teacher.revision == "main") == ("not pinned" in text)
    known_sets = ("cityscapes", "ade20k", "coco_panoptic")
    assert teacher.label_set in ((None,) if preset.startswith(("videomt", "sam3")) else known_sets)
    assert teacher.licence
    if preset.startswith(CONVERTED):
        assert OmegaConf.is_missing(teacher, "model")
        assert teacher.source.startswith("https://huggingface.co/tue-mps/")
    else:
        assert teacher.source == f"https://huggingface.co/{teacher.model}"


@pytest.mark.usefixtures("cache")
def test_pinned_weights_are_taken_from_the_cache_and_identified_by_their_commit(
    network: Path, caplog: pytest.LogCaptureFixture
) -> None:
    frames = show(images(1, 64, 96))
    teacher = TransformersTeacher("lab/segformer", revision=COMMIT, device=CPU)
    expected = TransformersTeacher(str(network), device=CPU).label(frames)
    np.testing.assert_array_equal(teacher.label(frames), expected)
    assert not caplog.records
    settings = {"model": "lab/segformer", "revision": COMMIT, "precision": "float32", "task": "semantic"}
    identity = TransformersTeacher.identity(settings, never)
    assert identity["weights"] == {"model": "lab/segformer", "commit": COMMIT}
    other = TransformersTeacher.identity(
        settings | {"revision": COMMIT[::-1]}, never
    )  # these weights are not available
    assert other["weights"]["commit"] == COMMIT[::-1]
    for key, value in {"precision": "bfloat16", "task": "panoptic"}.items():
        assert TransformersTeacher.identity(settings | {key: value}, never) != identity


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("revision", [None, "main"])
def test_weights_that_are_not_pinned_cause_a_warning_and_are_identified_by_the_commit_found(
    revision: str | None, caplog: pytest.LogCaptureFixture
) -> None:
    TransformersTeacher("lab/segformer", revision=revision, device=CPU)
    assert f"teacher.revision={COMMIT}" in caplog.text
    identity = TransformersTeacher.identity({"model": "lab/segformer", "revision": revision}, never)
    assert identity["weights"] == {"model": "lab/segformer", "commit": COMMIT}


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("revision", [None, "main", "89abcdef" * 5])
def test_unavailable_weights_are_one_message_with_the_download_command(revision: str | None) -> None:
    with pytest.raises(ValueError, match=r"hf download lab/other --revision \w+ .* teacher\.model=FOLDER"):
        TransformersTeacher("lab/other", revision=revision, device=CPU)
    with pytest.raises(ValueError, match="no such folder"):
        TransformersTeacher("/no/such/folder", revision=revision, device=CPU)


def test_an_incomplete_copy_in_the_cache_is_refused(cache: Path) -> None:
    next(cache.rglob("model.safetensors")).unlink()
    # huggingface_hub 1 raises when it cannot fetch what is missing, 2 returns the incomplete copy.
    with pytest.raises(ValueError, match=r"has no complete set of weights|are not in the hub's cache and cannot be"):
        TransformersTeacher("lab/segformer", revision=COMMIT, device=CPU)


@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
def test_missing_files_are_downloaded_in_the_safe_format_if_there_is_one(
    network: Path, cache: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    from safetensors.torch import load_file

    repository = shutil.copytree(network, cache / "at_the_hub")
    if kind == "pytorch_model.bin":
        torch.save(load_file(repository / "model.safetensors"), repository / kind)
        (repository / "model.safetensors").unlink()
    snapshot = cache / "models--lab--segformer" / "snapshots" / COMMIT
    (snapshot / "preprocessor_config.json").unlink()
    if kind == "pytorch_model.bin":
        (snapshot / "model.safetensors").unlink()
    asked = []

    def snapshot_download(model: str, *, revision: str, allow_patterns: list[str]) -> str:
        asked.append((model, revision, allow_patterns[-1]))
        for path in repository.iterdir():
            if any(path.match(pattern) for pattern in allow_patterns):
                shutil.copy(path, snapshot)
        return str(snapshot)

    monkeypatch.setattr("huggingface_hub.snapshot_download", snapshot_download)
    teacher = TransformersTeacher("lab/segformer", revision=COMMIT, device=CPU)
    frames = show(images(1, 64, 96))
    expected = TransformersTeacher(str(network), device=CPU).label(frames)
    np.testing.assert_array_equal(teacher.label(frames), expected)
    patterns = ["model*.safetensors", "pytorch_model*.bin"][: 1 + (kind == "pytorch_model.bin")]
    assert asked == [("lab/segformer", COMMIT, pattern) for pattern in patterns]
    TransformersTeacher("lab/segformer", revision=COMMIT, device=CPU)
    assert len(asked) == len(patterns), "the hub was asked again for files in the cache"


def test_a_folder_is_identified_by_its_content_in_any_place(network: Path, tmp_path: Path) -> None:
    def named(folder: Path, **settings: Any) -> dict[str, Any]:
        return TransformersTeacher.identity({"model": str(folder)} | settings, sha256)

    here = network
    there = shutil.copytree(here, tmp_path / "moved")
    assert named(here) == named(there) == named(there, revision="main")
    (there / "README.md").write_text("not read by anyone")
    assert named(here) == named(there)
    settings = json.loads((there / "preprocessor_config.json").read_text())
    (there / "preprocessor_config.json").write_text(json.dumps(settings | {"size": {"height": 32, "width": 32}}))
    assert named(here) != named(there)
    other = save(segformer, tmp_path / "other")
    weights = (other / "model.safetensors").read_bytes()
    assert named(here) == named(other)
    (other / "model.safetensors").write_bytes(weights[:-1] + b"x")
    assert named(here) != named(other)


def test_weights_in_parts_need_all_parts(network: Path, tmp_path: Path) -> None:
    model = transformers.SegformerForSemanticSegmentation.from_pretrained(network)
    folder = shutil.copytree(network, tmp_path / "parts", ignore=lambda *_: ["model.safetensors"])
    model.save_pretrained(folder, max_shard_size="20KB")
    parts = sorted(folder.glob("model-*.safetensors"))
    assert len(parts) > 1
    frames = show(images(1, 64, 96))
    expected = TransformersTeacher(str(network), device=CPU).label(frames)
    np.testing.assert_array_equal(TransformersTeacher(str(folder), device=CPU).label(frames), expected)
    identity = TransformersTeacher.identity({"model": str(folder)}, sha256)
    assert {part.name for part in parts} < set(identity["weights"]["files"])
    parts[0].unlink()
    with pytest.raises(ValueError, match="has no complete set of weights"):
        TransformersTeacher(str(folder), device=CPU)


@pytest.mark.parametrize("name", ["../out/part.safetensors", "/etc/passwd", "sub/part.safetensors", "..", ""])
def test_an_index_names_files_beside_it(name: str, tmp_path: Path) -> None:
    for part in ("part.safetensors", "passwd"):
        (tmp_path / part).write_bytes(b"decoy")
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(ValueError, match="which is no file beside it"):
        weight_files(tmp_path)


@pytest.mark.parametrize(
    "config",
    [
        {"backbone": "hf-hub:somebody/net"},
        {"backbone_config": {"model_type": "timm_backbone", "backbone": "local-dir:/somewhere"}},
        {"parts": [{"backbone": "somebody/net"}]},
        {"attn_implementation": "somebody/kernel"},
        {"decoder": {"_attn_implementation": "kernels-community/flash-attn"}},
    ],
)
def test_a_config_leads_nowhere(config: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="leads out of the folder"):
        read(pytest, tmp_path)


def test_names_of_a_config_stay(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(
        json.dumps({"backbone": "resnet50", "attn_implementation": "sdpa", "x": "a/b"})
    )
    check_config(tmp_path)


def test_a_network_that_is_larger_than_its_files_takes_no_memory(network: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(network, tmp_path / "net")) / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"decoder_hidden_size": 20_000}))
    with pytest.raises(ValueError, match="they do not belong together"):
        TransformersTeacher(str(tmp_path / "net"), device=CPU)


def test_the_home_of_nobody_is_one_line() -> None:
    for look in (lambda: locate("~nobody-here/x", None, needs=()), lambda: identify("~nobody-here/x", None, never)):
        with pytest.raises(ValueError, match="~nobody-here/x: "):
            look()
