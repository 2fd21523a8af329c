"""The Swin student of MCKD's reference code, and frozen parts of a student."""

import copy
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from extras import need
from safetensors.torch import save_file
from samples import one_of
from torch import nn

from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.students.fitting import load_weights
from odkd.students.freezing import freeze
from odkd.students.smp import SmpStudent
from odkd.students.swin_deeplab import PooledNorm, SwinTinyDeepLabV3Plus
from odkd.students.swin_weights import rename_swin


def swin(num_classes: int = 19, **settings: str) -> SwinTinyDeepLabV3Plus:
    torch.manual_seed(0)
    return SwinTinyDeepLabV3Plus(num_classes, encoder_weights=None, **settings)


@pytest.mark.parametrize("num_classes", [19, 133])
def test_the_swin_student_has_34_million_parameters_and_6_7_million_trained_ones(num_classes: int) -> None:
    student = swin(num_classes)
    freeze(student, ["encoder.*"])
    counts = {
        is_trained: sum(p.numel() for p in student.parameters() if p.requires_grad is is_trained)
        for is_trained in (False, True)
    }
    # Products by hand: pyramid 2 (768 256) + 3 (768 256 9) + 1280 256, low 96 48, fuse 304 256 9, norms, 256 K + K.
    head = 2 * 768 * 256 + 3 * 768 * 256 * 9 + 1280 * 256 + 96 * 48 + 304 * 256 * 9 + 2 * (7 * 256 + 48)
    assert counts == {False: 27_517_818, True: head + 257 * num_classes}
    assert 6.65e6 < counts[True] < 6.85e6
    assert 34e6 < sum(counts.values()) < 34.5e6


def test_logits_have_the_size_of_the_images_or_stride_4_in_training_mode() -> None:
    student = swin(5, upsample="evaluation").train()
    images = torch.rand(2, 3, 66, 98)
    assert student(images).shape == (2, 5, 17, 25)
    assert student.eval()(images).shape == (2, 5, 66, 98)
    assert swin(5).train()(images).shape == (2, 5, 66, 98)


def test_a_batch_of_one_image_can_be_learned_from() -> None:
    pooled = PooledNorm(3, 4).train()
    before = copy.deepcopy(pooled.norm.state_dict())
    pooled(torch.rand(1, 3, 5, 5)).sum().backward()
    assert all(torch.equal(before[name], tensor) for name, tensor in pooled.norm.state_dict().items())
    pooled(torch.rand(2, 3, 5, 5))
    assert not torch.equal(before["running_mean"], pooled.norm.running_mean)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", one_of(3, ["timm", "SwinModel", "SwinBackbone"]))
