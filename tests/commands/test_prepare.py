"""odkd-prepare: datasets that odkd reads, written completely or not at all."""

import importlib.metadata
import random
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image
from video_files import write_video

from odkd.commands.prepare import main
from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.data.prepare.bdd100k_cityscapes import train_ids
from odkd.data.video.capture import Capture, capture
from odkd.data.video.encode import VideoWriter

COMMAND = [sys.executable, "-c", "from odkd.commands.prepare import main; main()"]


@pytest.fixture(autouse=True)
def _keep_the_signal_handler() -> Iterator[None]:
    previous = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, previous)


def count_frames(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


def command_of(text: str) -> list[str]:
    """Return the arguments of the odkd command that a script printed."""
    return shlex.split(text[text.index("odkd ") :].replace("\\\n", " "), comments=True)[1:]


# --- alternate


def test_alternate_links_the_videos_in_order_and_prints_a_command_that_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    town = write_video(tmp_path / "z downtown.mp4", num_frames=130)
    road = write_video(tmp_path / "highway.mp4", num_frames=100)
    timing = ["--periods", "2", "--sequence-minutes", "0.02", "--sample-seconds", "0.2", "--skip-minutes", "0.01", "0"]
    main(["alternate", str(town), str(road), "--to", str(tmp_path / "made"), *timing])
    made = tmp_path / "made" / "videos"
    assert sorted(path.name for path in made.iterdir()) == ["1-z_downtown.mp4", "2-highway.mp4"]
    assert (made / "1-z_downtown.mp4").samefile(town)
    assert not list(tmp_path.glob("*.building"))

    arguments = command_of(capsys.readouterr().out)
    size = ["dataset.size=[64,96]", f"paths.cache={tmp_path}", "window.learn=4", "window.test=4"]
    parts = Parts(compose_config([*arguments, *size]))
    assert parts.stream_parts.sequence_positions == 6  # 1.2 seconds, one in 0.2
    assert parts.stream.frame_of[:7].tolist() == [15, 20, 25, 30, 35, 40, 0]  # 0.6 seconds skipped
    assert [parts.stream.domain_of(segment[0]) for segment in parts.stream.segments] == ["downtown", "highway"] * 2


def test_alternate_prints_all_settings_that_other_videos_need(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    videos = [str(write_video(tmp_path / f"{name}.mp4", num_frames=60)) for name in ("rain", "05", "snow")]
    timing = ["--periods", "2", "--sequence-minutes", "0.01", "--sample-seconds", "0.2"]
    timing += ["--skip-minutes", "0.01", "0", "0"]
    main(["alternate", *videos, "--to", str(tmp_path / "made"), "--copy", *timing])
    assert not (tmp_path / "made/videos/1-rain.mp4").samefile(videos[0])
    arguments = command_of(capsys.readouterr().out)
    parts = Parts(
        compose_config(
            [*arguments, "dataset.size=[64,96]", f"paths.cache={tmp_path}", "window.test=3", "window.learn=3"]
        )
    )
    assert [parts.stream.domain_of(segment[0]) for segment in parts.stream.segments] == ["rain", "05", "snow"] * 2
    assert parts.stream.frame_of[0] == 15


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["a.mp4"], "got 1 video; expected two or more"),
        (["a.mp4", "none.mp4"], "none.mp4: no such file"),
        (["a.mp4", "b.mp4"], "a.mp4 has 0.0 minutes; 4 stretches of 20 minutes after 0.5 skipped minutes need 80.5"),
        (["a.mp4", "b.mp4", "--skip-minutes", "1"], "--skip-minutes has 1 numbers for 2 videos"),
        (["a.mp4", "b.mp4", "--sample-seconds", "inf"], "--sample-seconds must be above 0, and all times finite"),
        (["a.mp4", "b.mp4", "--to", "."], ". already exists"),
    ],
)
def test_alternate_answers_a_mistake_with_one_message(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in "ab":
        write_video(tmp_path / f"{name}.mp4", num_frames=10)
    with pytest.raises(SystemExit):
        main(["alternate", "--to", "made", *arguments])
    assert message in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


# --- bdd100k-cityscapes

NUM = 12


def make_sources(root: Path, *, height: int = 36, width: int = 64) -> None:
    """Write tiny images and labels that are recognized by their grey value and their class id."""
    for number in range(NUM):
        part = "train" if number < 8 else "val"
        bdd, city = f"{part}/{number:03d}", f"{part}/ulm/ulm_{number:03d}"
        for path, value in (
            (f"bdd/images/{bdd}.jpg", 10 * number),
            (f"city/leftImg8bit/{city}_leftImg8bit.png", 10 * number + 5),
        ):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (width, height), (value,) * 3).save(root / path)
        labels = np.full((height, width), number, np.uint8)
        labels[: height // 2] = 255
        for path, ids in (
            (f"bdd/masks/{bdd}.png", labels),
            (f"city/gtFine/{city}_gtFine_labelIds.png", np.where(labels == 255, 4, 7).astype(np.uint8)),
        ):
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(ids).save(root / path)
    for path in ("bdd/images/test/000.jpg", "city/leftImg8bit/test/ulm/ulm_0_leftImg8bit.png"):
        (root / path).parent.mkdir(parents=True)
        Image.new("RGB", (8, 8)).save(root / path)


def mix(root: Path, *more: str) -> list[str]:
    return [
        "bdd100k-cityscapes",
        *("--bdd100k-images", f"{root}/bdd/images", "--bdd100k-labels", f"{root}/bdd/masks"),
        *("--cityscapes-images", f"{root}/city/leftImg8bit", "--cityscapes-labels", f"{root}/city/gtFine"),
        *("--to", f"{root}/made", "--images", "8", "--block", "4", "--size", "32", "18", *more),
    ]


def test_images_of_both_datasets_are_drawn_alternate_and_keep_their_labels(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_sources(tmp_path)
    main(mix(tmp_path))
    made = tmp_path / "made"
    stems = ["00_bdd100k", "01_cityscapes", "02_bdd100k", "03_cityscapes"]
    assert sorted(path.stem for path in (made / "videos").iterdir()) == stems
    assert sorted(path.name for path in made.iterdir()) == ["chosen.txt", "groundtruth", "videos"]
    draw = random.Random(42)
    bdd, city = draw.sample(range(NUM), 8), draw.sample(range(NUM), 8)
    lines = (made / "chosen.txt").read_text().splitlines()
    assert [int(line.split(".jpg")[0][-3:]) for line in lines[:4] + lines[8:12]] == bdd
    assert [line.split()[0] for line in lines] == [stem for stem in stems for _ in range(4)]

    arguments = command_of(capsys.readouterr().out)
    settings = ["dataset.size=[32,32]", f"paths.cache={tmp_path}", "window.learn=4", "window.test=4", "teacher=oracle"]
    parts = Parts(compose_config([*arguments, *settings]))
    assert (len(parts.stream), parts.stream_parts.sequence_positions) == (16, 4)
    assert [parts.stream.domain_of(p) for p in range(0, 16, 4)] == ["bdd100k", "cityscapes"] * 2
    assert np.diff(parts.stream.seconds).tolist() == [1.0] * 15
    assert parts.groundtruth is not None
    values = (
        [10 * n for n in bdd[:4]]
        + [10 * n + 5 for n in city[:4]]
        + [10 * n for n in bdd[4:]]
        + [10 * n + 5 for n in city[4:]]
    )
    ids = [*bdd[:4], *[0] * 4, *bdd[4:], *[0] * 4]  # label id 7 is road, train id 0
    for position in range(16):
        frame = parts.frames.read([position])[0]
        assert abs(float(frame.mean()) - values[position]) < 4  # RGB to video and back
        labels_HW = parts.groundtruth.read(position)
        assert labels_HW.shape == (18, 32)
        assert np.all(labels_HW[:9] == 255)
        assert np.all(labels_HW[9:] == ids[position])
    with pytest.raises(SystemExit):
        main(mix(tmp_path))
    assert "already exists; choose another folder, or delete it" in capsys.readouterr().err


def test_label_ids_become_train_ids_as_published(tmp_path: Path) -> None:
    train_id = {7: 0, 8: 1, 11: 2, 12: 3, 13: 4, 17: 5, 19: 6, 20: 7, 21: 8, 22: 9, 23: 10, 24: 11, 25: 12, 26: 13}
    train_id |= {27: 14, 28: 15, 31: 16, 32: 17, 33: 18}
    path = tmp_path / "a_gtFine_labelIds.png"
    Image.fromarray(np.arange(34, dtype=np.uint8)[None]).save(path)
    assert train_ids(path).tolist() == [[train_id.get(label_id, 255) for label_id in range(34)]]
    path = tmp_path / "a_gtFine_labelTrainIds.png"
    Image.fromarray(np.array([[0, 18, 255]], np.uint8)).save(path)
    assert train_ids(path).tolist() == [[0, 18, 255]]
    Image.fromarray(np.array([[19]], np.uint8)).save(path)
    with pytest.raises(ValueError, match="class ids up to 19; expected train ids below 19"):
        train_ids(path)
    Image.new("RGB", (2, 2)).save(path)
    with pytest.raises(ValueError, match="is a RGB image; expected one byte per pixel"):
        train_ids(path)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--images", "16"], "bdd100k: 12 images (*.jpg) below"),
        (["--images", "16"], "12 of them with labels (*.png or *_train_id.png, in the same subfolder)"),
        (["--images", "6"], "--images 6 is not a multiple of --block 4"),
        (["--cityscapes-labels", "nowhere"], "nowhere: no such folder"),
        (["--block", "0"], "must be at least 1"),
    ],
)
def test_wrong_folders_and_too_few_images_are_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    make_sources(tmp_path)
    with pytest.raises(SystemExit):
        main(mix(tmp_path, *more))
    assert message in capsys.readouterr().err
    assert not (tmp_path / "made").exists()


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.mark.slow
def test_a_killed_script_resumes_and_ends_with_the_same_bytes(tmp_path: Path) -> None:
    make_sources(tmp_path, height=720, width=1280)
    big = ["--size", "640", "360", "--images", "12", "--block", "2"]
    command = [*COMMAND, *mix(tmp_path, *big)]
    num_kills = 0
    for blocks in (1, 5):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
        videos = tmp_path / "made.building" / "videos"
        while process.poll() is None and len(list(videos.glob("*.mp4"))) < blocks:
            time.sleep(0.005)
        num_kills += process.poll() is None
        process.kill()
        process.communicate()
        assert not (tmp_path / "made").exists()
    assert num_kills == 2
    first = (videos / "00_bdd100k.mp4").stat().st_mtime_ns
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    killed = content(tmp_path / "made")
    assert (tmp_path / "made" / "videos" / "00_bdd100k.mp4").stat().st_mtime_ns == first
    subprocess.run([*command, "--to", str(tmp_path / "other")], check=True, stdout=subprocess.DEVNULL)
    assert content(tmp_path / "other") == killed
    assert not list(tmp_path.glob("*.building"))


