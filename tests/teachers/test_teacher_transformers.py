"""Teachers of Hugging Face transformers: tiny random networks of each architecture, against the library's labels."""

import hashlib
import json
import logging
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import OmegaConf

from odkd.config.compose import CONF, compose_config
from odkd.teachers import SampledFrames, SoftTeacher
from odkd.teachers.hub import is_commit
from odkd.teachers.transformers import TransformersTeacher

transformers = pytest.importorskip("transformers", reason="needs odkd[transformers]")

CPU = torch.device("cpu")
NAMES = {0: "road", 1: "sky", 2: "car", 3: "person", 4: "pole"}
SWIN: dict[str, Any] = {
    "embed_dim": 8,
    "depths": [1, 1, 1, 1],
    "num_heads": [1, 1, 2, 2],
    "window_size": 4,
    "drop_path_rate": 0.0,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}
HEAD: dict[str, Any] = {
    "hidden_dim": 32,
    "mask_dim": 32,
    "num_attention_heads": 2,
    "dim_feedforward": 32,
    "encoder_feedforward_dim": 32,
    "encoder_layers": 1,
    "decoder_layers": 2,
    "num_queries": 12,
}


def segformer() -> tuple[Any, Any]:
    config = transformers.SegformerConfig(
        depths=[1, 1, 1, 1],
        hidden_sizes=[8, 8, 16, 16],
        num_attention_heads=[1, 1, 2, 2],
        decoder_hidden_size=16,
        id2label=NAMES,
    )
    processor = transformers.SegformerImageProcessor(size={"height": 64, "width": 96})
    return transformers.SegformerForSemanticSegmentation(config), processor


def upernet() -> tuple[Any, Any]:
    backbone = transformers.ConvNextConfig(
        hidden_sizes=[8, 8, 16, 16], depths=[1, 1, 1, 1], out_features=["stage1", "stage2", "stage3", "stage4"]
    )
    config = transformers.UperNetConfig(
        backbone_config=backbone, hidden_size=16, id2label=NAMES, use_auxiliary_head=False
    )
    processor = transformers.SegformerImageProcessor(size={"height": 64, "width": 64})
    return transformers.UperNetForSemanticSegmentation(config), processor


def maskformer() -> tuple[Any, Any]:
    swin = transformers.SwinConfig(**SWIN)
    decoder = transformers.DetrConfig(
        d_model=32,
        encoder_layers=1,
        decoder_layers=1,
        encoder_ffn_dim=32,
        decoder_ffn_dim=32,
        num_queries=12,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
    )
    config = transformers.MaskFormerConfig(
        backbone_config=swin, decoder_config=decoder, fpn_feature_size=32, mask_feature_size=32, id2label=NAMES
    )
    processor = transformers.MaskFormerImageProcessor(size={"shortest_edge": 64, "longest_edge": 128})
    return transformers.MaskFormerForInstanceSegmentation(config), processor


def mask2former() -> tuple[Any, Any]:
    head = {key: value for key, value in HEAD.items() if key != "mask_dim"}
    config = transformers.Mask2FormerConfig(
        backbone_config=transformers.SwinConfig(**SWIN), feature_size=32, mask_feature_size=32, id2label=NAMES, **head
    )
    processor = transformers.Mask2FormerImageProcessor(size={"shortest_edge": 64, "longest_edge": 128})
    return transformers.Mask2FormerForUniversalSegmentation(config), processor


def oneformer() -> tuple[Any, Any]:
    config = transformers.OneFormerConfig(
        backbone_config=transformers.SwinConfig(**SWIN), conv_dim=32, task_seq_len=12, id2label=NAMES, **HEAD
    )
    # The class table is in another repository of the hub, so that this folder must work without it.
    processor = transformers.OneFormerImageProcessor(size={"shortest_edge": 64, "longest_edge": 128})
    processor.class_info_file, processor.repo_path = "none.json", "nobody/nowhere"
    return transformers.OneFormerForUniversalSegmentation(config), processor


def eomt(**processor: Any) -> tuple[Any, Any]:
    config = transformers.EomtConfig(
        hidden_size=16,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_blocks=1,
        image_size=64,
        num_queries=12,
        num_upscale_blocks=1,
        id2label=NAMES,
    )
    return transformers.EomtForUniversalSegmentation(config), transformers.EomtImageProcessor(**processor)


def eomt_windows() -> tuple[Any, Any]:
    return eomt(size={"shortest_edge": 64, "longest_edge": None}, do_split_image=True, do_pad=True)


