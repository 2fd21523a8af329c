"""Teachers of mmsegmentation: small networks of four families, in published checkpoint formats, against mmseg's API."""

import hashlib
import importlib
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.teachers import SampledFrames, SoftTeacher
from odkd.teachers.download import local_path
from odkd.teachers.mmseg import MMSegTeacher
from odkd.teachers.mmseg_config import OLD_NAMES, config_identity, import_mmseg, load_config, own_file, quiet
from odkd.teachers.mmseg_weights import load_checkpoint
from odkd.teachers.point_sample import point_sample, supply_point_sample

try:
    import_mmseg()
except ValueError as missing:
    pytest.skip(str(missing), allow_module_level=True)

import mmseg
from mmengine import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.logging import HistoryBuffer
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


@pytest.fixture(scope="module", params=list(SMALL))
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """Family, config, and checkpoint in the format of 0.x."""
    folder = tmp_path_factory.mktemp(request.param)
    return make(request.param, folder)


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
    return MMSegTeacher(str(config), str(checkpoint), device=CPU, weights_folder=Path("nowhere"), **settings)


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


def test_labels_equal_those_of_mmsegs_own_api(small: tuple[str, Path, Path]) -> None:
    teacher, label = teacher_of(*small[1:]), reference(reference_model(*small))
    for size in ((96, 128), (50, 75), (61, 200), (90, 31)):
        images = make_images(*size)
        labels_BHW = teacher.label(show(images))
        assert labels_BHW.dtype == np.uint8
        assert len(np.unique(labels_BHW)) > 2, "an image of one class proves little"
        np.testing.assert_array_equal(labels_BHW[0], label(images[0]))


def test_a_batch_is_labelled_like_its_images_one_by_one(small: tuple[str, Path, Path]) -> None:
    teacher, images = teacher_of(*small[1:]), make_images(50, 75, num=3)
    labels_BHW, soft_BKHW = teacher.label_softly(show(images), (50, 75))
    likeliest = soft_BKHW.topk(2, dim=1).values
    is_clear = (likeliest[:, 0] - likeliest[:, 1] > 1e-4).numpy()
    alone = np.concatenate([teacher.label(show(image[None])) for image in images])
    assert is_clear.mean() > 0.9
    # PointRend refines the least certain pixels: rounding may replace one of them by another.
    assert (labels_BHW != alone)[is_clear].sum() <= (5 if small[0] == "pointrend" else 0)
    assert (labels_BHW[0] != labels_BHW[1]).any()


def test_soft_labels_are_probabilities_whose_likeliest_class_is_the_label(small: tuple[str, Path, Path]) -> None:
    teacher = teacher_of(*small[1:])
    assert isinstance(teacher, SoftTeacher)
    images = make_images(50, 75, num=2)
    labels_BHW, soft_BKHW = teacher.label_softly(show(images), (50, 75))
    assert soft_BKHW.shape == (2, 19, 50, 75)
    assert soft_BKHW.dtype == torch.float32
    np.testing.assert_array_equal(labels_BHW, teacher.label(show(images)))
    np.testing.assert_array_equal(soft_BKHW.argmax(1), labels_BHW)
    small_BKhw = teacher.label_softly(show(images), (5, 15))[1]
    torch.testing.assert_close(small_BKhw.sum(1), torch.ones(2, 5, 15))
    torch.testing.assert_close(small_BKhw[0, :, 1, 2], soft_BKHW[0, :, 10:20, 10:15].mean((1, 2)))


def test_classes_come_from_the_checkpoint_or_else_from_the_configs_dataset(
    small: tuple[str, Path, Path], tmp_path: Path
) -> None:
    _, config, checkpoint = small
    content = load(checkpoint)
    assert teacher_of(config, checkpoint).classes == CITYSCAPES
    torch.save({"state_dict": content["state_dict"], "meta": {"dataset_meta": {"classes": ["x"] * 19}}}, tmp_path / "a")
    assert teacher_of(config, tmp_path / "a").classes == ["x"] * 19
    torch.save({f"module.{name}": tensor for name, tensor in content["state_dict"].items()}, tmp_path / "b")
    bare = teacher_of(config, tmp_path / "b")
    assert (bare.classes, bare.num_classes) == (CITYSCAPES, 19)
    torch.save({"state_dict": content["state_dict"], "meta": {"CLASSES": ["x"] * 3}}, tmp_path / "c")
    with pytest.raises(ValueError, match=r"names 3 classes; config .* has 19"):
        teacher_of(config, tmp_path / "c")


