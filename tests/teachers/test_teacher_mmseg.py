"""Teachers of mmsegmentation: labels of small networks of four families equal those of mmseg's own API."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmseg_networks import (
    BASES,
    CITYSCAPES,
    SMALL,
    check_labels,
    load,
    make,
    make_images,
    publish,
    reference,
    reference_model,
    show,
    teacher_of,
    training_model,
)

from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.teachers import SoftTeacher
from odkd.teachers.mmseg_config import quiet
from odkd.teachers.point_sample import supply_point_sample


@pytest.fixture(scope="module", params=list(SMALL))
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Path]:
    """Family, config, and checkpoint in the format of 0.x."""
    folder = tmp_path_factory.mktemp(request.param)
    return make(request.param, folder)


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
    with pytest.raises(ValueError, match=f"1 weight missing, such as {name}"):
        teacher_of(config, tmp_path / "a")
    torch.save({"state_dict": state | {"backbone.extra": torch.zeros(1)}}, tmp_path / "b")
    with pytest.raises(ValueError, match=r"1 weight without a place in it, such as backbone\.extra"):
        teacher_of(config, tmp_path / "b")
    torch.save({"state_dict": state | {name: torch.zeros(7)}}, tmp_path / "c")
    with pytest.raises(ValueError, match=f"(?s)does not fit teacher.config.*{name}"):
        teacher_of(config, tmp_path / "c")


def test_labels_with_tta_equal_those_of_mmsegs_own_averaging(small: tuple[str, Path, Path]) -> None:
    from mmengine.dataset import Compose, pseudo_collate
    from mmseg.registry import MODELS

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
    model = reference_model(name, config, checkpoint, **{"test_pipeline.1.scale": (128, 64)})
    for position in range(2):
        labels_HW = parts.teacher_labels.read(position)
        assert len(np.unique(labels_HW)) > 2
        check_labels(labels_HW, model, parts.frames.read([position])[0])
