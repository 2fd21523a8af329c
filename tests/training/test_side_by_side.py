"""Students of a pair trained side by side: bit-identical to training in turn, after failures and kills, too."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from omegaconf import DictConfig, OmegaConf
from tiny_learner import CPU, NUM_CLASSES, Frames, Labels, make_bank, make_learner, make_student

from odkd.evaluation.evaluate import Evaluator
from odkd.runs.run import OpenRun
from odkd.training.epochs import EpochPlan, Task
from odkd.training.regularizers.none import NoRegularizer
from odkd.training.side_by_side import SideBySide
from odkd.training.trainer import Trainer
from odkd.training.trainings import Trainings

Odkd = Callable[..., Path]
PLAN = EpochPlan(epochs=5, batch_size=2, drop_last=False, patience=2, best_by="miou", best_against=None)
TASKS = [
    Task("round_1/student_0", [0, 1, 3, 4, 5], "teacher", "teacher", [6, 7]),
    Task("round_1/student_1", [1, 2, 8, 9], "teacher", "teacher", [3, 10]),
]


def contents(folder: Path, *patterns: str) -> dict[str, bytes]:
    found = [path for pattern in patterns for path in folder.glob(pattern) if path.is_file()]
    return {str(path.relative_to(folder)): path.read_bytes() for path in found}


@pytest.mark.slow
def test_students_side_by_side_are_bit_identical_to_students_in_turn(odkd: Odkd, tmp_path: Path) -> None:
    settings = ["stage=mckd_first", "stage.epochs=2", "teacher.label_noise=0.1", "threads=1"]
    found = []
    for name, devices in {"in_turn": "null", "side_by_side": "[cpu,cpu]"}.items():
        labels = tmp_path / "labels" / name
        run = odkd(*settings, f"stage.devices={devices}", f"run.name={name}", f"paths.labels={labels}")
        outcome = contents(run, "metrics.jsonl", "summary.json", "students/*", "splits/*", "confusion.npz")
        stored = contents(labels, "mckd-*/*/labels/c/**/*")
        assert len({name.split("/")[0] for name in stored}) == 2
        found.append((run.name.removeprefix(name), outcome, stored))
        assert not (run / "trainings").exists()
    assert found[0] == found[1]
    trainings = [json.loads(line)["training"] for line in outcome["metrics.jsonl"].decode().splitlines()]
    assert trainings == [f"round_1/student_{number}" for number in (0, 1) for _ in range(2)]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["stage.devices=[cpu,cpu,cpu]"], "names 3 devices for the stage.num_parts=2 students"),
        (["stage.devices=cpu"], "stage.devices=cpu; expected a list of names, or null"),
        (["stage.devices=[]"], "expected a list"),
        (["stage.devices=[cpu,cuda:99]"], "stage.devices=cuda:99 cannot be used here"),
        (["stage.devices=[meta]"], "stage.devices has meta, and the rest of the run is on device=cpu"),
        (["stage.devices=[cpu]", "stage=mckd_final"], "stage=mckd_final trains one; leave it out"),
    ],
)
def test_a_wrong_device_list_is_refused_before_training(odkd: Odkd, overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        odkd("stage=mckd", *overrides)


# --- tiny students, one of which fails


class FaultyFrames(Frames):
    """Frames of which position 9, used only by the second student, cannot be read."""

    def __init__(self, fault: str) -> None:
        self.fault = fault

    def read(self, positions: Sequence[int]) -> np.ndarray:
        if 9 in positions and self.fault == "raises":
            raise MemoryError("no room for position 9")
        if 9 in positions and self.fault == "is_killed":
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read(positions)


class WrongLabels(Labels):
    def read(self, position: int) -> np.ndarray:
        return np.full((8, 8), NUM_CLASSES, np.uint8) if position == 9 else super().read(position)


class Tiny:
    """Substitute for `config.parts.Parts`."""

    seed, schedule = 3, None

    def __init__(self, cfg: DictConfig) -> None:
        self.learner = make_learner(make_student(torch.nn.Dropout(0.3)), NoRegularizer(), "adam")
        bank = make_bank()
        bank._frames = FaultyFrames(cfg.fault)
        if cfg.fault == "is_mistaken":
            bank._label_sources["teacher"] = WrongLabels()
        self.evaluator = Evaluator(bank, batch_size=2, precision="float32", device=CPU)


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Give this process as many CPU threads as a child has: results differ in bits with their number."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def go(folder: Path, *, side_by_side: bool, fault: str | None = None) -> Trainings:
    stage, run_settings = {"devices": ["cpu", "cpu"], "num_parts": 2}, {"checkpoint_overhead": 1e9}
    torch_settings = {"device": "cpu", "threads": 1, "precision": "float32", "deterministic": True}
    cfg = OmegaConf.create({**torch_settings, "stage": stage, "run": run_settings, "fault": fault})
    description = {"key": "k", "name": "n", "stage": "mckd", "params": {}, "tags": {}}
    with OpenRun(folder, description, checkpoint_overhead=1e9).open({}, restart=False) as run:
        parts = Tiny(cfg)
        trainer = Trainer(parts.learner, parts.evaluator, PLAN, seed=3, schedule=None, checkpoint_overhead=1e9)
        trainings = Trainings(run, trainer)
        if side_by_side:
            SideBySide(Tiny, cfg, CPU).train(trainings, TASKS, None)
        for task in TASKS:
            if task.name not in trainings.weights:
                trainings.finish(task, trainings.train(task), {})
    return trainings


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize(
    ("fault", "error", "message"),
    [
        ("raises", RuntimeError, "round_1/student_1 on cpu failed"),
        pytest.param("is_killed", RuntimeError, "was killed by SIGKILL", marks=pytest.mark.slow),
        pytest.param("is_mistaken", ValueError, "position 9 holds class ids up to 4", marks=pytest.mark.slow),
    ],
)
def test_a_failed_student_ends_the_run_with_its_traceback_and_a_later_run_continues(
    tmp_path: Path, fault: str, error: type[Exception], message: str
) -> None:
    uninterrupted = go(tmp_path / "uninterrupted", side_by_side=False)
    with pytest.raises(error, match=message):
        go(tmp_path / "failed", side_by_side=True, fault=fault)
    assert json.loads((tmp_path / "failed" / "run.json").read_text())["status"] == "failed"
    written = (tmp_path / "failed" / "error.txt").read_text()
    assert message in written
    assert ("MemoryError: no room for position 9" in written) == (fault == "raises")
    resumed = go(tmp_path / "failed", side_by_side=False)  # continues in turn
    assert (resumed.weights, resumed.summary) == (uninterrupted.weights, uninterrupted.summary)
    lines = (tmp_path / "uninterrupted" / "metrics.jsonl").read_text()
    assert (tmp_path / "failed" / "metrics.jsonl").read_text() == lines


# --- kill -9


SETTINGS = """
    debug=smoke stage=mckd stage.num_rounds=3 stage.epochs=3 optimizer.lr=1e-3 loss=mckd threads=1
    teacher=checkpoint teacher.checkpoint=../teacher.pth teacher.soft.top_k=2
    teacher.mean=[0.5,0.5,0.5] teacher.std=[0.25,0.25,0.25] tracking=none run.plots=false run.report=false