def test_weights_that_do_not_fit_are_named(small: tuple[str, Path, Path], tmp_path: Path) -> None:
    family, config, checkpoint = small
    state = load(checkpoint)["state_dict"]
    name = sorted(name for name in SMALL[family][2] if not name.startswith("auxiliary"))[0]
    torch.save({"state_dict": {key: value for key, value in state.items() if key != name}}, tmp_path / "a")
    with pytest.raises(ValueError, match=f"1 weights are missing, such as {name}"):
        teacher_of(config, tmp_path / "a")
    torch.save({"state_dict": state | {"backbone.extra": torch.zeros(1)}}, tmp_path / "b")
    with pytest.raises(ValueError, match=r"1 weights have no place in the model, such as backbone\.extra"):
        teacher_of(config, tmp_path / "b")
    torch.save({"state_dict": state | {name: torch.zeros(7)}}, tmp_path / "c")
    with pytest.raises(ValueError, match=f"(?s)does not fit teacher.config.*{name}"):
        teacher_of(config, tmp_path / "c")


def test_labels_with_tta_equal_those_of_mmsegs_own_averaging(small: tuple[str, Path, Path]) -> None:
    model = reference_model(*small)
    model.cfg.tta_pipeline[0]["type"] = "LoadImageFromNDArray"
    scales, flips, _, pack = model.cfg.tta_pipeline[1]["transforms"]
    model.cfg.tta_pipeline[1]["transforms"] = [scales, flips, pack]
    with quiet():
        averaging = MODELS.build(dict(model.cfg.tta_model, module=model))
        view = Compose(model.cfg.tta_pipeline)
    images = make_images(80, 112, num=2)  # half of it is the smallest size for a SegFormer
    teacher = teacher_of(*small[1:], tta=True)
    plain = teacher_of(*small[1:]).label(show(images))
    for image in images:
        with torch.no_grad(), quiet():
            result = averaging.test_step(pseudo_collate([view({"img": np.ascontiguousarray(image[..., ::-1])})]))
        labels_BHW, soft_BKHW = teacher.label_softly(show(image[None]), (80, 112))
        np.testing.assert_array_equal(labels_BHW[0], result[0].pred_sem_seg.data[0].numpy())
        np.testing.assert_array_equal(soft_BKHW[0].argmax(0), labels_BHW[0])
        torch.testing.assert_close(soft_BKHW.sum(1), torch.ones(1, 80, 112))
    both = teacher.label(show(images))
    assert both.shape == (2, 80, 112)
    assert (both != plain).any()


def test_half_precision_gives_nearly_the_same_probabilities(small: tuple[str, Path, Path]) -> None:
    images = make_images(50, 75)
    _, soft_BKHW = teacher_of(*small[1:]).label_softly(show(images), (50, 75))
    labels_BHW, half_BKHW = teacher_of(*small[1:], precision="bfloat16").label_softly(show(images), (50, 75))
    assert labels_BHW.dtype == np.uint8
    assert half_BKHW.dtype == torch.float32
    torch.testing.assert_close(half_BKHW.sum(1), torch.ones(1, 50, 75))
    assert 0 < (half_BKHW - soft_BKHW).abs().mean() < 0.01


