"""odkd-prepare lvs: the predictions of Mask R-CNN that come with LVS become label maps for teacher=folder."""

import math
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from video_files import write_video

from odkd.commands.prepare import main
from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.data.prepare import lvs, lvs_file
from odkd.data.prepare.lvs import class_groups, drawn
from odkd.data.prepare.lvs_file import read_found

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


def saved(path: Path, frames: object) -> Path:
    np.save(path, np.array(frames, dtype=object), allow_pickle=True)
    return path


@pytest.mark.parametrize(
    "box", [(0.0, 0.0, 400.0, 400.0), (0.0, -1e9, 1.0, 1.0), (0.0, 0.0, float("nan"), 1.0)], ids=str
)
def test_a_box_far_outside_a_frame_is_refused(tmp_path: Path, box: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"a\.npy does not hold .* a box of frame 7 does not lie in it"):
        read_found(saved(tmp_path / "a.npy", {7: found((box, PERSON, 0.9, FULL))}))


def test_a_box_in_a_huge_frame_takes_no_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(lvs, "MOST_PIXELS", 1000)
    with pytest.raises(SystemExit):
        main(["lvs", str(make_lvs(tmp_path / "driving1")), str(tmp_path / "made")])
    told = capsys.readouterr().err
    assert "frame 0 of " in told
    assert "driving1000.mp4: a box has 96 x 32 pixels; expected at most 1000 in all" in told


ONE = (np.array([[0.0, 0.0, 1.0, 1.0]]), np.array([1]), np.array([0.9]), np.ones((1, 28, 28), np.float32))
NESTED: Any = (1,)
for _ in range(100):
    NESTED = (NESTED, NESTED)
ODD: dict[str, tuple[Any, ...]] = {  # what is wrong -> the parts of a frame
    "scores of frame 3 are not numbers": (*ONE[:2], ["x"], ONE[3]),
    "scores of frame 3 are no array": (*ONE[:2], "x", ONE[3]),
    "classes of frame 3 are not finite": (ONE[0], [math.inf], *ONE[2:]),
    "classes of frame 3 are not numbers": (ONE[0], [None], *ONE[2:]),
    "boxes of frame 3 are no array": (1, 2, 3, 4),
    "boxes of frame 3 are not numbers": (NESTED, *((1, 2),) * 3),
    "a box of frame 3 does not lie in it": (ONE[0][:, :3], *ONE[1:]),
    "a mask of frame 3 has another form": (*ONE[:3], np.ones((1, 4, 4, 3))),
    "a mask of frame 3 has another form than": (*ONE[:3], np.ones(1)),
    "a mask of frame 3 has another form than 28": (*ONE[:3], np.ones((1, 0, 0))),
    "a mask of frame 3 has another form than 28 x": (*ONE[:3], np.array([[["a"]]], object)),
    "a mask of frame 3 has another form than 28 x 28": (*ONE[:3], np.ones((1, 2, 2**20), bool)),
    "masks of frame 3 differ in number": (*ONE[:3], np.ones((2, 4, 4))),
}


@pytest.mark.parametrize("message", ODD)
def test_parts_of_another_form_are_one_message_that_names_the_file(tmp_path: Path, message: str) -> None:
    path = saved(tmp_path / "odd.npy", {3: ODD[message]})
    with pytest.raises(ValueError, match=rf"odd\.npy does not hold predictions of LVS .*{message}"):
        read_found(path)


def test_lists_of_arrays_and_of_numbers_are_read_too(tmp_path: Path) -> None:
    parts = (list(ONE[0]), [1], (np.float32(0.9),), [ONE[3][0]])
    read = read_found(saved(tmp_path / "lists.npy", {0: parts, "1": ONE, 2: ([], [], [], []), 5: ONE[:3]}))
    assert list(read) == [0, 1, 2]
    groups = class_groups(["person"])
    assert np.array_equal(drawn(read[0], (8, 8), groups), drawn(read[1], (8, 8), groups))
    assert drawn(read[0], (8, 8), groups).all()


SHARED = b"X\x20\x4e\x00\x00" + b"a" * 20_000 + b"\x940"  # a text, kept under number 0
NEW = b"cnumpy\ndtype\n(\x8c\x02u1tR\x940cnumpy\nndarray\n\x940"  # numbers 1 and 2
ARRAY = b"h\x02)R(K\x01(M%bth\x01\x89h\x00tb"
BOMBS = {  # steps of a pickle, few bytes that take many
    "dictionaries": b"(" + b"}" * 2000 + b"t",
    "lists": b"(" + b"]" * 2000 + b"t",
    "a number to keep a value under": b"Nr\xff\xff\xff\x7f",
    "a text that becomes many arrays": SHARED + NEW + b"(" + ARRAY % b"\x20\x4e" * 100 + b"t",
    "a text that is encoded many times": SHARED + b"c_codecs\nencode\n\x940(" + b"h\x01h\x00\x8c\x06latin1\x86R" * 100,
    "a list that becomes many arrays": b"](" + b"N" * 2000 + b"e\x940" + NEW + b"(" + ARRAY % b"\xd0\x07" * 100,
}


@pytest.mark.parametrize("bomb", BOMBS)
def test_a_small_file_takes_little_memory(bomb: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "bomb.npy"
    with path.open("wb") as file:
        np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
        file.write(b"\x80\x04" + BOMBS[bomb] + b".")
    monkeypatch.setattr(lvs_file, "SPARE", 2**19)
    with pytest.raises(ValueError, match=r"much more memory than its size tells|keeps a value under the number"):
        read_found(path)


def test_a_file_of_honest_predictions_takes_what_its_size_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frames = {frame: tuple(part.copy() for part in FRAME) for frame in range(100)}
    frames[100] = tuple(part[:0] for part in FRAME)
    expected = [part.tolist() for part in FRAME]
    monkeypatch.setattr(lvs_file, "SPARE", 100 * 25_000)  # 40,000 frames in the true one
    monkeypatch.setattr(lvs_file, "MOST_BYTES", 10**7)
    for protocol in range(6):
        with (tmp_path / "honest.npy").open("wb") as file:
            np.lib.format.write_array_header_1_0(file, {"descr": "|O", "fortran_order": False, "shape": ()})
            pickle.dump(frames, file, protocol=protocol)
        read = read_found(tmp_path / "honest.npy")
        assert [np.asarray(part).tolist() for part in read[99]] == expected, protocol
        assert [len(part) for part in read[100]] == [0] * 4, protocol
    monkeypatch.setattr(lvs_file, "MOST_BYTES", 10**5)
    with pytest.raises(ValueError, match="more than 100000 bytes"):
        read_found(tmp_path / "honest.npy")