def eomt_padded() -> tuple[Any, Any]:
    return eomt(size={"shortest_edge": 64, "longest_edge": 64}, do_pad=True)


FAMILIES: list[Callable[[], tuple[Any, Any]]] = [
    segformer,
    upernet,
    maskformer,
    mask2former,
    oneformer,
    eomt_windows,
    eomt_padded,
]


def save(make: Callable[[], tuple[Any, Any]], folder: Path) -> Path:
    torch.manual_seed(7)
    network, processor = make()
    for name, parameter in network.named_parameters():  # freshly initialized, most networks predict one class only
        if parameter.ndim > 1 and not name.startswith("criterion"):
            torch.nn.init.normal_(parameter, std=2.0 if "class" in name else 0.5)
    network.save_pretrained(folder)
    processor.save_pretrained(folder)
    if make is oneformer:
        tokenizer(folder)
    return folder


def tokenizer(folder: Path) -> None:
    """Save a CLIP tokenizer whose vocabulary is single letters."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({word: i for i, word in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\n")
    transformers.CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt")).save_pretrained(folder)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    root = tmp_path_factory.mktemp("transformers")
    return {make.__name__: save(make, root / make.__name__) for make in FAMILIES}


def images(batch_size: int, height: int, width: int) -> np.ndarray:
    """Return images of coloured blocks, in which networks predict several classes."""
    small = np.random.default_rng(0).integers(0, 256, (batch_size, 7, 9, 3), dtype=np.uint8)
    large = small.repeat(-(-height // 7), 1).repeat(-(-width // 9), 2)
    return np.ascontiguousarray(large[:, :height, :width])


def show(images_BHWC: np.ndarray) -> SampledFrames:
    return SampledFrames("v", list(range(len(images_BHWC))), images_BHWC, None)


def library_labels(folder: Path, images_BHWC: np.ndarray, precision: torch.dtype | None = None) -> np.ndarray:
    """Return the label maps of one batch, made as in the library's documentation."""
    semantic = "SemanticSegmentation" in json.loads((folder / "config.json").read_text())["architectures"][0]
    kind = transformers.AutoModelForSemanticSegmentation if semantic else transformers.AutoModelForUniversalSegmentation
    network = kind.from_pretrained(folder).eval()
    more: dict[str, Any] = {}
    if folder.name == "oneformer":
        processor = transformers.OneFormerProcessor(
            image_processor=transformers.OneFormerImageProcessor.from_pretrained(folder, class_info_file=None),
            tokenizer=transformers.CLIPTokenizer.from_pretrained(folder),
            task_seq_length=12,
        )
        more = {"task_inputs": ["semantic"] * len(images_BHWC)}
    else:
        processor = transformers.AutoImageProcessor.from_pretrained(folder)
    inputs = processor(images=list(images_BHWC), return_tensors="pt", **more)
    with torch.inference_mode(), torch.autocast("cpu", dtype=precision, enabled=precision is not None):
        outputs = network(**inputs)
    for name in ("logits", "class_queries_logits", "masks_queries_logits"):
        if name in outputs:
            outputs[name] = outputs[name].float()
    sizes = [image.shape[:2] for image in images_BHWC]
    return np.stack([label.numpy() for label in processor.post_process_semantic_segmentation(outputs, sizes)])


@pytest.mark.parametrize("size", [(64, 96), (75, 130), (101, 67)], ids=str)
@pytest.mark.parametrize("family", [make.__name__ for make in FAMILIES if make is not eomt_padded])
def test_labels_equal_the_librarys(folders: dict[str, Path], family: str, size: tuple[int, int]) -> None:
    teacher = TransformersTeacher(str(folders[family]), device=CPU)
    frames_BHWC = images(3, *size)
    labels = teacher.label(show(frames_BHWC))
    assert labels.dtype == np.uint8
    assert len(np.unique(labels)) > 1
    np.testing.assert_array_equal(labels, library_labels(folders[family], frames_BHWC))
    alone = np.concatenate([teacher.label(show(frames_BHWC[i : i + 1])) for i in range(3)])
    np.testing.assert_array_equal(alone[1:2], library_labels(folders[family], frames_BHWC[1:2]))
    assert (labels != alone).mean() < 1e-3  # a batch sums in another order: only ties may fall differently


