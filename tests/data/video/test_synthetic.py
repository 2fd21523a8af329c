"""The built-in dataset: exact ground truth, two conflicting worlds, complete folders only."""

import logging
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from odkd.data.video.street.scene import Scene
from odkd.data.video.street.world import World
from odkd.data.video.street.worlds import CITY, NIGHT
from odkd.data.video.synthetic import CLASSES, PALETTE, render_dataset

WORLDS = pytest.mark.parametrize("world", [CITY, NIGHT], ids=lambda world: world.name)
TIMES = np.arange(0.0, 60.0, 6.1)  # seconds
Drives = tuple[tuple[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]  # (images, labels), twice
SMALL: dict[str, Any] = {
    "height": 64,
    "width": 112,
    "frame_rate": 5.0,
    "num_periods": 3,
    "period_seconds": 2.0,
    "seed": 7,
}


def render(world: World, times: np.ndarray = TIMES) -> tuple[np.ndarray, np.ndarray]:
    """Return images_THWC and labels_THW of a world, without noise, at the default size."""
    scene = Scene(world, height=128, width=224, seed=0)
    pairs = [scene.render(seconds, noise=False) for seconds in times]
    return np.stack([image for image, _ in pairs]), np.stack([labels for _, labels in pairs])


def frequencies(labels: np.ndarray) -> np.ndarray:
    return np.bincount(labels.ravel(), minlength=len(CLASSES)) / labels.size


@pytest.fixture(scope="module")
def drives() -> dict[str, Drives]:
    """Return 80 seconds of each world, and 80 later seconds after it has returned."""
    first, second = np.arange(0.0, 80.0, 2.0), np.arange(160.0, 240.0, 2.0)
    return {world.name: (render(world, first), render(world, second)) for world in (CITY, NIGHT)}


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return render_dataset(tmp_path_factory.mktemp("synthetic"), **SMALL)


def test_the_domains_alternate_and_every_frame_has_a_mask(dataset: Path) -> None:
    stems = ["00_city", "01_night", "02_city"]
    assert sorted(path.name for path in (dataset / "videos").iterdir()) == [f"{stem}.mp4" for stem in stems]
    for stem in stems:
        masks = sorted(path.name for path in (dataset / "groundtruth" / stem).iterdir())
        assert masks == [f"{number:06d}.png" for number in range(10)]
        with av.open(str(dataset / "videos" / f"{stem}.mp4")) as container:
            assert sum(1 for _ in container.decode(video=0)) == 10
    with Image.open(dataset / "groundtruth" / "00_city" / "000000.png") as mask:
        assert (mask.mode, mask.size) == ("P", (112, 64))
        assert (mask.getpalette() or [])[: 3 * len(CLASSES)] == [value for colour in PALETTE for value in colour]


def test_each_frame_and_mask_shows_the_scene_at_the_time_of_the_frame(dataset: Path) -> None:
    for stem, world, start in (("00_city", CITY, 0), ("01_night", NIGHT, 2), ("02_city", CITY, 4)):
        scene = Scene(world, height=64, width=112, seed=7)
        with av.open(str(dataset / "videos" / f"{stem}.mp4")) as container:
            for number, frame in enumerate(container.decode(video=0)):
                image_HWC, labels_HW = scene.render(start + number / 5)
                assert np.abs(frame.to_ndarray(format="rgb24").astype(int) - image_HWC).mean() < 8
                with Image.open(dataset / "groundtruth" / stem / f"{number:06d}.png") as mask:
                    np.testing.assert_array_equal(np.asarray(mask), labels_HW)


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_world(dataset: Path, tmp_path: Path) -> None:
    again, other = render_dataset(tmp_path, **SMALL), render_dataset(tmp_path, **{**SMALL, "seed": 8})
    files = sorted(path.relative_to(dataset) for path in dataset.rglob("*.*"))
    assert len(files) == 3 + 30
    assert again.name == dataset.name != other.name
    for file in files:
        assert (again / file).read_bytes() == (dataset / file).read_bytes()
        assert (other / file).read_bytes() != (dataset / file).read_bytes()


@WORLDS
def test_noise_changes_the_image_but_never_the_ground_truth(world: World) -> None:
    scene = Scene(world, height=128, width=224, seed=0)
    (clean_HWC, truth_HW), (noisy_HWC, same_HW) = scene.render(5.0, noise=False), scene.render(5.0)
    np.testing.assert_array_equal(truth_HW, same_HW)
    assert 0.5 * world.noise < (noisy_HWC.astype(float) - clean_HWC).std() < 1.5 * world.noise


@WORLDS
@pytest.mark.parametrize(
    ("family", "label"),
    [
        ("car", "car"),
        ("pedestrian", "pedestrian"),
        ("pole", "pole"),
        ("sign", "sign"),
        ("tree", "vegetation"),
    ],
)
def test_objects_cover_exactly_the_pixels_of_their_class(world: World, family: str, label: str) -> None:
    """Check that removing a family of objects changes a pixel if and only if the mask has the object there."""
    solid = tuple(row for row in world.rows if not row.glow)
    with_family = replace(world, rows=solid)
    without = replace(world, rows=tuple(row for row in solid if not row.sprite.startswith(family)))
    images, labels = render(with_family)
    bare_images, bare_labels = render(without)
    touched = (images != bare_images).any(-1)
    assert touched.any()
    assert (labels[touched] == CLASSES.index(label)).all()
    unchanged = ~touched & (labels == CLASSES.index(label)) & (bare_labels != labels)
    assert unchanged.sum() < 0.01 * touched.sum()  # the background has the same colour only by chance
    np.testing.assert_array_equal(labels[~touched & ~unchanged], bare_labels[~touched & ~unchanged])


def test_nearer_objects_hide_farther_ones_in_any_order_of_rows() -> None:
    cars = [row for row in CITY.rows if row.sprite.startswith("car")]
    rows = (*cars, *(row for row in CITY.rows if row.sprite == "pedestrian" and not row.glow))
    for first, second in zip(render(replace(CITY, rows=rows)), render(replace(CITY, rows=rows[::-1])), strict=True):
        np.testing.assert_array_equal(first, second)


def test_nothing_is_seen_through_a_wall() -> None:
    wall = replace(CITY.walls[0], x=-10.5, chance=1.0, built=1.0, heights=(30.0, 30.0))
    car = next(row for row in CITY.rows if row.sprite == "car rear" and not row.glow)
    for x, is_seen in ((-8.0, True), (-12.5, False)):
        world = replace(CITY, walls=(wall,), rows=(replace(car, x=x, chance=1.0),), bend=0.0)
        assert (render(world)[1] == CLASSES.index("car")).any() == is_seen


@WORLDS
@pytest.mark.parametrize(("height", "width", "thinnest"), [(128, 224, 2), (360, 640, 5)])
def test_poles_are_never_thinner_than_a_few_pixels(world: World, height: int, width: int, thinnest: int) -> None:
    rows = tuple(row for row in world.rows if row.sprite == "pole" and row.height > row.width)
    scene = Scene(replace(world, shadow=1.0, walls=(), rows=rows), height=height, width=width, seed=0)
    for seconds in TIMES:
        is_pole = scene.render(seconds)[1] == CLASSES.index("pole")
        edges = np.diff(np.pad(is_pole, ((0, 0), (1, 1))).astype(int), axis=1)
        starts, ends = np.nonzero(edges == 1)[1], np.nonzero(edges == -1)[1]
        inside = (starts > 0) & (ends < width)
        assert (ends - starts)[inside].min() >= thinnest


@WORLDS
def test_every_class_occurs_in_both_domains_and_the_imbalance_exceeds_50(
    world: World, drives: dict[str, Drives]
) -> None:
    share = frequencies(drives[world.name][0][1])
    assert len(CLASSES) >= 8
    assert share.min() > 0
    assert share.max() > 50 * share.min()


def test_class_frequencies_have_their_golden_values(drives: dict[str, Drives]) -> None:
    city, night = (frequencies(drives[name][0][1]) for name in ("city", "night"))
    expected = {"road": (0.36, 0.42), "sky": (0.12, 0.25), "building": (0.28, 0.09), "car": (0.055, 0.048)}
    for name, (in_city, at_night) in expected.items():
        assert city[CLASSES.index(name)] == pytest.approx(in_city, abs=0.025)
        assert night[CLASSES.index(name)] == pytest.approx(at_night, abs=0.025)


@pytest.mark.parametrize(("here", "there"), [("city", "night"), ("night", "city")])
def test_classes_learned_by_colour_in_one_domain_are_wrong_in_the_other(
    here: str, there: str, drives: dict[str, Drives]
) -> None:
    """Learn the most frequent class of each colour (16 steps per channel) in one domain, and test it in both."""

    def codes(images: np.ndarray) -> np.ndarray:
        return (images // 16).astype(np.int64) @ [256, 16, 1]

    (images, labels), (later_images, later_labels) = drives[here]
    counts = np.bincount((codes(images) * len(CLASSES) + labels).ravel(), minlength=4096 * len(CLASSES))
    table = counts.reshape(4096, len(CLASSES)).argmax(1)
    accuracy = (table[codes(later_images)] == later_labels).mean()
    other_images, other_labels = drives[there][0]
    assert accuracy > 0.65
    assert (table[codes(other_images)] == other_labels).mean() < 0.5 * accuracy


@WORLDS
def test_a_domain_that_returns_is_the_same_world_in_other_images(world: World, drives: dict[str, Drives]) -> None:
    (images, labels), (later_images, later_labels) = drives[world.name]
    assert np.abs(frequencies(labels) - frequencies(later_labels)).max() < 0.06
    assert np.abs(images.mean((0, 1, 2)) - later_images.mean((0, 1, 2))).max() < 12
    assert ((labels != later_labels).mean((1, 2)) > 0.02).all()


def test_the_same_dataset_is_rendered_once_when_requested_in_parallel(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="odkd.data.video.synthetic")
    with ThreadPoolExecutor(3) as pool:
        roots = list(pool.map(lambda _: render_dataset(tmp_path, **SMALL), range(3)))
    assert len(set(roots)) == 1
    assert [record.message.split()[0] for record in caplog.records] == ["rendering"]


def test_a_killed_process_leaves_no_dataset_and_the_next_one_removes_its_remains(tmp_path: Path) -> None:
    script = (
        "import pathlib, sys; from odkd.data.video.synthetic import render_dataset; "
        f"render_dataset(pathlib.Path(sys.argv[1]), **{ {**SMALL, 'period_seconds': 60.0} })"
    )
    with subprocess.Popen([sys.executable, "-c", script, str(tmp_path)]) as process:
        while not list(tmp_path.rglob("000003.png")):
            assert process.poll() is None
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert [path.suffix for path in tmp_path.iterdir() if path.is_dir()] == [".building"]
    root = render_dataset(tmp_path, **SMALL)
    assert [path for path in tmp_path.iterdir() if path.is_dir()] == [root]


@pytest.mark.parametrize("change", ["flip a bit of a video", "cut a map", "delete a map", "cut the note"])
def test_a_damaged_dataset_is_rendered_again_with_a_warning(
    dataset: Path, tmp_path: Path, change: str, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(dataset.parent, tmp_path, dirs_exist_ok=True)
    root = tmp_path / dataset.name
    video, label_map = next(root.rglob("*.mp4")), next(root.rglob("*.png"))
    before = {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    content = video.read_bytes()
    if change == "flip a bit of a video":
        video.write_bytes(content[:900] + bytes([content[900] ^ 1]) + content[901:])
    elif change == "cut a map":
        label_map.write_bytes(label_map.read_bytes()[:40])
    elif change == "delete a map":
        label_map.unlink()
    else:
        (note,) = tmp_path.glob("*.json")
        note.write_bytes(note.read_bytes()[:100])
    assert render_dataset(tmp_path, **SMALL) == root
    assert any(record.levelno == logging.WARNING for record in caplog.records)
    assert {path.relative_to(root): path.read_bytes() for path in root.rglob("*") if path.is_file()} == before
    caplog.clear()
    render_dataset(tmp_path, **SMALL)
    assert not caplog.records


def test_an_existing_dataset_is_returned_without_writing(dataset: Path) -> None:
    before = dataset.parent.stat().st_mtime_ns
    assert render_dataset(dataset.parent, **SMALL) == dataset
    assert dataset.parent.stat().st_mtime_ns == before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"height": 65}, "65x112.*even"),
        ({"width": 16}, "64x16.*at least 32"),
        ({"num_periods": 0}, "no frames|has no frames"),
        ({"period_seconds": 0.05}, "has no frames"),
        ({"frame_rate": 0.0}, "has no frames"),
    ],
)
def test_impossible_arguments_are_refused(tmp_path: Path, change: dict[str, float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        render_dataset(tmp_path, **{**SMALL, **change})
    assert not list(tmp_path.iterdir())


def test_only_remains_of_its_own_are_removed_and_no_link_is_followed(tmp_path: Path) -> None:
    others = [tmp_path / "to" / "camvid.building", tmp_path / "elsewhere"]
    for folder in others:
        folder.mkdir(parents=True)
        (folder / "precious").touch()
    small = SMALL | {"height": 32, "width": 32, "num_periods": 1, "period_seconds": 0.4}
    digest = render_dataset(tmp_path / "to", **small).name
    shutil.rmtree(tmp_path / "to" / digest)
    (tmp_path / "to" / f"{digest}.building").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "to" / f"{'0' * 16}.building").mkdir()
    root = render_dataset(tmp_path / "to", **small)
    assert sorted(path.name for path in (tmp_path / "to").glob("*.building")) == ["camvid.building"]
    assert [path.name for folder in others for path in folder.iterdir()] == ["precious", "precious"]
    assert not root.is_symlink()
