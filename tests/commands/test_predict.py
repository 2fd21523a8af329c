"""odkd-predict: what it writes is what the student says of each frame, with times and sound of the source."""

import json
import logging
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from extras import need
from PIL import Image
from video_files import decode_naively, picture, write_video

import odkd as package
from odkd.commands.export import main as export
from odkd.commands.predict import main
from odkd.commands.predict.outputs import Painter
from odkd.config.segmenter import Segmenter
from odkd.data.video.decode import decode_frames
from odkd.data.video.image_index import read_picture
from odkd.data.video.index import index_video

SMALL_PIECES = "from odkd.commands.predict import main, video; video.PIECE_FRAMES = 40; main()"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(logging, "basicConfig", lambda **_: None)  # it would last beyond the test


def maps(folder: Path) -> np.ndarray:
    return np.stack([np.asarray(Image.open(path)) for path in sorted(folder.glob("*.png"))])


def predict(*arguments: str | Path) -> None:
    main([str(argument) for argument in arguments])


def pts_of(path: Path) -> list[float]:
    with av.open(str(path)) as container:
        return [float(frame.time) for frame in container.decode(video=0) if frame.time is not None]


def test_a_video_gets_the_classes_of_the_student_at_its_own_size_and_times(run: Path) -> None:
    times = [3, 4, 5, 8, 9, 12, 13]
    source = write_video(Path("drive.mp4"), num_frames=7, height=50, width=76, times=times)
    predict(run, source, "--to", "out", "--write", "overlay", "ids", "palette")
    student, predicted_NHW = package.load(run), maps(Path("out/ids/drive"))
    small = [image for _, image in decode_frames(index_video(source, Path("cache")), np.arange(7), size=student.size)]
    np.testing.assert_array_equal(predicted_NHW, student.segment(np.stack(small), (50, 76)))  # type: ignore[arg-type]
    assert pts_of(Path("out/drive.mp4")) == pytest.approx([(time - 3) / 25 for time in times], abs=1e-3)
    with av.open("out/drive.mp4") as container:
        shown_HWC = next(container.decode(video=0)).to_ndarray(format="rgb24")
    first_HWC = decode_naively(source)[min(decode_naively(source))]
    painted_HWC = Painter(student.palette).paint(first_HWC, predicted_NHW[0])
    assert np.abs(shown_HWC.astype(int) - painted_HWC).mean() < 12  # as much as the codec loses
    coloured = Image.open("out/palette/drive/000000.png").convert("RGB")
    np.testing.assert_array_equal(np.asarray(coloured), np.asarray(student.palette, np.uint8)[predicted_NHW[0]])


def test_a_turned_video_is_predicted_upright(run: Path) -> None:
    source = write_video(Path("phone.mp4"), num_frames=3, rotation=90)
    predict(run, source, "--to", "out", "--write", "overlay", "ids")
    assert maps(Path("out/ids/phone")).shape == (3, 96, 64)
    with av.open("out/phone.mp4") as container:
        assert (container.streams.video[0].width, container.streams.video[0].height) == (64, 96)


def test_sound_is_kept(run: Path) -> None:
    with av.open("heard.mp4", "w") as container:
        video, sound = container.add_stream("libx264", rate=25), container.add_stream("aac", rate=44100, layout="mono")
        video.width, video.height, video.pix_fmt = 96, 64, "yuv420p"
        for number in range(25):
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture(number, 64, 96), format="rgb24")))
        tone = (np.sin(np.arange(44100) / 16) * 3000).astype(np.int16)
        for begin in range(0, len(tone), 1024):
            frame = av.AudioFrame.from_ndarray(tone[None, begin : begin + 1024], format="s16", layout="mono")
            frame.sample_rate, frame.pts = 44100, begin
            container.mux(sound.encode(frame))
        for stream in (video, sound):
            container.mux(stream.encode(None))

    def heard(path: str) -> list[tuple[float, bytes]]:
        with av.open(path) as container:
            packets = container.demux(audio=0)
            return [
                (float(p.pts * p.time_base), bytes(p)) for p in packets if p.pts is not None and p.size and p.pts >= 0
            ]

    predict(run, "heard.mp4", "--to", "out")
    assert [content for _, content in heard("out/heard.mp4")] == [content for _, content in heard("heard.mp4")]
    assert [now for now, _ in heard("out/heard.mp4")] == pytest.approx([now for now, _ in heard("heard.mp4")], abs=2e-3)