@pytest.mark.parametrize("family", ["segformer", "mask2former", "eomt_windows"])
def test_half_precision_applies_to_the_network_only(folders: dict[str, Path], family: str) -> None:
    """Scores are summed, compared and normalized in float32."""
    frames_BHWC = images(1, 64, 96)
    teacher = TransformersTeacher(str(folders[family]), device=CPU, precision="bfloat16")
    labels, soft = teacher.label_softly(show(frames_BHWC), (8, 12))
    np.testing.assert_array_equal(labels, library_labels(folders[family], frames_BHWC, torch.bfloat16))
    assert (labels != library_labels(folders[family], frames_BHWC)).any()
    assert soft.dtype == torch.float32


def test_labels_of_padded_frames_align_with_the_frames(folders: dict[str, Path]) -> None:
    teacher = TransformersTeacher(str(folders["eomt_padded"]), device=CPU)
    square = images(2, 90, 90)
    np.testing.assert_array_equal(teacher.label(show(square)), library_labels(folders["eomt_padded"], square))
    wide = images(1, 36, 64)  # fills 36 of the network's 64 rows; the others are black
    black = np.zeros((1, 64, 64, 3), np.uint8)
    black[:, :36] = wide
    padded = library_labels(folders["eomt_padded"], black)
    np.testing.assert_array_equal(teacher.label(show(wide)), padded[:, :36])
    assert (padded[:, :36] != library_labels(folders["eomt_padded"], wide)).any(), "the library no longer stretches"


@pytest.mark.parametrize("family", [make.__name__ for make in FAMILIES])
def test_soft_labels_agree_with_the_label_maps_and_sum_to_one(folders: dict[str, Path], family: str) -> None:
    teacher = TransformersTeacher(str(folders[family]), device=CPU)
    assert isinstance(teacher, SoftTeacher)
    frames = show(images(2, 61, 83))
    labels, soft = teacher.label_softly(frames, (61, 83))
    np.testing.assert_array_equal(labels, teacher.label(frames))
    assert soft.shape == (2, 5, 61, 83)
    assert soft.dtype == torch.float32
    likeliest = soft.gather(1, torch.from_numpy(labels).long()[:, None])[:, 0]
    torch.testing.assert_close(likeliest, soft.max(1).values)
    _, small = teacher.label_softly(frames, (10, 15))
    assert small.shape == (2, 5, 10, 15)
    torch.testing.assert_close(small.sum(1), torch.ones(2, 10, 15))
    assert small.min() >= 0


def test_logits_become_their_softmax(folders: dict[str, Path]) -> None:
    teacher = TransformersTeacher(str(folders["segformer"]), device=CPU)
    frames_BHWC = images(1, 64, 96)
    _, soft = teacher.label_softly(show(frames_BHWC), (64, 96))
    processor = transformers.SegformerImageProcessor.from_pretrained(folders["segformer"])
    network = transformers.SegformerForSemanticSegmentation.from_pretrained(folders["segformer"]).eval()
    with torch.inference_mode():
        logits = network(**processor(images=frames_BHWC[0], return_tensors="pt")).logits
        expected = torch.nn.functional.interpolate(logits, size=(64, 96), mode="bilinear").softmax(1)
    torch.testing.assert_close(soft, expected)


@pytest.mark.parametrize("family", ["maskformer", "mask2former", "oneformer"])
def test_scores_of_queries_become_shares_of_their_sum(folders: dict[str, Path], family: str) -> None:
    """Scores by hand: class probability times mask probability, summed over queries."""
    teacher = TransformersTeacher(str(folders[family]), device=CPU)
    outputs: list[Any] = []
    teacher._network.register_forward_hook(lambda *call: outputs.append(call[-1]))
    _, soft = teacher.label_softly(show(images(1, 64, 96)), (64, 96))
    masks = outputs[0].masks_queries_logits
    if family != "oneformer":  # as the library does: first enlarged, for Mask2Former to a square
        size = (384, 384) if family == "mask2former" else masks.shape[-2:]
        masks = torch.nn.functional.interpolate(masks, size=size, mode="bilinear")
    classes = outputs[0].class_queries_logits.softmax(-1)[..., :-1]
    scores = torch.einsum("bqc,bqhw->bchw", classes, masks.sigmoid())
    scores = torch.nn.functional.interpolate(scores, size=(64, 96), mode="bilinear")
    is_seen = scores.sum(1) > 1e-9  # elsewhere all scores are about 0 and rounding decides
    assert is_seen.float().mean() > 0.5
    shares = (scores / scores.sum(1, keepdim=True)).permute(0, 2, 3, 1)[is_seen]
    torch.testing.assert_close(soft.permute(0, 2, 3, 1)[is_seen], shares, atol=1e-5, rtol=1e-4)


