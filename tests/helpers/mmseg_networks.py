"""Small mmsegmentation networks of four families, in published checkpoint formats, and the labels of mmseg's own API.

A test module that imports this one is skipped where mmsegmentation is not installed.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from odkd.teachers import SampledFrames
from odkd.teachers.mmseg import MMSegTeacher
from odkd.teachers.mmseg_config import import_mmseg, quiet
from odkd.teachers.point_sample import supply_point_sample

try:
    import_mmseg()
except ValueError as missing:
    pytest.skip(str(missing), allow_module_level=True)

import mmseg
from mmengine import Config
from mmengine.registry import init_default_scope
from mmseg.apis import inference_model, init_model
from mmseg.datasets import CityscapesDataset
from mmseg.registry import MODELS

CPU = torch.device("cpu")
BASES = Path(mmseg.__file__).parent / ".mim" / "configs" / "_base_"
CITYSCAPES = list(CityscapesDataset.METAINFO["classes"])
RESNET = "dict(type='{kind}', depth=50, base_channels=4, stem_channels=4)"
# Family -> (base config, changes that make it small, names in its 0.x checkpoints).
SMALL: dict[str, tuple[str, str, set[str]]] = {
    "pspnet": (
        "pspnet_r50-d8",
        f"""model = dict(pretrained='torchvision://resnet50', backbone={RESNET.format(kind="ResNet")},
        decode_head=dict(in_channels=128, channels=16), auxiliary_head=dict(in_channels=64, channels=8))""",
        {"backbone.conv1.weight", "decode_head.psp_modules.0.1.conv.weight", "auxiliary_head.convs.0.bn.running_var"},
    ),
    "segformer": (
        "segformer_mit-b0",
        """model = dict(backbone=dict(embed_dims=8, num_layers=[1, 1, 1, 1],
            init_cfg=dict(type='Pretrained', checkpoint='https://127.0.0.1:9/nowhere.pth')),
        decode_head=dict(in_channels=[8, 16, 40, 64], channels=16),
        test_cfg=dict(mode='slide', crop_size=(64, 64), stride=(48, 48)))""",
        {
            "backbone.layers.0.0.projection.weight",
            "backbone.layers.0.1.0.attn.attn.in_proj_weight",
            "backbone.layers.0.1.0.attn.sr.weight",
            "backbone.layers.3.1.0.ffn.layers.4.bias",
            "backbone.layers.0.2.weight",
            "decode_head.fusion_conv.conv.weight",
        },
    ),
    "pointrend": (
        "pointrend_r50",
        f"""model = dict(pretrained='open-mmlab://resnet50_v1c', backbone={RESNET.format(kind="ResNetV1c")},
        neck=dict(in_channels=[16, 32, 64, 128], out_channels=16), decode_head=[
            dict(type='FPNHead', in_channels=[16] * 4, in_index=[0, 1, 2, 3], feature_strides=[4, 8, 16, 32],
                channels=16, dropout_ratio=-1, num_classes=19, norm_cfg=dict(type='SyncBN'), align_corners=False),
            dict(type='PointHead', in_channels=[16], in_index=[0], channels=16, num_fcs=3, dropout_ratio=-1,
                coarse_pred_each_layer=True, num_classes=19, align_corners=False)],
        test_cfg=dict(mode='whole', subdivision_steps=2, subdivision_num_points=500, scale_factor=2))""",
        {
            "backbone.stem.0.weight",
            "neck.lateral_convs.0.conv.weight",
            "decode_head.0.scale_heads.1.0.bn.weight",
            "decode_head.1.fcs.0.conv.weight",
            "decode_head.1.fc_seg.weight",
        },
    ),
    "setr": (
        "setr_pup",
        """up = dict(type='SETRUPHead', in_channels=16, channels=8, num_classes=19, num_convs=2,
            norm_cfg=dict(type='SyncBN'))
        model = dict(pretrained='pretrain/nowhere.pth', backbone=dict(
            img_size=(64, 64), embed_dims=16, num_layers=4, num_heads=2, out_indices=(0, 1, 2, 3)),
        decode_head=dict(in_channels=16, channels=8),
        auxiliary_head=[dict(in_index=0, **up), dict(in_index=1, **up), dict(in_index=2, **up)],
        test_cfg=dict(mode='slide', crop_size=(64, 64), stride=(40, 40)))""",
        {
            "backbone.pos_embed",
            "backbone.patch_embed.projection.bias",
            "backbone.layers.0.ln1.weight",
            "backbone.layers.0.ffn.layers.0.0.weight",
            "decode_head.norm.weight",
            "decode_head.up_convs.3.0.conv.weight",
            "auxiliary_head.2.up_convs.1.0.bn.bias",
        },
    ),
}
PIPELINE = """test_pipeline = [dict(type='LoadImageFromFile'), dict(type='Resize', scale=(128, 96), keep_ratio=True),
    dict(type='LoadAnnotations'), dict(type='PackSegInputs')]
