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
SMALL = {"hidden_size": 32, "num_layers": 1, "num_attention_heads": 2, "intermediate_size": 64, "dropout": 0.0}


def config() -> Any:
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
        fpn_hidden_size=32,
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
        geometry_encoder_config=SMALL,
        detr_encoder_config=SMALL,
        detr_decoder_config=SMALL | {"num_queries": 10},
        mask_decoder_config={"hidden_size": 32, "num_attention_heads": 2},
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