def test_weights_stored_in_half_precision_are_used_in_float32(folders: dict[str, Path], tmp_path: Path) -> None:
    network = transformers.SegformerForSemanticSegmentation.from_pretrained(folders["segformer"])
    folder = shutil.copytree(folders["segformer"], tmp_path / "half")
    network.bfloat16().save_pretrained(folder)
    frames = show(images(1, 64, 96))
    _, soft = TransformersTeacher(str(folder), device=CPU).label_softly(frames, (64, 96))
    network.float().save_pretrained(folder)  # the same numbers
    _, expected = TransformersTeacher(str(folder), device=CPU).label_softly(frames, (64, 96))
    torch.testing.assert_close(soft, expected)


def test_classes_are_the_networks_in_order_of_their_ids(folders: dict[str, Path], tmp_path: Path) -> None:
    teacher = TransformersTeacher(str(folders["mask2former"]), device=CPU)
    assert list(teacher.classes) == list(NAMES.values())
    assert teacher.num_classes == 5
    folder = shutil.copytree(folders["segformer"], tmp_path / "odd")
    config = json.loads((folder / "config.json").read_text())
    config["id2label"]["9"] = config["id2label"].pop("1")
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="numbers its classes"):
        TransformersTeacher(str(folder), device=CPU)


def test_only_a_oneformer_has_tasks(folders: dict[str, Path]) -> None:
    frames = show(images(1, 64, 96))
    probabilities = [
        TransformersTeacher(str(folders["oneformer"]), device=CPU, task=task).label_softly(frames, (8, 8))[1]
        for task in ("semantic", "panoptic")
    ]
    assert not torch.equal(*probabilities)
    with pytest.raises(ValueError, match=r"teacher\.task=panoptic"):
        TransformersTeacher(str(folders["segformer"]), device=CPU, task="panoptic")