def test_setrs_bias_of_0_x_is_kept_although_1_x_configs_leave_it_out(tmp_path: Path) -> None:
    family, config, checkpoint = make("setr", tmp_path)
    name = "backbone.patch_embed.projection.bias"
    content = load(checkpoint)
    content["state_dict"][name] += 1
    torch.save(content, checkpoint)
    images = make_images(96, 128)
    labels_HW = teacher_of(config, checkpoint).label(show(images))[0]
    without = reference_model("other", config, checkpoint)
    assert name not in without.state_dict(), "mmseg has fixed it: needed_options can be deleted"
    assert (reference(without)(images[0]) != labels_HW).any()
    np.testing.assert_array_equal(reference(reference_model(family, config, checkpoint))(images[0]), labels_HW)


@pytest.fixture(scope="module")
def pspnet(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return make("pspnet", tmp_path_factory.mktemp("one"))[1:]


def test_options_change_the_config_and_mistyped_ones_are_refused(pspnet: tuple[Path, Path]) -> None:
    images = make_images(50, 75)
    sliding = {
        "test_pipeline.1.scale": [96, 64],
        "model.test_cfg": {"mode": "slide", "crop_size": [40, 40], "stride": [20, 20]},
    }
    labels_BHW = teacher_of(*pspnet, options=sliding).label(show(images))
    assert (labels_BHW != teacher_of(*pspnet).label(show(images))).any()
    tuples = {
        "test_pipeline.1.scale": (96, 64),
        "model.test_cfg": {"mode": "slide", "crop_size": (40, 40), "stride": (20, 20)},
    }
    label = reference(reference_model("pspnet", *pspnet, **tuples))
    np.testing.assert_array_equal(labels_BHW[0], label(images[0]))
    with pytest.raises(
        ValueError, match=r"no test_pipelines of test_pipelines\.1\.scale .* did you mean test_pipeline\?"
    ):
        teacher_of(*pspnet, options={"test_pipelines.1.scale": [96, 64]})
    with pytest.raises(ValueError, match="no 9 of"):
        teacher_of(*pspnet, options={"test_pipeline.9.scale": [96, 64]})


def test_a_checkpoint_of_a_training_run_in_1_x_loads(pspnet: tuple[Path, Path], tmp_path: Path) -> None:
    config, checkpoint = pspnet
    content = load(checkpoint)
    log = HistoryBuffer([1.0, 2.0], [1, 1])
    content["message_hub"] = {"log_scalars": {"train/loss": log}, "runtime_info": {"iter": np.int64(3)}}
    content["optimizer"] = {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": [{"lr": 0.1}]}
    content["meta"] = {"dataset_meta": {"classes": tuple(CITYSCAPES), "palette": np.zeros((19, 3), np.uint8)}}
    torch.save(content, tmp_path / "epoch_1.pth")
    assert b"getattr" in pickle.dumps(log, protocol=2), "this makes the file unsafe for other loaders"
    teacher = teacher_of(config, tmp_path / "epoch_1.pth")
    np.testing.assert_array_equal(
        teacher.label(show(make_images(50, 75))), teacher_of(*pspnet).label(show(make_images(50, 75)))
    )
    assert teacher.classes == CITYSCAPES
    assert log.mean() == 1.5, "mmengine's class is unchanged"


class Evil:
    """An object that calls a function when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Any, tuple[Any, ...]]:
        return self.call


def test_nothing_pickled_in_a_checkpoint_is_run(pspnet: tuple[Path, Path], tmp_path: Path) -> None:
    made = tmp_path / "made"
    state = load(pspnet[1])["state_dict"]
    torch.save({"state_dict": state, "meta": {"evil": Evil(Path.touch, made)}}, tmp_path / "evil.pth")
    with pytest.raises(ValueError, match="no checkpoint that loads safely"):
        teacher_of(pspnet[0], tmp_path / "evil.pth")
    assert not made.exists()
    reached = Evil(getattr, np.ndarray, "tofile")  # mmengine's list of safe names allows this
    torch.save({"state_dict": state, "meta": {"CLASSES": CITYSCAPES, "reached": reached}}, tmp_path / "getattr.pth")
    content = load_checkpoint(tmp_path / "getattr.pth")
    assert type(content["meta"]["reached"]).__name__ == "_Ignored"


def test_wrong_checkpoints_and_configs_are_one_clear_message(pspnet: tuple[Path, Path], tmp_path: Path) -> None:
    config, checkpoint = pspnet
    with pytest.raises(ValueError, match="no teacher checkpoint"):
        teacher_of(config, tmp_path / "none.pth")
    (tmp_path / "garbage.pth").write_bytes(b"not a checkpoint")
    with pytest.raises(ValueError, match="loads safely"):
        teacher_of(config, tmp_path / "garbage.pth")
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(ValueError, match="holds a list"):
        teacher_of(config, tmp_path / "list.pth")
    torch.save({"epoch": 3}, tmp_path / "empty.pth")
    with pytest.raises(ValueError, match="holds epoch; expected a state_dict"):
        teacher_of(config, tmp_path / "empty.pth")
    with pytest.raises(ValueError, match="did you mean pspnet_r101b-d8_4xb2-80k_cityscapes-512x1024"):
        teacher_of("pspnet/pspnet_r101b-d8_4xb2-80k_cityscape-512x1024.py", checkpoint)
    (tmp_path / "broken.py").write_text("model = dict(type='EncoderDecoder'")
    with pytest.raises(ValueError, match="cannot be read"):
        teacher_of(tmp_path / "broken.py", checkpoint)
    (tmp_path / "bare.py").write_text("x = 1")
    with pytest.raises(ValueError, match="describes no model"):
        teacher_of(tmp_path / "bare.py", checkpoint)
    (tmp_path / "odd.py").write_text("model = dict(type='EncoderDecoders', backbone=dict())")
    with pytest.raises(ValueError, match=r"builds no network: .*EncoderDecoders"):
        teacher_of(tmp_path / "odd.py", checkpoint)
    binary = {"model.decode_head": {"num_classes": 2, "out_channels": 1, "threshold": 0.3}}
    with pytest.raises(ValueError, match="one output for two classes"):
        teacher_of(config, checkpoint, options=binary)
    (tmp_path / "plain.py").write_text(f"_base_ = ['{config}']\ntta_model = dict(type='OtherTTAModel')")
    with pytest.raises(ValueError, match="SegTTAModel only"):
        teacher_of(tmp_path / "plain.py", checkpoint, tta=True)


def test_a_checkpoint_at_a_url_is_taken_from_the_weights_folder(pspnet: tuple[Path, Path], tmp_path: Path) -> None:
    content = pspnet[1].read_bytes()
    url = f"https://127.0.0.1:9/x-{hashlib.sha256(content).hexdigest()[:8]}.pth"
    local_path(url, tmp_path).write_bytes(content)
    teacher = MMSegTeacher(str(pspnet[0]), url, device=CPU, weights_folder=tmp_path)
    images = make_images(50, 75)
    np.testing.assert_array_equal(teacher.label(show(images)), teacher_of(*pspnet).label(show(images)))


def test_a_url_passes_the_checks_and_offline_is_one_message(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.sleep", lambda _: None)
    url = "http://127.0.0.1:9/net-00112233.pth"
    overrides = [
        "debug=smoke",
        "teacher=pspnet",
        f"teacher.checkpoint={url}",
        f"paths.weights={tmp_path}",
        f"paths.cache={tmp_path}",
    ]
    parts = Parts(compose_config(overrides))
    with pytest.raises(ValueError, match=f"could not download {url}.* put it at {tmp_path}/net-00112233.pth"):
        _ = parts.teacher_parts.teacher


def test_shipped_configs_are_found_by_any_of_their_names_and_download_nothing() -> None:
    name = "segformer_mit-b5_8xb1-160k_cityscapes-1024x1024"
    old = "segformer_mit-b5_8x1_1024x1024_160k_cityscapes.py"
    given = (name, f"{name}.py", f"segformer/{name}.py", old, f"../mmsegmentation/configs/segformer/{old}")
    assert len({str(load_config(each, {}).model) for each in given}) == 1
    for new in OLD_NAMES.values():
        text = str(load_config(new, {}).model)
        assert not any(part in text for part in ("http", "open-mmlab:", "torchvision:", "pretrain/", "SyncBN"))


def identify(
    checkpoint: Path | str, config: Path | str = "pspnet_r101b-d8_512x1024_80k_cityscapes.py", **more: Any
) -> Any:
    settings = {
        "config": str(config),
        "checkpoint": str(checkpoint),
        "precision": "float32",
        "tta": False,
        "options": None,
    }
    return MMSegTeacher.identity(settings | more, lambda path: hashlib.sha256(path.read_bytes()).hexdigest())


def test_identity_is_that_of_weights_and_config_in_any_place(tmp_path: Path) -> None:
    content = b"weights"
    digest = hashlib.sha256(content).hexdigest()
    names = [f"net-{digest[:8]}.pth", "net.pth", "net-20240131.pth", "net-00112233.pth"]
    paths = [tmp_path / name for name in names]
    for path in paths:
        path.write_bytes(content)
    published = identify(f"https://example.org/{names[0]}")
    assert published["config"] == "pspnet_r101b-d8_4xb2-80k_cityscapes-512x1024"
    assert published["checkpoint"] == digest[:8]
    assert identify(paths[0]) == identify(f"https://example.org/{names[0]}?download=1") == published
    assert identify(paths[0], "pspnet/pspnet_r101b-d8_4xb2-80k_cityscapes-512x1024.py") == published
    installed = next(BASES.parent.rglob("pspnet_r101b-d8_4xb2-80k_cityscapes-512x1024.py"))
    assert identify(paths[0], installed) == published
    assert [identify(path)["checkpoint"] for path in paths[1:]] == [digest] * 3, "names with a wrong digest or none"
    assert identify("https://example.org/net.pth")["checkpoint"] == "https://example.org/net.pth"
    others = [{"precision": "bfloat16"}, {"tta": True}, {"options": {"test_pipeline.1.scale": [64, 64]}}]
    assert all(identify(paths[0], **other) != published for other in others)


def test_a_users_config_is_identified_by_its_text_and_that_of_its_bases(tmp_path: Path) -> None:
    def digest(path: Path) -> str:
        return path.read_text()

    for folder in ("a", "b"):
        (tmp_path / folder / "bases").mkdir(parents=True)
        (tmp_path / folder / "own.py").write_text("_base_ = ['./bases/one.py', 'bases/one.py']\nx = 1")
        (tmp_path / folder / "bases" / "one.py").write_text("_base_ = 'two.py'")
        (tmp_path / folder / "bases" / "two.py").write_text("y = 1")
        (tmp_path / folder / "lazy.py").write_text("with read_base():\n    from .bases.two import *")
    first, second = (tmp_path / folder / "own.py" for folder in ("a", "b"))
    assert own_file(str(first)) == first
    assert config_identity(str(first), digest) == [
        path.read_text() for path in (first, tmp_path / "a/bases/one.py", tmp_path / "a/bases/two.py")
    ]
    assert config_identity(str(first), digest) == config_identity(str(second), digest)
    lazy = config_identity(str(tmp_path / "b" / "lazy.py"), digest)
    (tmp_path / "b" / "bases" / "two.py").write_text("y = 2")
    assert config_identity(str(first), digest) != config_identity(str(second), digest)
    assert lazy != config_identity(str(tmp_path / "b" / "lazy.py"), digest)
    first.write_text("model = dict(")
    with pytest.raises(ValueError, match="cannot be read"):
        config_identity(str(first), digest)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (ModuleNotFoundError("No module named 'mmseg'"), r"pip install 'odkd\[mmseg\]'"),
        (ImportError("libGL.so.1: cannot open shared object file"), "apt install libgl1"),
    ],
)
def test_missing_packages_are_named(error: ImportError, message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.import_module

    def refuse(name: str, *rest: Any) -> Any:
        if name.startswith("mmseg"):
            raise error
        return real(name, *rest)

    monkeypatch.setattr(importlib, "import_module", refuse)
    with pytest.raises(ValueError, match=message):
        teacher_of("x", "x")


def test_identity_needs_no_mmseg(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] in ("mmseg", "mmengine", "mmcv")]:
        monkeypatch.setitem(sys.modules, name, None)
    assert identify("https://example.org/net-0011223f.pth")["checkpoint"] == "0011223f"


@pytest.mark.parametrize("align_corners", [False, True])
def test_point_sample_is_bilinear_interpolation_with_zeros_around(align_corners: bool) -> None:
    generator = np.random.default_rng(0)
    maps = generator.normal(size=(2, 3, 5, 7))
    points = np.concatenate([generator.uniform(-0.2, 1.2, (2, 60, 2)), np.array([[[0, 0], [1, 1], [0.5, 1]]] * 2)], 1)

    def value(b: int, c: int, row: int, column: int) -> float:
        return float(maps[b, c, row, column]) if 0 <= row < 5 and 0 <= column < 7 else 0.0

    expected = np.zeros((2, 3, 63))
    for b, c, p in np.ndindex(expected.shape):
        x, y = points[b, p]
        column, row = (x * 6, y * 4) if align_corners else (x * 7 - 0.5, y * 5 - 0.5)
        left, top = int(np.floor(column)), int(np.floor(row))
        right, down = column - left, row - top
        upper = value(b, c, top, left) * (1 - right) + value(b, c, top, left + 1) * right
        lower = value(b, c, top + 1, left) * (1 - right) + value(b, c, top + 1, left + 1) * right
        expected[b, c, p] = upper * (1 - down) + lower * down
    ours = point_sample(torch.from_numpy(maps), torch.from_numpy(points), align_corners=align_corners)
    np.testing.assert_allclose(ours, expected, atol=1e-12)
    grid = point_sample(torch.from_numpy(maps), torch.from_numpy(points[:, :60]).view(2, 6, 10, 2), align_corners)
    np.testing.assert_allclose(grid.reshape(2, 3, 60), expected[:, :, :60], atol=1e-12)


def test_point_sample_finds_the_pixel_of_a_wide_map_in_half_precision() -> None:
    ramp = torch.arange(200.0).to(torch.bfloat16).expand(1, 1, 1, 200)
    points = torch.tensor([[[(137 + 0.5) / 200, 0.5]]])
    sampled = point_sample(ramp, points)
    assert sampled.dtype == torch.bfloat16
    assert sampled.item() == 137


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["pspnet", "segformer", "pointrend", "setr"])
def test_the_published_teachers_label_a_video(name: str, tmp_path: Path) -> None:
    """The full networks of the published configs, with random weights, label 4 frames at 128 x 64."""
    node = compose_config([f"teacher={name}"]).teacher
    config = next(BASES.parent.rglob(f"{node.config}.py"))
    checkpoint = tmp_path / "weights.pth"
    supply_point_sample()
    publish(training_model(config, **({"patch_bias": True} if name == "setr" else {})), checkpoint)
    arguments = [
        *("debug=smoke", "tracking=none", "stage=label", f"paths.outputs={tmp_path}"),
        *(f"teacher={name}", f"teacher.checkpoint={checkpoint}", "teacher.batch_size=1"),
        "teacher.options={test_pipeline.1.scale: [128, 64]}",
        *("dataset.prepare.height=64", "dataset.prepare.width=128", "dataset.prepare.num_periods=2"),
        *("dataset.size=[64,128]", "dataset.stride=20", "dataset.groundtruth=null"),
        *(f"dataset.classes={CITYSCAPES}", "dataset.palette=null"),
    ]
    done = subprocess.run([sys.executable, "-m", "odkd", *arguments], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    parts = Parts(compose_config(arguments))
    assert parts.teacher_labels.missing() == []
    assert len(parts.stream) == 4
    label = reference(reference_model(name, config, checkpoint, **{"test_pipeline.1.scale": (128, 64)}))
    for position in range(2):
        labels_HW = parts.teacher_labels.read(position)
        assert len(np.unique(labels_HW)) > 2
        np.testing.assert_array_equal(labels_HW, label(parts.frames.read([position])[0]))
