"""odkd-prepare cdnet: what moves in a sequence becomes its class."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from public_datasets import make_cdnet, save

from odkd.commands.prepare import main
from odkd.config.compose import compose_config
from odkd.config.parts import Parts


@pytest.mark.parametrize("zipped", [False, True])
def test_sequences_become_videos_with_the_class_of_what_moves(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], zipped: bool
) -> None:
    source, made = make_cdnet(tmp_path / "source"), tmp_path / "made"
    if zipped:
        source = Path(shutil.make_archive(str(tmp_path / "dataset2014"), "zip", source))
    main(["cdnet", str(source), str(made)])
    assert f"odkd experiment=cdnet_online dataset.root={made}" in capsys.readouterr().out
    assert sorted(path.name for path in (made / "videos").iterdir()) == ["01_highway.mp4", "02_pedestrians.mp4"]
    for video, width, moving in (("01_highway", 32, 2), ("02_pedestrians", 36, 1)):
        maps = [np.asarray(Image.open(made / "groundtruth" / video / f"{n:06d}.png")) for n in range(3)]
        assert [labels_HW.shape for labels_HW in maps] == [(24, width)] * 3
        assert np.all(maps[0] == 255)  # a frame that people did not label
        assert maps[1][:, 0].tolist() == [0] * 4 + [moving] * 4 + [0] * 4 + [255] * 12
        assert np.all(maps[1][:, 6:] == 0)


def test_the_prepared_folder_is_a_stream_of_two_cameras(tmp_path: Path) -> None:
    main(["cdnet", str(make_cdnet(tmp_path / "source")), str(tmp_path / "made")])
    settings = [f"dataset.root={tmp_path / 'made'}", f"paths.outputs={tmp_path}", "dataset.stride=1"]
    parts = Parts(compose_config(["dataset=cdnet", "window.learn=2", "window.test=2", *settings]))
    assert [parts.stream.domain_of(p) for p in (0, 3)] == ["highway", "pedestrians"]
    assert parts.groundtruth is not None
    assert [np.unique(parts.groundtruth.read(p)).tolist() for p in (0, 2, 5)] == [[255], [0, 2, 255], [0, 1, 255]]


def test_sequences_are_chosen_and_ordered_by_name(tmp_path: Path) -> None:
    source = make_cdnet(tmp_path / "source")
    main(["cdnet", str(source), str(tmp_path / "made"), "--sequence", "pedestrians=vehicle"])
    assert [path.name for path in (tmp_path / "made" / "videos").iterdir()] == ["01_pedestrians.mp4"]
    assert np.asarray(Image.open(tmp_path / "made" / "groundtruth" / "01_pedestrians" / "000001.png"))[4, 0] == 2


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--sequence", "higway=vehicle"], "no sequence higway; did you mean highway?"),
        (["--sequence", "higway=vehicle"], "it has highway, pedestrians"),
        (
            ["--sequence", "highway=cars"],
            "--sequence highway=cars; expected NAME=CLASS with the class person or vehicle",
        ),
    ],
)
def test_unknown_sequences_and_classes_are_one_message(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as exit_code:
        main(["cdnet", str(make_cdnet(tmp_path / "source")), str(tmp_path / "made"), *more])
    assert exit_code.value.code == 2
    assert message in capsys.readouterr().err


def test_values_that_cdnet_does_not_have_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = make_cdnet(tmp_path / "source")
    save(np.full((24, 32), 7, np.uint8), source / "dataset" / "baseline" / "highway" / "groundtruth" / "gt000002.png")
    with pytest.raises(SystemExit):
        main(["cdnet", str(source), str(tmp_path / "made")])
    assert "has the value 7; expected 0, 50, 85, 170 and 255" in capsys.readouterr().err
