"""Tiny random networks of SAM 3, as Hugging Face transformers saves them.

A test module that imports this one is skipped where transformers is not installed or has no SAM 3.
"""

from pathlib import Path
from typing import Any

import pytest
import torch
from transformers_networks import tokenizer, transformers

if not hasattr(transformers, "Sam3VideoModel"):
    pytest.skip("this transformers has no SAM 3", allow_module_level=True)

SIZE, PATCH = 56, 14
SMALL = {"num_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "dropout": 0.0}


def config(width: int = 32) -> Any:
    """Return the configuration of a network whose encoders and decoders have `width` channels."""
    grid = SIZE // PATCH
    backbone = transformers.Sam3ViTConfig(
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=2,
        image_size=SIZE,
        patch_size=PATCH,
        window_size=2,
        global_attn_indexes=[1],
        pretrain_image_size=28,
    )
    vision = transformers.Sam3VisionConfig(
        backbone_config=backbone,
        fpn_hidden_size=width,
        backbone_feature_sizes=[[grid * scale, grid * scale] for scale in (4, 2, 1)],
    )
    text = {
        "model_type": "clip_text_model",
        "vocab_size": 54,
        "hidden_size": 32,
        "intermediate_size": 64,
        "projection_dim": 32,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 32,
        "bos_token_id": 52,
        "eos_token_id": 53,
    }
    return transformers.Sam3Config(
        vision_config=vision,
        text_config=text,
        geometry_encoder_config=SMALL | {"hidden_size": width},
        detr_encoder_config=SMALL | {"hidden_size": width},
        detr_decoder_config=SMALL | {"hidden_size": width, "num_queries": 10},
        mask_decoder_config={"hidden_size": width, "num_attention_heads": 2},
    )


def save(folder: Path) -> Path:
    """Save a network that finds something in most images, its image processor, and a tokenizer of single letters."""
    torch.manual_seed(3)
    network = transformers.Sam3Model(config())
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(3.0 if "mask" in name else 2.0)
    network.save_pretrained(folder)
    image_processor = transformers.Sam3ImageProcessor(size={"height": SIZE, "width": SIZE})
    tokenizer(folder)
    letters = transformers.CLIPTokenizer.from_pretrained(folder)
    transformers.Sam3Processor(image_processor, letters).save_pretrained(folder)
    return folder


def save_video(folder: Path) -> Path:
    """Save a video model whose detector finds something, with a processor and a tokenizer of single letters."""
    torch.manual_seed(3)
    width = 128  # a multiple of the memory's 64 channels, which the library has as a constant
    tracker = transformers.Sam3TrackerVideoConfig(
        vision_config=config(width).vision_config,
        image_size=SIZE,
        prompt_encoder_config={"hidden_size": width, "image_size": SIZE, "patch_size": PATCH},
        mask_decoder_config={
            "hidden_size": width,
            "mlp_dim": 64,
            "num_attention_heads": 2,
            "iou_head_hidden_dim": width,
        },
        num_maskmem=3,
        memory_attention_hidden_size=width,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=64,
        memory_attention_rope_feat_sizes=[SIZE // PATCH, SIZE // PATCH],
        memory_encoder_hidden_size=width,
        memory_encoder_output_channels=64,
        mask_downsampler_embed_dim=width,
        memory_fuser_embed_dim=width,
        memory_fuser_intermediate_dim=64,
        memory_fuser_num_layers=1,
    )
    network = transformers.Sam3VideoModel(
        transformers.Sam3VideoConfig(
            detector_config=config(width),
            tracker_config=tracker,
            image_size=SIZE,
            low_res_mask_size=16,
            score_threshold_detection=0.2,
            new_det_thresh=0.2,
            hotstart_delay=0,
        )
    )
    with torch.no_grad():
        for name, parameter in network.detector_model.named_parameters():
            if parameter.ndim > 1:
                parameter.mul_(3.0 if "mask" in name else 2.0)
    network.save_pretrained(folder)
    size = {"height": SIZE, "width": SIZE}
    tokenizer(folder)
    transformers.Sam3VideoProcessor(
        transformers.Sam3ImageProcessor(size=size),
        transformers.Sam2VideoVideoProcessor(size=size),
        transformers.CLIPTokenizer.from_pretrained(folder),
    ).save_pretrained(folder)
    return folder
