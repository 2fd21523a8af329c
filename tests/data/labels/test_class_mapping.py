"""Mapping of a teacher's classes to the dataset's: by name, by table, by hand; ignored classes are reported."""

import subprocess
import sys

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import CONF

import odkd.evaluation.metrics
from odkd.data.labels.class_tables import TABLES
from odkd.data.labels.mapped_labels import MappedLabels, count_unmapped, map_probabilities, unmapped_warning
from odkd.data.labels.mapping import IGNORE, ClassTable, class_table
from odkd.data.labels.sets import label_set

SYNTHETIC = yaml.safe_load((CONF / "dataset" / "synthetic.yaml").read_text())["classes"]
CITYSCAPES = label_set("cityscapes").classes
NAMES = ["road", "Traffic Light", "tree-merged", "sky-other-merged", "car", "bus", "wall_brick", "person"]
OURS = ["sky", "traffic_light", "tree", "Road", "vehicle"]


def named(table: ClassTable) -> dict[str, str | None]:
    """Return {teacher class: dataset class or None} of a table."""
    return {
        name: None if new == IGNORE else table.dataset_classes[new]
        for name, new in zip(table.teacher_classes, table.ids, strict=False)
    }


def test_names_match_in_any_spelling_and_without_the_endings_of_coco() -> None:
    table = class_table(NAMES, OURS, None, allow_missing=True)
    expected = {"road": "Road", "Traffic Light": "traffic_light", "tree-merged": "tree", "sky-other-merged": "sky"}
    assert named(table) == dict.fromkeys(NAMES) | expected
    assert (table.ids[len(NAMES) :] == IGNORE).all()
    assert table.ids.dtype == np.uint8
    assert len(table.ids) == 256


def test_an_ending_is_dropped_only_if_the_match_is_then_unique() -> None:
    both = class_table(["wall-other", "wall-merged", "sky"], ["wall", "sky"], None, allow_missing=True)
    assert named(both) == {"wall-other": None, "wall-merged": None, "sky": "sky"}
    exact = class_table(["table", "table-merged"], ["table"], None, allow_missing=False)
    assert named(exact) == {"table": "table", "table-merged": None}
    two_of_ours = class_table(["sky", "door"], ["door-stuff", "door-other", "sky"], None, allow_missing=True)
    assert named(two_of_ours) == {"sky": "sky", "door": None}


def test_entries_have_precedence_over_names_and_the_rest_comes_last() -> None:
    mapping = {"car": "vehicle", "road": None, "sky": ["wall_brick", "sky-other-merged"], "*": "tree"}
    assert named(class_table(NAMES, OURS, mapping, allow_missing=True)) == {
        "road": None,
        "Traffic Light": "traffic_light",
        "tree-merged": "tree",
        "sky-other-merged": "sky",
        "car": "vehicle",
        "bus": "tree",
        "wall_brick": "sky",
        "person": "tree",
    }
    nothing_for_the_rest = mapping | {"*": None}
    assert named(class_table(NAMES, OURS, nothing_for_the_rest, allow_missing=True))["bus"] is None


def test_an_exact_name_has_precedence_over_other_spellings() -> None:
    table = class_table(["bus", "Bus", "car"], ["bus", "car"], {"Bus": None}, allow_missing=False)
    assert named(table) == {"bus": "bus", "Bus": None, "car": "car"}


def test_the_arthus_mapping_makes_a_list_of_classes_foreground_and_the_rest_background() -> None:
    coco, foreground = label_set("coco_panoptic").classes, label_set("foreground").classes
    mapping = {"foreground": ["car", "motorcycle", "bus", "truck"], "*": "background"}
    table = class_table(coco, foreground, mapping, allow_missing=False)
    assert np.flatnonzero(table.ids == 1).tolist() == [2, 3, 5, 7]  # COCO's categories 3, 4, 6, 8
    assert int((table.ids == 0).sum()) == 129


KNOWN = {
    "cityscapes_to_camvid": (CITYSCAPES, label_set("camvid").classes, []),
    "cityscapes_ids_to_cityscapes": (label_set("cityscapes_ids").classes, CITYSCAPES, []),
    "cityscapes_to_synthetic": (CITYSCAPES, SYNTHETIC, ["lane marking"]),
    "coco_panoptic_to_cityscapes": (label_set("coco_panoptic").classes, CITYSCAPES, ["pole", "rider"]),
    "coco_stuff_to_cityscapes": (label_set("coco_stuff").classes, CITYSCAPES, ["pole", "rider"]),
    "ade20k_to_cityscapes": (label_set("ade20k").classes, CITYSCAPES, ["rider", "train"]),
    "camvid_to_cityscapes": (
        label_set("camvid").classes,
        CITYSCAPES,
        ["wall", "traffic light", "terrain", "truck", "bus", "train", "motorcycle", "bicycle"],
    ),
}


