"""Label sets: they agree with other sources."""

import ast
from importlib.machinery import PathFinder
from pathlib import Path

import pytest
import yaml
from extras import reason
from paths import CONF

from odkd.data.labels.sets import label_set

SIZES = {
    "cityscapes": 19,
    "cityscapes_ids": 34,
    "coco_panoptic": 133,
    "coco_stuff": 171,
    "ade20k": 150,
    "camvid": 11,
    "bdd100k": 19,
    "foreground": 2,
}


@pytest.mark.parametrize("name", SIZES)
def test_a_set_has_its_number_of_classes_with_unique_names_and_valid_colours(name: str) -> None:
    found = label_set(name)
    assert found.name == name
    assert len(found.classes) == len(found.palette) == SIZES[name]
    assert len({label.lower().replace(" ", "") for label in found.classes}) == SIZES[name]
    assert all(label == label.strip() != "" for label in found.classes)
    assert all(len(colour) == 3 and all(value in range(256) for value in colour) for colour in found.palette)


@pytest.mark.parametrize(
    ("name", "number", "expected", "colour"),
    [
        ("cityscapes", 0, "road", (128, 64, 128)),
        ("cityscapes", 18, "bicycle", (119, 11, 32)),
        ("cityscapes_ids", 7, "road", (128, 64, 128)),
        ("cityscapes_ids", 29, "caravan", (0, 0, 90)),
        ("coco_panoptic", 0, "person", (220, 20, 60)),
        ("coco_panoptic", 7, "truck", (0, 0, 70)),
        ("coco_panoptic", 79, "toothbrush", (191, 162, 208)),
        ("coco_panoptic", 80, "banner", (255, 255, 128)),
        ("coco_panoptic", 100, "road", (128, 64, 128)),
        ("coco_panoptic", 116, "tree-merged", (107, 142, 35)),
        ("coco_panoptic", 119, "sky-other-merged", (70, 130, 180)),
        ("coco_panoptic", 132, "rug-merged", (250, 141, 255)),
        ("coco_stuff", 80, "banner", (0, 192, 0)),
        ("coco_stuff", 170, "wood", (64, 64, 0)),
        ("ade20k", 2, "sky", (6, 230, 230)),
        ("ade20k", 149, "flag", (92, 0, 255)),
        ("foreground", 1, "foreground", (255, 255, 255)),
    ],
)
def test_known_ids_have_their_names_and_colours(
    name: str, number: int, expected: str, colour: tuple[int, int, int]
) -> None:
    found = label_set(name)
    assert (found.classes[number], found.palette[number]) == (expected, colour)


def test_the_scored_cityscapes_ids_are_the_train_ids_in_order() -> None:
    ids, train = label_set("cityscapes_ids"), label_set("cityscapes")
    scored = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    assert tuple(ids.classes[i] for i in scored) == train.classes
    assert tuple(ids.palette[i] for i in scored) == train.palette


def test_both_coco_sets_begin_with_the_same_80_thing_classes() -> None:
    assert label_set("coco_panoptic").classes[:80] == label_set("coco_stuff").classes[:80]


def test_the_camvid_set_equals_the_classes_of_the_camvid_dataset() -> None:
    dataset = yaml.safe_load((CONF / "dataset" / "camvid.yaml").read_text())
    assert list(label_set("camvid").classes) == dataset["classes"]
    assert [list(colour) for colour in label_set("camvid").palette] == dataset["palette"]


@pytest.mark.parametrize(
    ("name", "file"),
    [("cityscapes", "cityscapes"), ("ade20k", "ade"), ("coco_stuff", "coco_stuff"), ("bdd100k", "bdd100k")],
)
def test_sets_equal_those_of_mmsegmentation(name: str, file: str) -> None:
    spec = PathFinder.find_spec("mmseg")  # its import takes seconds
    if spec is None or not spec.submodule_search_locations:
        pytest.skip(reason("mmseg"))
    tree = ast.parse((Path(spec.submodule_search_locations[0]) / "datasets" / f"{file}.py").read_text())
    (meta,) = (
        {keyword.arg: ast.literal_eval(keyword.value) for keyword in node.value.keywords}
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call)
        if [ast.unparse(target) for target in node.targets] == ["METAINFO"]
    )
    found = label_set(name)
    assert list(found.classes) == [label.strip() for label in meta["classes"]]  # mmsegmentation has "bed " for ADE20K
    assert [list(colour) for colour in found.palette] == meta["palette"]


def test_the_error_about_an_unknown_set_suggests_the_nearest_name() -> None:
    with pytest.raises(ValueError, match=r"no label set cityscape; did you mean cityscapes\?"):
        label_set("cityscape")
