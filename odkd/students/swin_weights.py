"""Renaming of a Swin Transformer's weights, written by timm or transformers, to timm's names.

transformers 5 has two sets of names: `save_pretrained` writes those of transformers 4, `state_dict()` has its own.
"""

import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

STEM = "embeddings.patch_embeddings.projection.weight"  # in transformers; before it stands the prefix of the encoder
NORM = "feature_norm"  # our name, in a stage of the encoder, of the layer norm of the features that leave it
CURRENT = (  # names of transformers 5 -> those of transformers 4
    (r"\.attention\.q_proj\.", ".attention.self.query."),
    (r"\.attention\.k_proj\.", ".attention.self.key."),
    (r"\.attention\.v_proj\.", ".attention.self.value."),
    (r"\.attention\.o_proj\.", ".attention.output.dense."),
    (r"\.attention\.relative_position_bias\.", ".attention.self."),
    (r"(blocks\.\d+)\.mlp\.fc1\.", r"\1.intermediate.dense."),
    (r"(blocks\.\d+)\.mlp\.fc2\.", r"\1.output.dense."),
)
FEATURE_NORM = re.compile(r"hidden_states_norms\.(?:stage)?(\d+)\.(weight|bias)$")
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
    norms = _feature_norms(state, prefixes[0])
    own = {name.removeprefix(prefixes[0]): tensor for name, tensor in state.items() if name.startswith(prefixes[0])}
    if not any(name.startswith("encoder.layers.") for name in own):  # MaskFormer's backbone has one more level
        own = {name.removeprefix("model."): tensor for name, tensor in own.items()}
    own = {_replaced(name, CURRENT): tensor for name, tensor in own.items()}
    renamed: dict[str, Tensor] = dict(norms)
    parts: dict[str, dict[str, Tensor]] = {}
    for name, tensor in own.items():
        if found := QKV.match(name):
            layers, layer, block, kind, ending = found.groups()
            parts.setdefault(f"{layers}_{layer}{block}.attn.qkv{ending}", {})[kind] = tensor
            continue
        # timm counts downsampling as the start of the next layer.
        name = DOWNSAMPLE.sub(lambda match: f"layers_{int(match[1]) + 1}.downsample.", name)
        renamed[_replaced(name, RENAMES)] = tensor
    for name, kinds in parts.items():
        if len(kinds) == 3:
            renamed[name] = torch.cat([kinds["query"], kinds["key"], kinds["value"]])
    return renamed


def normed_stages(names: Iterable[str]) -> set[str]:
    """Return the stages behind which weights have a trained norm, from "0": of a backbone, or of our student.

    >>> sorted(normed_stages(["encoder.hidden_states_norms.stage1.weight", "layers_3.feature_norm.bias"]))
    ['0', '3']
    """
    names = list(names)
    found = (re.search(rf"layers_(\d+)\.{NORM}\.", name) for name in names)
    backbone = (FEATURE_NORM.search(name) for name in names)
    return {own[1] for own in found if own} | {_stage(norm) for norm in backbone if norm}


def _stage(norm: re.Match[str]) -> str:
    """Return the stage of a norm, from "0": MaskFormer counts from 0, a Swin backbone (Mask2Former) from stage1."""
    return str(int(norm[1]) - ("stage" in norm[0]))


def _feature_norms(state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Return the trained norms of a backbone's features by our names; "0" is the stage of stride 4."""
    place = re.sub(r"(model|swin)\.$", "", prefix)
    found: dict[str, Tensor] = {}
    for name, tensor in state.items():
        if name.startswith(place) and (norm := FEATURE_NORM.fullmatch(name.removeprefix(place))):
            found[f"layers_{_stage(norm)}.{NORM}.{norm[2]}"] = tensor
    return found


def _replaced(name: str, patterns: Iterable[tuple[str, str]]) -> str:
    for pattern, new in patterns:
        name = re.sub(pattern, new, name)
    return name
