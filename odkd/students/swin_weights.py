"""Renaming of a Swin Transformer's weights, written by timm or transformers, to timm's names."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

STEM = "embeddings.patch_embeddings.projection.weight"  # in transformers; before it stands the prefix of the encoder
RENAMES = (  # transformers -> timm; block and layer numbers stay, except for downsampling
    (r"^embeddings\.patch_embeddings\.projection\.", "patch_embed.proj."),
    (r"^embeddings\.norm\.", "patch_embed.norm."),
    (r"^encoder\.layers\.(\d+)\.blocks\.", r"layers_\1.blocks."),
    (r"\.layernorm_before\.", ".norm1."),
    (r"\.layernorm_after\.", ".norm2."),
    (r"\.attention\.self\.relative_position_bias_table$", ".attn.relative_position_bias_table"),
    (r"\.attention\.output\.dense\.", ".attn.proj."),
    (r"\.intermediate\.dense\.", ".mlp.fc1."),
    (r"(blocks\.\d+)\.output\.dense\.", r"\1.mlp.fc2."),
)
QKV = re.compile(r"^encoder\.(layers)\.(\d+)(\.blocks\.\d+)\.attention\.self\.(query|key|value)(\.\w+)$")
DOWNSAMPLE = re.compile(r"^encoder\.layers\.(\d+)\.downsample\.")


def rename_swin(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the weights under the names of timm's feature extractor; other entries of `state` may remain.

    Known models of transformers are `SwinModel` and networks with a Swin backbone, such as MaskFormer and Mask2Former.
    >>> sorted(rename_swin({"m.embeddings.patch_embeddings.projection.weight": torch.zeros(1), "head": torch.zeros(1)}))
    ['patch_embed.proj.weight']
    >>> sorted(rename_swin({"layers.0.blocks.0.norm1.bias": torch.zeros(1)}))
    ['layers_0.blocks.0.norm1.bias']
    """
    prefixes = [name.removesuffix(STEM) for name in state if name.endswith(STEM)]
    if not prefixes:
        return {re.sub(r"^layers\.(\d+)\.", r"layers_\1.", name): tensor for name, tensor in state.items()}
    own = {name.removeprefix(prefixes[0]): tensor for name, tensor in state.items() if name.startswith(prefixes[0])}
    if not any(name.startswith("encoder.layers.") for name in own):  # MaskFormer's backbone has one more level
        own = {name.removeprefix("model."): tensor for name, tensor in own.items()}
    renamed: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in own.items():
        if found := QKV.match(name):
            layers, layer, block, kind, ending = found.groups()
            parts.setdefault(f"{layers}_{layer}{block}.attn.qkv{ending}", {})[kind] = tensor
            continue
        # timm counts downsampling as the start of the next layer.
        name = DOWNSAMPLE.sub(lambda match: f"layers_{int(match[1]) + 1}.downsample.", name)
        for pattern, new in RENAMES:
            name = re.sub(pattern, new, name)
        renamed[name] = tensor
    for name, kinds in parts.items():
        if len(kinds) == 3:
            renamed[name] = torch.cat([kinds["query"], kinds["key"], kinds["value"]])
    return renamed