"""
COMMAND = [sys.executable, "-m", "odkd", *SETTINGS.split()]


def start(folder: Path, devices: str) -> "subprocess.Popen[bytes]":
    """Start the command in a new process group; Ctrl-C is sent to all processes of a group."""
    with (folder / "log.txt").open("ab") as log:
        command = [*COMMAND, f"stage.devices={devices}"]
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)


def members(group: int) -> dict[int, str]:
    """Return process id -> command of the running processes of a group."""
    listed = subprocess.run(
        ["ps", "-A", "-ww", "-o", "pid=,pgid=,stat=,args="], capture_output=True, text=True, check=True
    )
    rows = [line.split(None, 3) for line in listed.stdout.splitlines()]
    return {int(pid): args for pid, of, stat, args in rows if int(of) == group and not stat.startswith("Z")}


def wait_until(is_so: Callable[[], Any], seconds: float = 120) -> None:
    deadline = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < deadline, "waited too long"
        time.sleep(0.01)


def num_logged_epochs(folder: Path) -> int:
    return (folder / "log.txt").read_text().count("validation mIoU")


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_processes_leave_no_process_and_continue_bit_identically(tmp_path: Path) -> None:
    def outcome(folder: Path) -> dict[str, bytes]:
        (run,) = (folder / "outputs" / "runs").iterdir()
        named = contents(run, "metrics.jsonl", "summary.json", "students/*")
        stores = contents(
            folder / "outputs" / "cache" / "labels", "mckd-*/*/labels/c/**/*", "mckd-*/*/logsoft-*/*/c/**/*"
        )
        assert len({name.split("/")[0] for name in stores if "logsoft-" in name}) == 4
        return named | stores

    import segmentation_models_pytorch as smp  # takes seconds; child processes import this module, too

    torch.manual_seed(0)
    network = smp.FPN(encoder_name="mobilenet_v2", encoder_weights=None, classes=11)
    content = {"state_dict": network.state_dict(), "arch": "FPN", "encoder_name": "mobilenet_v2", "classes": 11}
    torch.save(content, tmp_path / "teacher.pth")
    undisturbed, folder = tmp_path / "undisturbed", tmp_path / "disturbed"
    for path in (undisturbed, folder):
        path.mkdir()
    assert start(undisturbed, "null").wait() == 0, (undisturbed / "log.txt").read_text()
    generator = random.Random(0)
    for victim in ("child", "parent", "interrupt", "in turn", "all"):
        logged = num_logged_epochs(folder) if (folder / "log.txt").exists() else 0
        process = start(folder, "null" if victim == "in turn" else "[cpu,cpu]")
        wait_until(lambda n=logged, p=process: num_logged_epochs(folder) > n or p.poll() is not None)
        time.sleep(generator.uniform(0, 0.3))
        children = [pid for pid, args in members(process.pid).items() if "spawn_main" in args]
        if victim == "child":
            os.kill(generator.choice(children), signal.SIGKILL)
        elif victim == "all":
            os.killpg(process.pid, signal.SIGKILL)
        elif victim == "interrupt":
            os.killpg(process.pid, signal.SIGINT)
        else:
            process.kill()
        code = process.wait()
        assert code == {"child": 1, "interrupt": 130}.get(victim, -signal.SIGKILL), (folder / "log.txt").read_text()
        wait_until(lambda process=process: not members(process.pid), seconds=10)
        (run,) = (folder / "outputs" / "runs").iterdir()
        status = json.loads((run / "run.json").read_text())["status"]
        assert status == {"child": "failed", "interrupt": "killed"}.get(victim, "running")
    log = (folder / "log.txt").read_text()
    assert "was killed by SIGKILL" in log
    assert "odkd: interrupted; the same command goes on from here" in log
    assert log.count("Traceback") == 1  # of the killed child; an interrupt has none
    assert start(folder, "[cpu,cpu]").wait() == 0, (folder / "log.txt").read_text()
    assert outcome(folder) == outcome(undisturbed)
