"""A Swin Transformer's weights under timm's names, whoever wrote the file: timm, or transformers."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

STEM = "embeddings.patch_embeddings.projection.weight"  # of transformers: what comes before it is the prefix
RENAMES = (  # transformers -> timm; block and layer numbers stay, but for downsampling
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
    """The state dict under the names that timm's feature extractor has; what is not the encoder's may stay over.

    Of transformers: `SwinModel`, and the backbones of MaskFormer and Mask2Former, whatever they are part of.

    >>> sorted(rename_swin({"m.embeddings.patch_embeddings.projection.weight": torch.zeros(1), "head": torch.zeros(1)}))
    ['patch_embed.proj.weight']
    >>> sorted(rename_swin({"layers.0.blocks.0.norm1.bias": torch.zeros(1)}))
    ['layers_0.blocks.0.norm1.bias']
    """
    prefixes = [name.removesuffix(STEM) for name in state if name.endswith(STEM)]
    if not prefixes:
        return {re.sub(r"^layers\.(\d+)\.", r"layers_\1.", name): tensor for name, tensor in state.items()}
    own = {name.removeprefix(prefixes[0]): tensor for name, tensor in state.items() if name.startswith(prefixes[0])}
    if not any(name.startswith("encoder.layers.") for name in own):  # MaskFormer's backbone nests once more
        own = {name.removeprefix("model."): tensor for name, tensor in own.items()}
    renamed: dict[str, Tensor] = {}
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in own.items():
        if found := QKV.match(name):
            layers, layer, block, kind, ending = found.groups()
            parts.setdefault(f"{layers}_{layer}{block}.attn.qkv{ending}", {})[kind] = tensor
            continue
        # timm counts the step down as the beginning of the next stage.
        name = DOWNSAMPLE.sub(lambda match: f"layers_{int(match[1]) + 1}.downsample.", name)
        for pattern, new in RENAMES:
            name = re.sub(pattern, new, name)
        renamed[name] = tensor
    for name, kinds in parts.items():
        if len(kinds) == 3:
            renamed[name] = torch.cat([kinds["query"], kinds["key"], kinds["value"]])
    return renamed