def test_encoder_weights_of_transformers_and_timm_give_their_features(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    # The size is a multiple of the windows: where some are padded, timm shifts before it pads, transformers after.
    images, path = torch.rand(1, 3, 448, 448), tmp_path / "model.safetensors"
    if kind == "timm":
        timm = need("timm")

        network = timm.create_model("swin_tiny_patch4_window7_224", pretrained=False, img_size=448)
        save_file(network.state_dict(), path)
    else:
        transformers = need("transformers")
        network = getattr(transformers, kind)(transformers.SwinConfig(out_indices=[1, 4], image_size=448))
        network.save_pretrained(tmp_path)
    found: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Callable[..., None]:
        return lambda _, __, output: found.update({name: output if isinstance(output, torch.Tensor) else output[0]})

    for name, module in network.named_modules():
        if name.endswith(("layers.0.blocks.1", "layers.3.blocks.1")):  # the last of stride 4 and of stride 32
            module.register_forward_hook(keep(name[-10]))
    student = SwinTinyDeepLabV3Plus(5, encoder_weights=str(path)).eval()
    with torch.inference_mode():
        network.eval()(images)
        low, high = student.encoder(images)
    torch.testing.assert_close(low.flatten(1, 2), found["0"].reshape(1, -1, 96), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(high.flatten(1, 2), found["3"].reshape(1, -1, 768), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    ("kind", "is_saved"),
    one_of(4, [("mask2former", True), ("maskformer", True), ("mask2former", False), ("maskformer", False)]),
)
def test_features_from_files_of_segmentation_networks_equal_those_that_their_heads_get(
    kind: str, is_saved: bool, tmp_path: Path
) -> None:
    """Norms included, under the names that `save_pretrained` writes and under those of `state_dict()`."""
    transformers = need("transformers")
    torch.manual_seed(1)
    backbone = transformers.SwinConfig(out_features=["stage1", "stage2", "stage3", "stage4"], drop_path_rate=0.0)
    size = {"mask_feature_size": 32}
    if kind == "maskformer":
        detr = transformers.DetrConfig(d_model=32, encoder_layers=1, decoder_layers=1, decoder_ffn_dim=32)
        config = transformers.MaskFormerConfig(
            backbone_config=backbone, decoder_config=detr, fpn_feature_size=32, **size
        )
        network = transformers.MaskFormerForInstanceSegmentation(config)
    else:
        thin = {"hidden_dim": 32, "feature_size": 32, "dim_feedforward": 32, "encoder_feedforward_dim": 32}
        layers = {"encoder_layers": 1, "decoder_layers": 1, "num_attention_heads": 2}
        config = transformers.Mask2FormerConfig(backbone_config=backbone, **thin, **layers, **size)
        network = transformers.Mask2FormerForUniversalSegmentation(config)
    encoder = network.model.pixel_level_module.encoder.eval()
    trained = [(name, p) for name, p in encoder.named_parameters() if "hidden_states_norms" in name]
    with torch.no_grad():
        for _, parameter in trained:
            parameter.uniform_(0.5, 2.0)
    path = tmp_path / "model.safetensors"
    if is_saved:
        network.save_pretrained(tmp_path)
    else:
        save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    student = SwinTinyDeepLabV3Plus(5, encoder_weights=str(path)).eval()
    images = torch.rand(1, 3, 224, 224)
    with torch.inference_mode():
        maps = encoder(images).feature_maps
        low, high = student.features(images)
    torch.testing.assert_close(low, maps[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(high, maps[3], rtol=1e-4, atol=1e-4)

    rebuilt = swin(5)  # as for a finished run: without the file
    save_file(student.state_dict(), tmp_path / "student.safetensors")
    load_weights(rebuilt, tmp_path / "student.safetensors")
    with torch.inference_mode():
        assert torch.equal(rebuilt.eval()(images), student(images))
    freeze(student, ["encoder.*"])
    assert not any(p.requires_grad for p in student.encoder.parameters())
    assert SwinTinyDeepLabV3Plus.facts({"encoder_weights": str(path)})
    assert not SwinTinyDeepLabV3Plus.facts({"encoder_weights": "imagenet"})


def test_maskformers_names_are_renamed_to_timms() -> None:
    encoder = "model.pixel_level_module.encoder.model"
    names = [
        f"{encoder}.embeddings.patch_embeddings.projection.weight",
        f"{encoder}.encoder.layers.0.blocks.1.output.dense.bias",
        f"{encoder}.encoder.layers.0.downsample.norm.bias",
        *(f"{encoder}.encoder.layers.2.blocks.5.attention.self.{kind}.bias" for kind in ("query", "key", "value")),
        "class_predictor.bias",
    ]
    renamed = rename_swin({name: torch.zeros(1) for name in names})
    assert set(renamed) == {
        "patch_embed.proj.weight",
        "layers_0.blocks.1.mlp.fc2.bias",
        "layers_1.downsample.norm.bias",
        "layers_2.blocks.5.attn.qkv.bias",
    }
    assert len(renamed["layers_2.blocks.5.attn.qkv.bias"]) == 3


def test_weights_that_do_not_fit_are_one_clear_message(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no such file"):
        SwinTinyDeepLabV3Plus(5, encoder_weights="imagenet21k")
    save_file({"layers.0.x": torch.zeros(1)}, tmp_path / "other.safetensors")
    with pytest.raises(ValueError, match="no Swin-Tiny"):
        SwinTinyDeepLabV3Plus(5, encoder_weights=str(tmp_path / "other.safetensors"))


def test_frozen_weights_and_statistics_stay_bit_identical() -> None:
    torch.manual_seed(0)
    student = SmpStudent(3, arch="FPN", encoder="mobilenet_v2")
    freeze(student, ["network.encoder.*"])
    before = copy.deepcopy(student.state_dict())
    optimizer = torch.optim.Adam([p for p in student.parameters() if p.requires_grad], 0.1)
    for _ in range(2):
        student.train()
        student(torch.rand(2, 3, 64, 64)).square().mean().backward()
        optimizer.step()
    after = student.state_dict()
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved
    assert not any(name.startswith("network.encoder.") for name in moved)
    assert not any(m.training for m in student.network.encoder.modules())
    assert student.network.decoder.training


class Small(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4), nn.Dropout(0.5))
        self.head = nn.Sequential(nn.Conv2d(4, 2, 1), nn.BatchNorm2d(2))


def test_only_completely_frozen_modules_stay_in_eval_mode_also_in_a_copy() -> None:
    student = Small()
    freeze(student, ["encoder.1.*", "head.0.weight"])
    student.train()
    assert not student.encoder[1].training
    assert student.encoder[2].training
    assert student.head[0].training
    freeze(student, ["encoder.*"])
    other = copy.deepcopy(student).train()
    assert not other.encoder[2].training
    assert other.encoder.train() is other.encoder  # the method is bound to the copy
    assert student.eval().train().head.training


def test_a_pattern_without_a_match_names_the_nearest() -> None:
    with pytest.raises(ValueError, match=r"student\.freeze=encodr\.\* matches no parameter; nearest are encoder\.\*"):
        freeze(Small(), ["encodr.*"])
    with pytest.raises(ValueError, match="nothing to learn"):
        freeze(Small(), ["*"])


def test_the_optimizer_gets_only_parameters_that_are_not_frozen(cache: Path, tmp_path: Path) -> None:
    paths = [f"paths.outputs={tmp_path}", f"paths.cache={cache}"]
    settings = ["debug=smoke", *paths, "student.freeze=['stem.*','merge.0.*']"]
    learner = Parts(compose_config(settings)).learner
    named = {id(p): name for name, p in learner.student.named_parameters()}
    trained = {named[id(p)] for group in learner.optimizer.param_groups for p in group["params"]}
    frozen = {name for name in named.values() if name.startswith(("stem.", "merge.0."))}
    assert frozen
    assert trained == set(named.values()) - frozen