@pytest.mark.parametrize("name", TABLES)
def test_a_built_in_table_lacks_only_its_known_gaps_and_agrees_with_names(name: str) -> None:
    teacher, dataset, missing = KNOWN[name]
    table = class_table(teacher, dataset, name, allow_missing=True)
    assert [new for i, new in enumerate(dataset) if not table.sources(i)] == missing
    by_name = class_table(teacher, dataset, None, allow_missing=True)
    for kind, new in named(by_name).items():  # a table never maps a class to another name if its own exists
        assert new is None or named(table)[kind] == new, kind
    if missing:
        with pytest.raises(ValueError, match=rf"becomes {', '.join(missing)} of the dataset.*allow_missing"):
            class_table(teacher, dataset, name, allow_missing=False)


def test_the_cityscapes_ids_table_gives_the_official_train_ids() -> None:
    table = class_table(*KNOWN["cityscapes_ids_to_cityscapes"][:2], "cityscapes_ids_to_cityscapes", allow_missing=False)
    void = [255] * 7
    official = [*void, 0, 1, 255, 255, 2, 3, 4, 255, 255, 255, 5, 255, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
    assert table.ids[:34].tolist() == [*official, 255, 255, 16, 17, 18]


def test_bdd100k_needs_no_table() -> None:
    assert class_table(label_set("bdd100k").classes, CITYSCAPES, None, allow_missing=False).is_identity


@pytest.mark.parametrize(
    ("mapping", "allow_missing", "message"),
    [
        ("cityscape_to_camvid", True, r"no such table; did you mean cityscapes_to_camvid\?"),
        ("cityscapes_to_camvid", True, r"table cityscapes_to_camvid names sky.*no class of the dataset"),
        ({"roads": "road"}, True, r"names roads.*no class of the teacher; did you mean road\?"),
        ({"road": "rood"}, True, r"names rood.*no class of the dataset; did you mean road\?"),
        ({"car": ["buss"]}, True, r"names buss.*no class of the teacher; did you mean bus\?"),
        ({"*": "backgrund"}, True, r"names backgrund.*no class of the dataset"),
        ({"*": ["car"]}, True, r'"\*": \[\'car\'\]'),
        ({"bus": 3}, True, r"'bus': 3; expected"),
        ({3: "car"}, True, r"3: 'car'; expected"),
        ({"bus": "car", "road": ["bus"]}, True, r"maps the teacher's class bus twice"),
        (["road"], True, r"expected null, the name of a table"),
        (None, False, r"becomes tree of the dataset; set 'teacher\.classes=.*allow_missing=true"),
        ({"road": None, "car": None}, True, r"none of the teacher's classes \(road, car, bus\)"),
    ],
)
def test_an_invalid_mapping_is_refused(mapping: object, allow_missing: bool, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        class_table(["road", "car", "bus"], ["road", "car", "tree"], mapping, allow_missing=allow_missing)  # type: ignore[arg-type]


def test_the_error_suggests_a_built_in_table_that_fits_better_than_names() -> None:
    with pytest.raises(ValueError, match=r"becomes pavement, tree, sign.*set teacher\.classes=cityscapes_to_camvid"):
        class_table(CITYSCAPES, label_set("camvid").classes, None, allow_missing=False)
    with pytest.raises(ValueError, match=r"becomes lane marking of the dataset; set 'teacher\.classes=\{TEACHER CLASS"):
        class_table(CITYSCAPES, SYNTHETIC, "cityscapes_to_synthetic", allow_missing=False)


def test_too_many_classes_and_names_that_differ_only_in_spelling_are_refused() -> None:
    with pytest.raises(ValueError, match="256 classes; expected 1 to 255"):
        class_table([str(i) for i in range(256)], ["1"], None, allow_missing=True)
    with pytest.raises(ValueError, match="names trafficlight twice"):
        class_table(["car"], ["traffic light", "Traffic_Light", "car"], None, allow_missing=True)
    most = [f"class {i}" for i in range(255)]
    assert class_table(most, most, None, allow_missing=False).is_identity


class Maps:
    """Label maps in memory."""

    def __init__(self, maps_NHW: np.ndarray) -> None:
        self.maps_NHW = maps_NHW

    def read(self, position: int) -> np.ndarray:
        found: np.ndarray = self.maps_NHW[position]
        return found


targets = st.one_of(st.none(), st.sampled_from(OURS))
mappings = st.dictionaries(st.sampled_from([*NAMES, "*"]), targets)


@settings(deadline=None)
@given(mapping=mappings, seed=st.integers(0, 2**32 - 1))
def test_mapped_labels_equal_those_of_a_slow_implementation(mapping: dict[str, str | None], seed: int) -> None:
    by_name = {"road": "Road", "Traffic Light": "traffic_light", "tree-merged": "tree", "sky-other-merged": "sky"}
    expected = {name: mapping.get(name, by_name.get(name, mapping.get("*"))) for name in NAMES}
    if not any(expected.values()):
        with pytest.raises(ValueError, match="none of the teacher's classes"):
            class_table(NAMES, OURS, mapping, allow_missing=True)
        return
    table = class_table(NAMES, OURS, mapping, allow_missing=True)
    label_HW = np.random.default_rng(seed).choice([*range(len(NAMES)), 255], (5, 7)).astype(np.uint8)
    before_HW = label_HW.copy()
    mapped_HW = MappedLabels(Maps(label_HW[None]), table).read(0)
    assert mapped_HW.dtype == np.uint8
    np.testing.assert_array_equal(label_HW, before_HW)
    for old, new in zip(label_HW.flat, mapped_HW.flat, strict=True):
        goal = None if old == 255 else expected[NAMES[old]]
        assert new == (255 if goal is None else OURS.index(goal))


def test_maps_are_not_copied_if_each_class_keeps_its_id() -> None:
    maps = np.arange(12, dtype=np.uint8).reshape(1, 3, 4) % 3
    fewer = class_table(["road", "sky", "car"], ["Road", "sky", "car", "tree"], None, allow_missing=True)
    assert fewer.is_identity
    assert np.shares_memory(MappedLabels(Maps(maps), fewer).read(0), maps)
    more = class_table(["road", "sky", "car"], ["road", "sky"], None, allow_missing=False)
    assert not more.is_identity
    assert MappedLabels(Maps(maps), more).read(0).max() == 255


@settings(deadline=None)
@given(seed=st.integers(0, 2**32 - 1), num_kept=st.integers(1, 4))
def test_mapped_probabilities_equal_those_of_a_slow_implementation(seed: int, num_kept: int) -> None:
    table = class_table(NAMES, OURS, {"car": "vehicle", "bus": "vehicle"}, allow_missing=True)
    generator = np.random.default_rng(seed)
    ids_KHW = np.stack([generator.permutation(len(NAMES))[:num_kept] for _ in range(6)], -1).reshape(num_kept, 2, 3)
    ids_KHW = np.where(generator.random(ids_KHW.shape) < 0.1, 255, ids_KHW).astype(np.uint8)
    shares_KHW = generator.dirichlet(np.ones(num_kept), 6).T.reshape(num_kept, 2, 3).astype(np.float16)
    mapped_CHW = map_probabilities(ids_KHW, shares_KHW, table)
    assert mapped_CHW.dtype == np.float32
    assert mapped_CHW.shape == (len(OURS), 2, 3)
    for row, column in np.ndindex(2, 3):
        mass = dict.fromkeys(range(len(OURS)), 0.0)
        for old, share in zip(ids_KHW[:, row, column], shares_KHW[:, row, column], strict=True):
            goal = None if old == 255 else named(table)[NAMES[old]]
            if goal is not None:
                mass[OURS.index(goal)] += float(share)
        total = sum(mass.values())
        expected = [part / total if total else 0.0 for part in mass.values()]
        np.testing.assert_allclose(mapped_CHW[:, row, column], expected, atol=1e-6)


def test_ignored_pixels_are_counted_by_class_and_reported_in_one_warning() -> None:
    table = class_table(["road", "sky", "bridge"], ["road"], None, allow_missing=False)
    histogram = np.zeros(256, np.int64)
    histogram[[0, 1, 2, 255]] = [70, 10, 20, 1000]
    assert list(count_unmapped(histogram, table).items()) == [("bridge", 20), ("sky", 10)]
    warning = unmapped_warning(histogram, table)
    assert warning is not None
    assert "bridge (20 pixels, 20 %), sky (10 pixels, 10 %)" in warning
    histogram[[1, 2]] = 0
    assert unmapped_warning(histogram, table) is None


def test_the_description_names_sources_gaps_and_ignored_classes() -> None:
    table = class_table(CITYSCAPES, SYNTHETIC, "cityscapes_to_synthetic", allow_missing=True)
    lines = table.describe().splitlines()
    assert lines[1] == "lane marking <- nothing"
    assert "car <- car, truck, bus" in lines
    assert lines[-1] == "ignored: train, motorcycle, bicycle"


def test_mapping_is_imported_without_torch() -> None:
    assert IGNORE == odkd.evaluation.metrics.IGNORE
    code = "import sys, odkd.data.labels.mapped_labels, odkd.data.labels.sets; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