def test_incomplete_weights_are_refused_rather_than_filled_with_random_numbers(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = shutil.copytree(folders["segformer"], tmp_path / "backbone_only")
    weights = load_file(folder / "model.safetensors")
    backbone = {key: value for key, value in weights.items() if key.startswith("segformer.")}
    save_file(backbone, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"lacks \d+ weights"):
        TransformersTeacher(str(folder), device=CPU)


def test_pickled_weights_load_only_as_plain_tensors(folders: dict[str, Path], tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder = shutil.copytree(folders["segformer"], tmp_path / "pickled")
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(weights, folder / "pytorch_model.bin")
    frames = show(images(1, 64, 96))
    expected = TransformersTeacher(str(folders["segformer"]), device=CPU).label(frames)
    np.testing.assert_array_equal(TransformersTeacher(str(folder), device=CPU).label(frames), expected)
    torch.save({"weight": Bomb()}, folder / "pytorch_model.bin")
    with pytest.raises(ValueError, match="cannot read"):
        TransformersTeacher(str(folder), device=CPU)
    assert not Bomb.went_off


class Bomb:
    went_off = False

    def __reduce__(self) -> Any:
        return (setattr, (Bomb, "went_off", True))


def test_folders_that_are_not_supported_are_one_clear_message(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="has no complete set of weights"):
        TransformersTeacher(str(tmp_path), device=CPU)
    classifier = transformers.SegformerForImageClassification(segformer()[0].config)
    classifier.save_pretrained(tmp_path / "detr")
    config = transformers.DetrConfig(id2label=NAMES)
    config.save_pretrained(tmp_path / "detr")
    with pytest.raises(ValueError, match="cannot read"):
        TransformersTeacher(str(tmp_path / "detr"), device=CPU)
    cropping = shutil.copytree(folders["segformer"], tmp_path / "cropping")
    transformers.BeitImageProcessor(do_center_crop=True).save_pretrained(cropping)
    with pytest.raises(ValueError, match="do_center_crop"):
        TransformersTeacher(str(cropping), device=CPU)


def test_a_missing_extra_is_one_message(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(ValueError, match=r"pip install 'odkd\[transformers\]'"):
        TransformersTeacher("lab/segformer", device=CPU)


def test_loading_restores_the_librarys_settings(folders: dict[str, Path], capfd: Any) -> None:
    from transformers.utils import logging as theirs

    theirs.set_verbosity_info()
    try:
        TransformersTeacher(str(folders["segformer"]), device=CPU)
        assert theirs.get_verbosity() == logging.INFO
    finally:
        theirs.set_verbosity_warning()
    assert theirs.is_progress_bar_enabled()
    assert theirs.set_tqdm_hook(None) is None
    assert "Loading weights" not in capfd.readouterr().err


# --- weights from the hub's cache or a folder


@pytest.fixture
def cache(folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A hub cache with one commit of lab/segformer, to which its `main` pointed at the time of the download."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    repository = tmp_path / "models--lab--segformer"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    shutil.copytree(folders["segformer"], repository / "snapshots" / COMMIT)
    return tmp_path


COMMIT = "0123456789abcdef0123456789abcdef01234567"


def never(path: Path) -> str:
    raise AssertionError(f"{path} was read without need")


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


PRESETS = [
    path.stem
    for path in sorted((CONF / "teacher").glob("*.yaml"))
    if {"transformers", "smp_hub"} & set(OmegaConf.load(path).defaults)
]


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_are_pinned_or_marked_as_not_pinned(preset: str) -> None:
    teacher = compose_config([f"teacher={preset}"]).teacher
    text = (CONF / "teacher" / f"{preset}.yaml").read_text()
    assert teacher.name == preset
    assert teacher.revision == "main" or is_commit(teacher.revision)  # YAML may read digits as a number
    assert (teacher.revision == "main") == ("not pinned" in text)
    assert teacher.label_set in ("cityscapes", "ade20k", "coco_panoptic")
    assert teacher.licence
    assert teacher.source == f"https://huggingface.co/{teacher.model}"


@pytest.mark.usefixtures("cache")
def test_pinned_weights_are_taken_from_the_cache_and_identified_by_their_commit(
    folders: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    frames = show(images(1, 64, 96))
    teacher = TransformersTeacher("lab/segformer", revision=COMMIT, device=CPU)
    expected = TransformersTeacher(str(folders["segformer"]), device=CPU).label(frames)
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
    with pytest.raises(ValueError, match="has no complete set of weights"):
        TransformersTeacher("lab/segformer", revision=COMMIT, device=CPU)


@pytest.mark.parametrize("kind", ["model.safetensors", "pytorch_model.bin"])
def test_missing_files_are_downloaded_in_the_safe_format_if_there_is_one(
    folders: dict[str, Path], cache: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    from safetensors.torch import load_file

    repository = shutil.copytree(folders["segformer"], cache / "at_the_hub")
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
    expected = TransformersTeacher(str(folders["segformer"]), device=CPU).label(frames)
    np.testing.assert_array_equal(teacher.label(frames), expected)
    patterns = ["model*.safetensors", "pytorch_model*.bin"][: 1 + (kind == "pytorch_model.bin")]
    assert asked == [("lab/segformer", COMMIT, pattern) for pattern in patterns]
    TransformersTeacher("lab/segformer", revision=COMMIT, device=CPU)
    assert len(asked) == len(patterns), "the hub was asked again for files in the cache"


def test_a_folder_is_identified_by_its_content_in_any_place(folders: dict[str, Path], tmp_path: Path) -> None:
    def named(folder: Path, **settings: Any) -> dict[str, Any]:
        return TransformersTeacher.identity({"model": str(folder)} | settings, sha256)

    here = folders["segformer"]
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


def test_weights_in_parts_need_all_parts(folders: dict[str, Path], tmp_path: Path) -> None:
    network = transformers.SegformerForSemanticSegmentation.from_pretrained(folders["segformer"])
    folder = shutil.copytree(folders["segformer"], tmp_path / "parts", ignore=lambda *_: ["model.safetensors"])
    network.save_pretrained(folder, max_shard_size="20KB")
    parts = sorted(folder.glob("model-*.safetensors"))
    assert len(parts) > 1
    frames = show(images(1, 64, 96))
    expected = TransformersTeacher(str(folders["segformer"]), device=CPU).label(frames)
    np.testing.assert_array_equal(TransformersTeacher(str(folder), device=CPU).label(frames), expected)
    identity = TransformersTeacher.identity({"model": str(folder)}, sha256)
    assert {part.name for part in parts} < set(identity["weights"]["files"])
    parts[0].unlink()
    with pytest.raises(ValueError, match="has no complete set of weights"):
        TransformersTeacher(str(folder), device=CPU)