def test_files_left_by_a_killed_run_with_other_settings_are_removed(tmp_path: Path) -> None:
    make_sources(tmp_path)
    left = tmp_path / "made.building" / "videos" / "00_bdd100k.mp4"
    left.parent.mkdir(parents=True)
    left.write_bytes(b"of another seed")
    (tmp_path / "made.building" / "lock").touch()
    (tmp_path / "made.building" / "settings.json").write_text("{}")
    main(mix(tmp_path))
    assert count_frames(tmp_path / "made" / "videos" / left.name) == 4


def test_a_folder_of_something_else_is_neither_replaced_nor_filled(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make_sources(tmp_path)
    for name in ("made", "made.building"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "thesis.tex").write_text("years of work")
        with pytest.raises(SystemExit) as exit_code:
            main(mix(tmp_path))
        assert exit_code.value.code == 2
        assert f"{name} " in capsys.readouterr().err
        assert content(tmp_path / name) == {"thesis.tex": b"years of work"}
        (tmp_path / name).rename(tmp_path / f"kept_{name}")


def test_the_command_shows_its_version_and_what_each_subcommand_is_for(capsys: pytest.CaptureFixture[str]) -> None:
    for option, expected in (("--version", f"odkd {importlib.metadata.version('odkd')}\n"), ("--help", "camvid")):
        with pytest.raises(SystemExit) as exit_code:
            main([option])
        assert exit_code.value.code == 0
        assert expected in capsys.readouterr().out


def test_a_disk_that_cannot_be_written_to_is_one_message(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make_sources(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(SystemExit) as exit_code:
        main([*mix(tmp_path), "--to", str(tmp_path / "file" / "made")])
    assert "odkd-prepare bdd100k-cityscapes: " in f"{exit_code.value.code}{capsys.readouterr().err}"


# --- capture


def test_a_local_file_is_recorded_at_one_picture_a_second_in_segments(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = write_video(tmp_path / "source.mp4", num_frames=25 * 10 + 1)
    main(["capture", str(source), "--to", str(tmp_path / "made"), "--segment-minutes", "0.075"])
    files = sorted((tmp_path / "made" / "videos").iterdir())
    assert [count_frames(path) for path in files] == [4, 4, 3]  # 0..10 seconds; 4.5 rounds to the even 4
    assert [path.name.split("_")[1] for path in files] == ["0001", "0002", "0003"]
    with av.open(str(files[1])) as container:
        decoded = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    for second, image in enumerate(decoded, 4):
        bits = [int(image[:8, 8 * bit : 8 * bit + 8].mean() > 127) for bit in range(8)]
        assert sum(value << bit for bit, value in enumerate(bits)) == 25 * second
    arguments = command_of(capsys.readouterr().out)
    parts = Parts(
        compose_config(
            [*arguments, "dataset.size=[64,96]", f"paths.cache={tmp_path}", "stage=label", "dataset.stride=1"]
        )
    )
    assert len(parts.stream) == 11
    assert len(parts.stream.segments) == 1
    main(["capture", str(source), "--to", str(tmp_path / "made"), "--minutes", "0.05"])
    assert len(list((tmp_path / "made" / "videos").glob("live_0004_*.mp4"))) == 1  # a second recording is appended


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Callable[[list[int | None]], str]]:
    """Serve a transport stream: connection i gets cuts[i] bytes, then breaks off.

    None sends everything, a negative number hangs instead of breaking off, 0 answers with the status 503.
    """
    source = write_video(tmp_path / "source.ts", num_frames=25 * 12, codec="libx264", group=25).read_bytes()
    started: list[ThreadingHTTPServer] = []

    def serve(cuts: list[int | None]) -> str:
        remaining = iter(cuts)

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                cut = next(remaining, None)
                if cut == 0:
                    self.send_error(503)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "video/mp2t")
                self.send_header("Content-Length", str(len(source)))
                self.end_headers()
                self.wfile.write(source[: abs(cut or len(source))])
                self.wfile.flush()
                if cut is not None and cut < 0:
                    time.sleep(60)  # connected, and silent

            def log_message(self, *_: object) -> None:
                pass

        httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        httpd.daemon_threads, httpd.block_on_close = True, False
        threading.Thread(target=httpd.serve_forever, daemon=True).start()
        started.append(httpd)
        return f"http://127.0.0.1:{httpd.server_address[1]}/live.ts"

    yield serve
    for httpd in started:
        httpd.shutdown()
        httpd.server_close()


def test_a_broken_connection_is_opened_again_after_a_pause(
    tmp_path: Path, server: Callable[[list[int | None]], str]
) -> None:
    half = (tmp_path / "source.ts").stat().st_size // 2
    pauses: list[float] = []
    settings = Capture(server([half, 0, 0, None]), tmp_path / "videos", "camera", minutes=0.25, pause_seconds=7)
    files = capture(settings, sleep=pauses.append)
    counts = [count_frames(path) for path in files]
    assert pauses == [7, 7, 7]
    assert len(files) == 2
    assert 4 <= counts[0] <= 7
    assert sum(counts) == 15  # the second connection gives the rest
    assert not list((tmp_path / "videos").glob("*.part"))


def test_a_silent_connection_is_opened_again(tmp_path: Path, server: Callable[[list[int | None]], str]) -> None:
    half = (tmp_path / "source.ts").stat().st_size // 2
    settings = Capture(server([-half, None]), tmp_path / "videos", "camera", minutes=0.25, timeout_seconds=1)
    files = capture(settings, sleep=lambda _: None)
    assert sum(count_frames(path) for path in files) == 15
    assert len(files) == 2


def test_an_unreachable_server_is_given_up_and_the_recording_is_kept(
    tmp_path: Path, server: Callable[[list[int | None]], str]
) -> None:
    url = server([None, 0, 0, 0, 0, 0])
    with pytest.raises(
        ValueError, match=r"yielded no picture 3 times in a row \(.*5XX Server Error reply\); check the address"
    ):
        capture(Capture(url, tmp_path / "videos", "camera", retries=2), sleep=lambda _: None)
    (file,) = (tmp_path / "videos").iterdir()
    assert count_frames(file) == 12


def test_ctrl_c_completes_the_current_file(tmp_path: Path, server: Callable[[list[int | None]], str]) -> None:
    url = server([])
    command = [*COMMAND, "capture", url, "--to", str(tmp_path / "made"), "--pause-seconds", "600"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    videos = tmp_path / "made" / "videos"
    while process.poll() is None and not list(videos.glob("*.mp4")):
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)  # in the pause
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert "1 files in" in out

    def interrupt(_: float) -> None:
        raise KeyboardInterrupt

    source = tmp_path / "source.ts"
    assert len(capture(Capture(url, tmp_path / "again", "camera"), sleep=interrupt)) == 1
    with pytest.MonkeyPatch.context() as patch:
        write, written = VideoWriter.write, []

        def write_three(writer: object, image: np.ndarray) -> None:
            write(writer, image)
            written.append(image)
            if len(written) == 3:
                raise KeyboardInterrupt

        patch.setattr("odkd.data.video.capture.VideoWriter.write", write_three)
        (file,) = capture(Capture(str(source), tmp_path / "third", "camera"))
    assert count_frames(file) == 3
