"""Runs under a simulated clock: those without one where nothing takes time, else as arithmetic says."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from cut_off import compare_with_cut_off
from run_keys import run_key
from samples import one_of

from odkd.config.known import CONF

Odkd = Callable[..., Path]
NO_TIME = ["timing=simulated", *(f"timing.{part}_seconds=0" for part in ("teacher", "train", "student"))]
EVERY = "dataset.seconds_per_frame"
REPLAYS = sorted(path.stem for path in (CONF / "replay").glob("*.yaml"))
CASES = [(replay, regularizer) for regularizer in ("ace", "mas") for replay in REPLAYS]


def numbers(run: Path) -> tuple[list[dict[str, object]], dict[str, object]]:
    """The metrics lines and the summary of a run, without what only a clock has."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    for line in lines:
        line["metrics"] = {name: value for name, value in line["metrics"].items() if not name.startswith("clock/")}
    summary = json.loads((run / "summary.json").read_text())
    return lines, {name: value for name, value in summary.items() if not name.startswith("clock/")}


def check_that_durations_of_0_change_no_bit(odkd: Odkd, *settings: str) -> None:
    settings = (*settings, "dataset.prepare.num_periods=2", "window.test=6")
    settings += ("run.overlay_video=false", "evaluation.batch_size=2")
    plain, clocked = odkd(*settings), odkd(*settings, *NO_TIME)
    assert plain != clocked
    (plain_lines, plain_summary), (lines, summary) = numbers(plain), numbers(clocked)
    for expected, line in zip(plain_lines, lines, strict=True):
        found, wanted = line["metrics"], expected["metrics"]
        assert {k: (found.get(k), v) for k, v in wanted.items() if found.get(k) != v} == {}, line["iteration"]
        assert line == expected
    assert summary == plain_summary
    assert (clocked / "student.safetensors").read_bytes()[-4096:] == (plain / "student.safetensors").read_bytes()[
        -4096:
    ]


@pytest.mark.parametrize(("replay", "regularizer"), one_of(9, CASES))
def test_durations_of_0_change_no_bit(odkd: Odkd, replay: str, regularizer: str) -> None:
    warmup = ["regularizer.warmup_passes=1"] if regularizer == "mas" else []
    check_that_durations_of_0_change_no_bit(odkd, f"replay={replay}", f"regularizer={regularizer}", *warmup)


@pytest.mark.slow
def test_durations_of_0_change_no_bit_of_what_is_sent(odkd: Odkd) -> None:
    sent = ("updates=gradient_guided", "updates.share=0.1", "updates.sent=float16", "optimizer.lr=1e-3")
    check_that_durations_of_0_change_no_bit(odkd, *sent)


# Frames come every half second, window steps every two seconds.
SLOW_TEACHER = [
    *("timing=simulated", "timing.teacher_seconds=0.75", "timing.train_seconds=0.3", "timing.student_seconds=0.6"),
    *("timing.down_seconds=0.25", "timing.most_waiting=1", "run.overlay_video=false"),
]
PACES = {
    "jitnet": ["pace=jitnet", "pace.min_stride=1", "pace.max_stride=4", "pace.max_updates=2", "replay=memoryless"],
    "sent": ["pace=jitnet", "pace.min_stride=1", "pace.max_updates=2", "updates=random", "updates.sent=float16"],
    "fixed": ["replay=prioritized", "optimizer=sgd"],
    "ams": ["pace=ams", "pace.first_seconds=3", "pace.train_seconds=2", "pace.max_updates=3", "pace.rate_seconds=2"],
    "drift": ["pace=drift", "pace.num_frames=5", "pace.threshold=0.001", "pace.tolerance=0"],
}


