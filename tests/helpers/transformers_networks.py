"""Tiny random networks of each architecture of Hugging Face transformers, and the labels of the library itself.

A test module that imports this one is skipped where transformers is not installed.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from extras import need

from odkd.teachers import SampledFrames

transformers = need("transformers")

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


def eomt_dinov3() -> tuple[Any, Any]:
    config = transformers.EomtDinov3Config(
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        num_blocks=1,
        image_size=64,
        num_queries=12,
        num_upscale_blocks=1,
        id2label=NAMES,
    )
    processor = transformers.EomtImageProcessor(size={"shortest_edge": 64, "longest_edge": None}, do_split_image=True)
    return transformers.EomtDinov3ForUniversalSegmentation(config), processor


FAMILIES: list[Callable[[], tuple[Any, Any]]] = [
    segformer,
    upernet,
    maskformer,
    mask2former,
    oneformer,
    eomt_windows,
    eomt_padded,
    eomt_dinov3,
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
