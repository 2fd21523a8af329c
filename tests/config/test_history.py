"""No earlier command changes the result of a later one: every command after every slip, as in a fresh store."""

import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from extras import need
from image_folders import save
from video_files import write_video

from odkd.commands.job import run_job
from odkd.config.compose import compose_config
from odkd.config.parts import Parts

NAMES = "[road,car,person]"
BASE = ["dataset=videos", "dataset.stride=2", "dataset.size=[64,96]", "dataset.groundtruth=groundtruth", "stage=label"]
BASE += ["device=cpu", "threads=1", "tracking=none", "run.report=false", "run.plots=false", "run.overlay_video=false"]
KNOWN, UNKNOWN = (["teacher=checkpoint", f"teacher.checkpoint={name}.pth"] for name in ("named", "nameless"))
PLAIN, IDS = (["teacher=folder", f"teacher.folder={name}"] for name in ("plain", "cityscapes_ids"))
CITY = ["dataset.classes=cityscapes", "teacher.allow_missing=true"]
SWAPPED = "teacher.label_set=[car,road,person]"
COMMANDS = {
    "weights that name their classes": KNOWN,
    "the same, named by the command too": [*KNOWN, "teacher.label_set=[road,car,person]"],
    "the same, other classes of the dataset": [*KNOWN, "dataset.classes=[person,road,car]"],
    "the same, with soft labels": [*KNOWN, "teacher.soft.top_k=2"],
    "weights without names": UNKNOWN,
    "the same, named by the command": [*UNKNOWN, SWAPPED],
    "a folder of maps": PLAIN,
    "the same, other names": [*PLAIN, SWAPPED],
    "a folder with the ids of Cityscapes": [*IDS, *CITY, "teacher.label_set=cityscapes_ids"],
    "the same without the names, refused": [*IDS, *CITY],
    "a folder with ids": [*PLAIN, "teacher.ids={0: 2, 1: 1, 2: 0}"],
    "the oracle with ids": ["teacher=oracle", "dataset.ids={0: 2, 1: 1, 2: 0}"],
    "the oracle": ["teacher=oracle", "teacher.label_noise=0.2"],
}
SLIPS = {
    "names in a wrong order": [*KNOWN, SWAPPED],
    "too many names": [*KNOWN, "teacher.label_set=cityscapes", *CITY],
    "wrong classes of the dataset": [*KNOWN, "dataset.classes=[person,car,road]"],
    "a wrong mapping": [*KNOWN, "teacher.classes={car: person}", "teacher.allow_missing=true"],
    "wrong names for weights without": [*UNKNOWN, "teacher.label_set=[person,road,car]"],
    "wrong classes for weights without names": [*UNKNOWN, "dataset.classes=[person,car,road]"],
    "a folder with wrong names": [*PLAIN, "teacher.label_set=[person,road,car]"],
    "a folder with wrong classes of the dataset": [*PLAIN, "dataset.classes=[car,person,road]"],
    "the names of a folder forgotten": [*IDS, *CITY],
    "a folder with too few names": [*IDS, *CITY, "teacher.label_set=cityscapes"],
    "a folder with ids that ignore a class": [*PLAIN, "teacher.ids={0: 0, 1: 1}"],
    "another meaning of the ground truth": ["teacher=oracle", "dataset.ids={0: 1, 1: 0, 2: 2}"],
    "another size of the dataset": [*KNOWN, "dataset.size=[32,64]"],
    "another size of the teacher": [*KNOWN, "teacher.size=[32,64]"],
    "the oracle with wrong classes": ["teacher=oracle", "teacher.label_noise=0.2", "dataset.classes=[car,road,person]"],
}
assert len(SLIPS) * len(COMMANDS) >= 60
QUICK = [("names in a wrong order", "weights that name their classes")]
QUICK += [("the names of a folder forgotten", "a folder with the ids of Cityscapes")]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a video, its ground truth, two folders of maps and two networks."""
    torch, smp = need("torch"), need("segmentation_models_pytorch")
    root = tmp_path_factory.mktemp("history")
    write_video(root / "videos" / "a.mp4", num_frames=20)
    truth_HW = np.random.default_rng(0).integers(0, 3, (8, 12), np.uint8).repeat(8, 0).repeat(8, 1)
    for frame in range(0, 20, 2):
        low_HW = np.where(truth_HW == 2, 1, truth_HW) if frame < 10 else truth_HW  # the highest id comes late
        save(root / "groundtruth" / "a" / f"{frame:06d}.png", low_HW)
        save(root / "plain" / "a" / f"{frame:06d}.png", low_HW)
        save(root / "cityscapes_ids" / "a" / f"{frame:06d}.png", np.array([7, 11, 26], np.uint8)[low_HW])
    torch.manual_seed(0)
    network = smp.create_model("FPN", encoder_name="mobilenet_v2", encoder_weights=None, classes=3)
    facts = {"state_dict": network.state_dict(), "arch": "FPN", "encoder_name": "mobilenet_v2"}
    facts |= {"mean": [0.5] * 3, "std": [0.25] * 3}
    torch.save(facts | {"classes": ["road", "car", "person"]}, root / "named.pth")
    torch.save(facts, root / "nameless.pth")
    return root


Outcome = Callable[[list[str], Path], Any]


@pytest.fixture
def outcome(place: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Outcome:
    """Return a function that runs a command on a label store and returns all that it may not owe to others."""
    monkeypatch.chdir(place)
    numbers = iter(range(1000))

    def run(command: list[str], labels: Path) -> Any:
        classes = [] if any(word.startswith("dataset.classes") for word in command) else [f"dataset.classes={NAMES}"]
        places = [f"paths.outputs={tmp_path / str(next(numbers))}", f"paths.cache={place / 'cache'}"]
        words = [*BASE, "dataset.root=.", *classes, *command, *places, f"paths.labels={labels}"]
        try:
            run_job(compose_config(words))
        except ValueError:
            return "refused"
        parts = Parts(compose_config(words))
        maps = [parts.labels.read(position).tobytes() for position in range(len(parts.stream))]
        summary = (parts.folder / "summary.json").read_text()
        return parts.key, hashlib.sha256(b"".join(maps)).hexdigest(), summary

    return run


@pytest.fixture(scope="module")
def in_fresh_stores() -> dict[str, Any]:
    """The outcome of each command in a store of its own, once it is known."""
    return {}


def compare(outcome: Outcome, known: dict[str, Any], tmp_path: Path, slip: str, commands: list[str]) -> None:
    """Run each command after the slip and in a fresh store, and demand the same."""
    after = tmp_path / "slip"
    outcome(SLIPS[slip], after)
    for number, command in enumerate(commands):
        if after.is_dir():
            shutil.copytree(after, tmp_path / f"after{number}")
        if command not in known:
            known[command] = outcome(COMMANDS[command], tmp_path / f"fresh{number}")
        fresh = known[command]
        assert (fresh == "refused") == command.endswith("refused"), command
        assert outcome(COMMANDS[command], tmp_path / f"after{number}") == fresh, f"{command} after {slip}"


@pytest.mark.parametrize(("slip", "command"), QUICK)
def test_a_slip_changes_nothing(
    outcome: Outcome, in_fresh_stores: dict[str, Any], tmp_path: Path, slip: str, command: str
) -> None:
    compare(outcome, in_fresh_stores, tmp_path, slip, [command])


@pytest.mark.slow
@pytest.mark.parametrize("slip", SLIPS)
def test_no_slip_changes_the_result_of_any_command(
    outcome: Outcome, in_fresh_stores: dict[str, Any], tmp_path: Path, slip: str
) -> None:
    compare(outcome, in_fresh_stores, tmp_path, slip, list(COMMANDS))