@pytest.mark.parametrize("pace", one_of(5, list(PACES)))
def test_a_run_that_is_cut_off_anywhere_goes_on_to_the_same_bits(
    odkd: Odkd, pace: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [*PACES[pace], *SLOW_TEACHER]
    whole, _ = compare_with_cut_off(odkd, monkeypatch, settings, {1, 3, 4, 6})
    metrics = [json.loads(line)["metrics"] for line in (whole / "metrics.jsonl").read_text().splitlines()]
    assert sum(line["cost/updates"] for line in metrics) > 2
    assert sum(line["cost/teacher_frames"] for line in metrics) < sum(line["cost/frames"] for line in metrics)


def test_the_times_of_a_run_are_those_of_arithmetic(odkd: Odkd) -> None:
    settings = [
        "timing=simulated",
        "timing.teacher_seconds=0.75",
        "timing.train_seconds=0.5",
        "run.overlay_video=false",
    ]
    settings += ["timing.student_seconds=0", "dataset.prepare.num_periods=1"]
    run = odkd(*settings, "window.test=2", "window.step=2", "window.learn=2")
    metrics = [json.loads(line)["metrics"] for line in (run / "metrics.jsonl").read_text().splitlines()]
    # Frames p = 0 ... 9 come at p / 2 s. The teacher takes those of 0, 1, 2, 3, 4 s and has their labels 0.75 s later;
    # it drops those between. Step i is at second i. Trainings learn from the newest 2 labels at 0.5 s each:
    # step 1: label 0, until 1.5; step 2: labels 0 and 1, until 3.0; step 3: labels 1 and 2, until 4.0; step 4 likewise.
    # An iteration's times are those from one last frame to the next, so step 1 is busy from 1.0 to 1.5 of 0.5 to 1.5 s.
    # Frames at 1.5 and 2 s have weights begun at 1, those at 3 and 3.5 s weights begun at 2; 4 and 4.5 s weights of 3.
    assert [line["clock/frames_dropped"] for line in metrics] == [1] * 5
    assert [line["cost/teacher_frames"] for line in metrics] == [0, 1, 1, 1, 1]
    assert [line["cost/updates"] for line in metrics] == [0, 1, 2, 2, 2]
    ages = [line["clock/weights_age_seconds"] for line in metrics]
    assert ages == [None, 0.5, 1.25, 1.25, 1.25]
    most = [line["clock/weights_age_most_seconds"] for line in metrics]
    assert most == [None, 0.5, 1.5, 1.5, 1.5]
    labels = [line["clock/label_age_most_seconds"] for line in metrics]
    assert labels == [None, 1.5, 1.5, 1.5, 1.5]
    assert [line["clock/trainer_utilisation"] for line in metrics[1:]] == [0.5, 0.5, 1.0, 1.0]


@pytest.mark.slow
def test_frames_come_when_the_dataset_says(odkd: Odkd, cache: Path) -> None:
    settings = ["timing=simulated", "timing.teacher_seconds=0.75", "timing.train_seconds=0", "run.overlay_video=false"]
    settings += ["timing.student_seconds=0", "dataset.prepare.num_periods=1"]
    by_files, same, slower = (odkd(*settings, *more) for more in ([], [f"{EVERY}=0.5"], [f"{EVERY}=1"]))
    lines = [(run / "metrics.jsonl").read_text() for run in (by_files, same, slower)]
    assert lines[0] == lines[1]  # the files have a frame every half second
    dropped = [[json.loads(line)["metrics"]["clock/frames_dropped"] for line in text.splitlines()] for text in lines]
    assert sum(dropped[0]) > 0 == sum(dropped[2])
    assert run_key(cache, f"{EVERY}=3") == run_key(cache)  # without a clock nothing depends on it
    assert run_key(cache, f"{EVERY}=3", "pace=ams") != run_key(cache, "pace=ams")


@pytest.mark.slow
def test_durations_that_are_measured_are_kept_with_the_run_and_for_the_next_one(
    odkd: Odkd, monkeypatch: pytest.MonkeyPatch
) -> None:
    from odkd.config import parts_timing

    monkeypatch.setattr(parts_timing, "SECONDS", 0.0)
    settings = ["timing=simulated", "dataset.prepare.num_periods=1", "run.overlay_video=false", "threads=1"]
    first = odkd(*settings)
    kept = json.loads((first / "durations.json").read_text())
    assert kept["teacher_seconds"] == 0.0  # the oracle reads labels
    assert min(kept["train_seconds"], kept["student_seconds"]) > 0
    lines = (first / "metrics.jsonl").read_text()
    other = odkd(*settings, "replay=uniform", "run.repeat=1")
    assert json.loads((other / "durations.json").read_text()) == kept
    assert (odkd(*settings, "run.restart=true") / "metrics.jsonl").read_text() == lines


def test_keys_of_runs_without_a_clock_are_as_before_there_was_one(cache: Path) -> None:
    plain = run_key(cache)
    assert run_key(cache, "timing=instant", "pace=fixed") == plain
    others = [run_key(cache, *words) for words in (["pace.every=2"], ["pace=jitnet"], NO_TIME)]
    assert len({plain, *others}) == 4