def test_pictures_of_any_size_and_of_a_pattern_are_predicted(run: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name, height, width in (("a/one.png", 40, 61), ("a/two.jpg", 64, 96), ("b/one.png", 33, 20)):
        Path(name).parent.mkdir(exist_ok=True)
        Image.fromarray(picture(1, height, width)).save(name)
    Path("a/torn.png").write_bytes(Path("a/one.png").read_bytes()[:50])
    predict(run, "?/*", "--to", "out", "--write", "overlay", "ids")
    assert maps(Path("out/ids/b")).shape == (1, 33, 20)
    with Image.open("out/a/two.png") as shown:
        assert shown.size == (96, 64)
    assert "left out: a/torn.png" in capfd.readouterr().err
    student = package.load(run)
    one_HWC, predicted_HW = (np.asarray(read_picture(Path(root, "a/one.png"))) for root in (".", "out/ids"))
    np.testing.assert_array_equal(predicted_HW[..., 0], student.segment(one_HWC))


@pytest.mark.slow
def test_predicted_ids_teach_a_student_and_are_scored_against_themselves(
    run: Path, odkd: Callable[..., Path], capsys: pytest.CaptureFixture[str]
) -> None:
    write_video(Path("videos/drive.mp4"), num_frames=40)
    predict(run, "videos/drive.mp4", "--to", "out", "--write", "ids")
    predict(run, "videos/drive.mp4", "--to", "again", "--write", "ids", "--truth", "out/ids")
    assert "40 scored frames: mIoU 1.0000, pixel accuracy 1.0000" in capsys.readouterr().out
    assert json.loads(Path("again/scores.json").read_text())["miou"] == 1
    words = ["dataset=videos", "dataset.root=.", "dataset.stride=1", "dataset.groundtruth=null"]
    student = package.load(run)
    words += [f"dataset.classes=[{','.join(student.classes)}]", "dataset.palette=null", "dataset.size=[64,96]"]
    taught = odkd(*words, "teacher=folder", "teacher.folder=out/ids", "stage=label", base=["tracking=none"])
    assert json.loads((taught / "summary.json").read_text())["num_labelled"] == 40


def test_the_same_command_does_nothing_twice_and_another_one_begins_anew(
    run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_video(Path("drive.mp4"), num_frames=5)
    predict(run, "drive.mp4", "--to", "out")
    asked: list[int] = []
    original = Segmenter.segment

    def count(student: Segmenter, images_NHWC: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
        asked.append(len(images_NHWC))
        return original(student, images_NHWC, size)

    monkeypatch.setattr(Segmenter, "segment", count)
    predict(run, "drive.mp4", "--to", "out")
    assert asked == []
    predict(run, "drive.mp4", "--to", "out", "--write", "overlay", "ids")
    assert sum(asked) == 5


def test_videos_whose_names_differ_in_a_slash_share_nothing(run: Path) -> None:
    for folder in ("videos/a", "videos/a-b"):
        Path(folder).mkdir(parents=True)
    content = write_video(Path("videos/a/b.mp4"), num_frames=2).read_bytes()
    Path("videos/a-b.mp4").write_bytes(content)
    Path("videos/pictures.mp4").write_bytes(content)
    Image.fromarray(picture(1, 40, 60)).save("videos/plan.png")
    for _ in range(2):
        for source in ("videos/*/b.mp4", "videos/*"):
            predict(run, source, "--to", "out", "--write", "ids")
    assert len(maps(Path("out/ids/a-b"))) == len(maps(Path("out/ids/a/b"))) == len(maps(Path("out/ids/pictures"))) == 2
    assert json.loads(Path("out/.pictures.predict/plan.json").read_text())["confusion"] is None


def test_a_stream_is_predicted_until_it_ends(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = write_video(Path("camera.ts"), num_frames=12)
    predict(run, source.resolve().as_uri(), "--to", "out")
    printed = capsys.readouterr().out
    assert "dropped" in printed
    num_done, num_dropped = int(printed.split(": ")[1].split()[0]), int(printed.split(", ")[1].split()[0])
    assert num_done + num_dropped == 12
    assert len(pts_of(Path("out/live.mp4"))) == num_done >= 1


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["nothing", "drive.mp4"], "nothing has no config.yaml; expected a run folder"),
        (["RUN", "nothing.mp4"], "nothing.mp4 names no video and no picture; expected a file"),
        (["RUN", "~nobody-here/x.mp4"], "a path that really begins with ~ is written ./~"),
        (["~nobody-here/run", "drive.mp4"], "a path that really begins with ~ is written ./~"),
        (["RUN", "empty"], "empty has no video and no picture"),
        (["RUN", "rtsp://127.0.0.1:9/x"], "rtsp://127.0.0.1:9/x cannot be opened"),
        (["RUN", "drive.mp4", "--truth", "nowhere"], "--truth nowhere: no such folder"),
        (["RUN", "drive.mp4", "--truth", "empty"], "--truth empty has no file of these names"),
        (["RUN", "drive.mp4", "teacher.x=1"], "teacher.x=1: settings are those of a teacher"),
        (["teacher=oracle", "drive.mp4"], "teacher=oracle does not look at pictures"),
        (["teacher=nobody", "drive.mp4"], "nobody"),
        (["RUN", "broken.mp4"], "broken.mp4"),
    ],
)
def test_a_mistake_is_one_line(run: Path, words: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_video(Path("drive.mp4"), num_frames=2)
    Path("broken.mp4").write_bytes(b"no video")
    Path("empty").mkdir()
    with pytest.raises(SystemExit) as ended:
        predict(*(str(run) if word == "RUN" else word for word in words), "--to", "out")
    printed = capsys.readouterr().err.strip().splitlines()
    assert ended.value.code in (1, 2)
    assert says in printed[-1]
    assert printed[-1].startswith("odkd-predict: ")


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_prediction_killed_anywhere_ends_with_the_file_of_an_undisturbed_one(run: Path) -> None:
    write_video(Path("drive.mp4"), num_frames=390, height=128, width=192)
    command = [sys.executable, "-c", SMALL_PIECES, str(run), "drive.mp4", "--write", "overlay", "ids", "--to"]
    began = time.monotonic()
    subprocess.run([*command, "undisturbed"], check=True)
    seconds = time.monotonic() - began
    for share in (0.3, 0.5, 0.6, 0.7, 0.8):
        process = subprocess.Popen([*command, "killed"])
        time.sleep(share * seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
    subprocess.run([*command, "killed"], check=True)
    assert Path("killed/drive.mp4").read_bytes() == Path("undisturbed/drive.mp4").read_bytes()
    np.testing.assert_array_equal(maps(Path("killed/ids/drive")), maps(Path("undisturbed/ids/drive")))
    assert not list(Path("killed").rglob("*.nut*"))


def test_an_exported_file_may_have_any_name(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("onnx")
    need("onnxscript")
    monkeypatch.setenv("WHERE", "elsewhere")
    folder = Path("a, [b]='c'")
    folder.mkdir()
    name = "net=${x} ${oc.env:WHERE}.onnx"
    with pytest.raises(SystemExit) as ended:
        export([str(run), "--to", "onnx", "--output", str(folder / name)])
    assert ended.value.code == 0
    predict(folder / name, write_video(Path("drive.mp4"), num_frames=2), "--to", name, "--write", "ids")
    assert len(maps(Path(name, "ids/drive"))) == 2