tta_pipeline = [dict(type='LoadImageFromFile', backend_args=None), dict(type='TestTimeAug', transforms=[
    [dict(type='Resize', scale_factor=r, keep_ratio=True) for r in (0.5, 1.25)],
    [dict(type='RandomFlip', prob=p, direction='horizontal') for p in (0., 1.)],
    [dict(type='LoadAnnotations')], [dict(type='PackSegInputs')]])]"""


def write_config(family: str, folder: Path) -> Path:
    base, small, _ = SMALL[family]
    bases = [str(BASES / name) for name in (f"models/{base}.py", "datasets/cityscapes.py", "default_runtime.py")]
    path = folder / f"{family}.py"
    path.write_text(f"_base_ = {bases}\n{small.replace(chr(10) + '        ', chr(10))}\n{PIPELINE}\n")
    return path


def publish(model: Any, path: Path, *, is_zip: bool = True) -> dict[str, torch.Tensor]:
    """Save random weights and statistics as OpenMMLab's 0.x releases do; return the weights."""
    generator = torch.Generator().manual_seed(3)
    state = model.state_dict()
    for name, tensor in state.items():
        if tensor.is_floating_point():
            noise = torch.randn(tensor.shape, generator=generator)
            centre = float(tensor.dim() == 1 and name.endswith(("weight", "running_var")))  # of normalizations
            fan_in = max(tensor[0].numel(), 1) if tensor.dim() > 1 else 25
            tensor.copy_((centre + noise / fan_in**0.5).abs() if centre else noise * (1.5 / fan_in) ** 0.5)
    balance(model.eval())
    meta = {"CLASSES": tuple(CITYSCAPES), "PALETTE": [[128, 64, 128]] * 19, "mmseg_version": "0.20.2", "config": "..."}
    meta |= {"hook_msgs": {"best_score": np.float64(0.8)}, "seed": None}
    torch.save({"meta": meta, "state_dict": state}, path, _use_new_zipfile_serialization=is_zip)
    return dict(state)


@torch.no_grad()
def balance(model: Any) -> None:
    """Let no class of a random network win everywhere: logits of each get mean 0 and deviation 1 on an image."""

    def centre(classifier: Any, _: Any, logits: torch.Tensor) -> torch.Tensor:
        axes = [axis for axis in range(logits.dim()) if axis != 1]
        mean, deviation = logits.mean(axes), logits.std(axes) + 1e-6
        classifier.weight /= deviation.view(-1, *[1] * (logits.dim() - 1))
        classifier.bias.copy_((classifier.bias - mean) / deviation)
        return (logits - mean.view(1, -1, *[1] * (logits.dim() - 2))) / deviation.view(1, -1, *[1] * (logits.dim() - 2))

    names = ("conv_seg", "fc_seg")
    hooks = [m.register_forward_hook(centre) for n, m in model.named_modules() if n.split(".")[-1] in names]
    colours = torch.from_numpy(make_images(96, 128)).permute(0, 3, 1, 2).float()
    model((colours - 128) / 64, mode="predict")
    for hook in hooks:
        hook.remove()


def training_model(config: Path, **model_options: Any) -> Any:
    """Return the model as mmseg builds it for training, with every head."""
    cfg = Config.fromfile(config)
    cfg.model.pretrained = None
    cfg.model.backbone.update(init_cfg=None, **model_options)
    init_default_scope("mmseg")
    with quiet():
        return MODELS.build(cfg.model)


def make(family: str, folder: Path) -> tuple[str, Path, Path]:
    supply_point_sample()
    config = write_config(family, folder)
    options = {"patch_bias": True} if family == "setr" else {}  # 0.x always had the bias
    is_zip = family != "pointrend"  # whose checkpoint torch 1.5 wrote
    state = publish(training_model(config, **options), folder / "weights.pth", is_zip=is_zip)
    assert SMALL[family][2] <= set(state)
    return family, config, folder / "weights.pth"


def load(checkpoint: Path) -> Any:
    return torch.load(checkpoint, weights_only=False)


def teacher_of(config: Path | str, checkpoint: Path | str, **settings: Any) -> MMSegTeacher:
    return MMSegTeacher(
        str(config), str(checkpoint), device=CPU, weights_folder=Path("nowhere"), trust=True, **settings
    )


def make_images(height: int, width: int, num: int = 1) -> np.ndarray:
    """Return smooth colours with an edge or two: neighbouring pixels are alike, as in photographs."""
    generator = np.random.default_rng(height * width)
    coarse = torch.from_numpy(generator.uniform(0, 255, (num, 3, 6, 8)))
    fine = torch.nn.functional.interpolate(coarse, (height, width), mode="bilinear").numpy().astype(np.uint8)
    fine[:, :, height // 3 :, width // 2 :] //= 3
    return np.ascontiguousarray(fine.transpose(0, 2, 3, 1))


def show(images_BHWC: np.ndarray) -> SampledFrames:
    return SampledFrames("video", range(len(images_BHWC)), images_BHWC, None)


def reference_model(family: str, config: Path, checkpoint: Path, **options: Any) -> Any:
    """Return the model of mmseg's own API, which loads the weights that fit and only warns about the rest."""
    with quiet():
        return init_model(str(config), str(checkpoint), device="cpu", cfg_options=bias_of(family) | options)


def bias_of(family: str) -> dict[str, Any]:
    return {"model.backbone.patch_bias": True} if family == "setr" else {}


def reference(model: Any) -> Callable[[np.ndarray], np.ndarray]:
    """Return a function from an image to the labels of mmseg's own API."""

    def label(image_HWC: np.ndarray) -> np.ndarray:
        with quiet():
            result = inference_model(model, np.ascontiguousarray(image_HWC[..., ::-1]))
        labels: np.ndarray = result.pred_sem_seg.data[0].numpy()
        return labels

    return label


def check_labels(labels_HW: np.ndarray, model: Any, image_HWC: np.ndarray) -> None:
    """Assert that the labels are those of mmseg's own API, but where its two best scores differ by rounding alone.

    Another process may use another number of threads, and thereby another order of additions.
    """
    with quiet():
        logits_KHW = inference_model(model, np.ascontiguousarray(image_HWC[..., ::-1])).seg_logits.data
    of_labels_HW = logits_KHW.gather(0, torch.from_numpy(labels_HW[None].astype(np.int64)))[0]
    best_HW = logits_KHW.amax(0)
    assert (best_HW - of_labels_HW).max() <= 1e-5 * (best_HW - logits_KHW.amin(0)).max()
