"""odkd-prepare lvs: the predictions of Mask R-CNN that come with LVS become label maps for teacher=folder."""

import pickle
from pathlib import Path

import numpy as np
import pytest
from video_files import write_video

from odkd.commands.prepare import main
from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.data.prepare.lvs import class_groups, drawn, read_found

PERSON, BICYCLE, CAR, TRUCK = 1, 2, 3, 8  # Detectron's ids


def found(*objects: tuple[tuple[float, ...], int, float, np.ndarray]) -> tuple[np.ndarray, ...]:
    """Return boxes, classes, scores and masks of the objects of a frame."""
    boxes, classes, scores, masks = zip(*objects, strict=True)
    return np.array(boxes, np.float32), np.array(classes, np.int64), np.array(scores), np.array(masks, np.float32)


FULL, LEFT = np.ones((28, 28)), np.repeat([[1.0, 0.0]], 28, 0).repeat(14, 1)
FRAME = found(
    ((0.0, 0.0, 0.5, 1.0), PERSON, 0.9, FULL),
    ((0.0, 0.5, 1.0, 1.0), TRUCK, 0.9, LEFT),
    ((0.5, 0.0, 1.0, 0.5), CAR, 0.4, FULL),  # not certain enough
    ((0.5, 0.0, 1.0, 0.5), 20, 0.9, FULL),  # in no group
)
EXPECTED = np.zeros((64, 96), np.uint8)
EXPECTED[:32], EXPECTED[:, 48:72] = 1, 2


def make_lvs(folder: Path) -> Path:
    """Make a sequence with one part of four frames, of which frame 2 is not labelled."""
    write_video(folder / "driving1000.mp4", num_frames=4)
    empty = tuple(part[:0] for part in FRAME)
    frames = {0: FRAME, 1: empty, 3: FRAME}
    np.save(folder / "detectron_large_mask_rcnn_1_driving1000.npy", np.array(frames, dtype=object), allow_pickle=True)
    return folder


def test_a_sequence_becomes_a_stream_with_its_predictions_as_teacher(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    main(["lvs", str(make_lvs(tmp_path / "driving1")), str(tmp_path / "made")])
    words = capsys.readouterr().out.splitlines()[-1].replace("'", "").split()[1:]
    assert words[2] == "dataset.classes=[background,person,car,motorcycle]"
    monkeypatch.chdir(tmp_path)
    parts = Parts(compose_config([*words, "dataset.stride=1", "dataset.size=[64,96]", "stage=label", "device=cpu"]))
    parts.label_stream()
    maps = [parts.labels.read(position) for position in range(4)]
    assert np.array_equal(maps[0], EXPECTED)
    assert [np.unique(label_HW).tolist() for label_HW in maps[1:3]] == [[0], [255]]
    assert (tmp_path / "made" / "videos" / "driving1000.mp4").is_symlink()
    assert sorted(path.name for path in (tmp_path / "made").iterdir()) == ["maps", "videos"]


def test_of_several_groups_in_a_pixel_the_last_counts_and_boxes_are_cut_at_the_border() -> None:
    groups = class_groups(["car,truck", "person"])
    assert drawn(FRAME, (64, 96), groups)[0, 60] == 2
    outside = found(((-0.5, -0.5, 0.5, 0.5), PERSON, 0.5, FULL))
    expected = np.zeros((64, 96), np.uint8)
    expected[:32, :48] = 2
    assert np.array_equal(drawn(outside, (64, 96), groups), expected)


def test_mistakes_are_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_lvs(tmp_path / "driving1")

    def message(*words: str) -> str:
        with pytest.raises(SystemExit) as ending:
            main(["lvs", *words, str(tmp_path / "made")])
        assert ending.value.code == 2
        return capsys.readouterr().err

    assert "no thing of COCO is called cars; did you mean car?" in message(str(source), "--group", "cars")
    assert "car is in two groups" in message(str(source), "--group", "car", "--group", "bus,car")
    assert "has no videos; expected the folder of a sequence" in message(str(tmp_path))
    predictions = next(source.glob("*.npy"))
    predictions.write_bytes(predictions.read_bytes()[:200])
    assert "does not hold predictions of LVS" in message(str(source))
    predictions.unlink()
    assert "driving1000.npy is missing" in message(str(source))


class Evil:
    """An object that makes a file when it is unpickled."""

    def __reduce__(self) -> tuple[object, ...]:
        return open, ("made", "w")


class Pointers:
    def __reduce__(self) -> object:
        return (np.ndarray, ((), np.dtype("O"), b"\x41" * 8))


class Flagless:
    def __reduce__(self) -> object:
        return (np.zeros(1).__reduce_ex__(5)[0], (b"\x41" * 8, np.dtype("O"), (1,), "C"))


@pytest.mark.parametrize("crafted", [Pointers, Flagless])
def test_bytes_are_never_taken_for_objects(crafted: type, tmp_path: Path) -> None:
    with (tmp_path / "crafted.npy").open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        pickle.dump({0: crafted()}, file)
    with pytest.raises(ValueError, match="does not hold predictions"):
        read_found(tmp_path / "crafted.npy")


def test_nothing_in_a_file_is_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    np.save("evil.npy", np.array({0: Evil()}, dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match=r"io\.open, which would run code"):
        read_found(Path("evil.npy"))
    assert not Path("made").exists()


def test_a_box_far_outside_a_frame_takes_no_memory() -> None:
    for box in ((0.0, 0.0, 400.0, 400.0), (0.0, -1e9, 1.0, 1.0), (0.0, 0.0, float("nan"), 1.0)):
        with pytest.raises(ValueError, match="does not lie in its frame"):
            drawn(found((box, PERSON, 0.9, FULL)), (64, 96), class_groups(["person"]))


def test_what_is_in_many_places_of_a_file_is_read_once(tmp_path: Path) -> None:
    nested: object = (1,)
    for _ in range(100):
        nested = (nested, nested)
    np.save(tmp_path / "deep.npy", np.array({0: (nested, 1, 2, 3)}, dtype=object), allow_pickle=True)
    assert list(read_found(tmp_path / "deep.npy")) == [0]
