"""Several streams with one teacher: one stream is a plain run, turns are those of arithmetic, kills change no bit."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cut_off import compare_with_cut_off
from safetensors.torch import load_file
from samples import one_of

Odkd = Callable[..., Path]
PLAIN = ["run.overlay_video=false", "evaluation.batch_size=2", "dataset.prepare.num_periods=2"]
STREAMS = ["stage=online_streams", *PLAIN]
CLOCK = ["timing=simulated", "timing.train_seconds=0.1", "timing.student_seconds=0.6", "timing.down_seconds=0.2"]


def lines_of(run: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


def summary_of(run: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((run / "summary.json").read_text())
    return found


@pytest.mark.parametrize(
    "timing", one_of(2, [[], [*CLOCK, "timing.teacher_seconds=0.8", "pace=ams", "pace.first_seconds=2"]])
)
def test_one_stream_gives_the_bits_of_a_run_along_it(odkd: Odkd, timing: list[str]) -> None:
    plain = odkd(*PLAIN, *timing, "window.test=6", "replay=uniform")
    streams = odkd(*STREAMS, *timing, "window.test=6", "replay=uniform", 'stage.streams={whole: "*"}')
    assert (streams / "metrics.jsonl").read_text() == (plain / "metrics.jsonl").read_text()
    found, expected = summary_of(streams), summary_of(plain)
    assert {name: found.get(name) for name in expected} == expected
    assert {*found} - {*expected} == {
        f"{of}/miou{to}/whole" for of in ("cell", "stream") for to in ("", "_groundtruth")
    }
    assert found["stream/miou/whole"] == found["total/miou"]
    weights = [load_file(path) for path in (plain / "student.safetensors", streams / "students" / "whole.safetensors")]
    assert all((weights[0][name] == weights[1][name]).all() for name in weights[0])


def test_a_student_for_each_stream_learns_as_it_does_alone(odkd: Odkd) -> None:
    together = odkd(*STREAMS)
    lines, summary = lines_of(together), summary_of(together)
    assert [line["iteration"] for line in lines] == list(range(len(lines)))
    # Of 4 frames of each in a step, the city's last one comes when 3 of the night have come.
    assert [line["position"] for line in lines] == [3, 4, 11, 12]
    for number, name in enumerate(("00_city", "01_night")):
        alone = odkd(*PLAIN, f"dataset.start={number}", f"dataset.stop={number + 1}")
        of_name = [line["metrics"] for line in lines if line["cell"] == name]
        for found, expected in zip(of_name, [line["metrics"] for line in lines_of(alone)], strict=True):
            assert {key: found[key] for key in found if key.startswith(("test/", "learn/"))} == {
                key: expected[key] for key in expected if key.startswith(("test/", "learn/"))
            }
        assert summary[f"stream/miou/{name}"] == summary[f"cell/miou/{name}"] == summary_of(alone)["total/miou"]


def test_a_cell_learns_from_all_its_streams_by_time(odkd: Odkd) -> None:
    run = odkd(*STREAMS, "stage.cells=all")
    lines, summary = lines_of(run), summary_of(run)
    # 2 streams of 10 frames, a frame of each every half second; windows of 4 frames are 2 moments
    assert [line["metrics"]["stream/seconds"] for line in lines] == [0.0, 1.0, 2.0, 3.0, 4.0]
    assert [line["position"] for line in lines] == [0, 4, 8, 12, 16]
    assert summary["cell/miou/all"] == summary["total/miou"]
    assert summary["stream/miou/00_city"] != summary["stream/miou/01_night"]
    assert (run / "students" / "all.safetensors").is_file()


def test_a_teacher_that_is_shared_takes_the_streams_by_turns(odkd: Odkd) -> None:
    slow = [*CLOCK[:1], "timing.train_seconds=0", "timing.student_seconds=0", "timing.teacher_seconds=1"]
    run = odkd(*STREAMS, *slow, "timing.most_waiting=1", "timing.when_full=drop_oldest")
    lines = lines_of(run)
    # Frame p of either stream comes at p / 2 s, city before night, and one of each may wait for the teacher.
    # 0.0 s: the teacher begins city 0, night 0 waits.
    # 0.5 s: city 1 waits, night 1 takes the place of night 0.
    # 1.0 s: city 0 has its label, and it is night's turn: night 1. City 2 takes the place of city 1, night 2 waits.
    # 1.5 s: city 3 takes the place of city 2, night 3 that of night 2. Iterations end.
    # 2.0 s: night 1 has its label, and it is city's turn: city 3. City 4 waits, night 4 takes the place of night 3.
    # 2.5 s: city 5 takes the place of city 4, night 5 that of night 4.
    # 3.0 s: city 3 has its label, and it is night's turn: night 5. City 6 takes the place of city 5, night 6 waits.
    # 3.5 s: city 7 takes the place of city 6, night 7 that of night 6. Iterations end.
    of = {name: [line["metrics"] for line in lines if line["cell"] == name] for name in ("00_city", "01_night")}
    assert [m["cost/teacher_frames"] for m in of["00_city"]] == [1, 1]  # until 1.5 s, until 3.5 s
    assert [m["cost/teacher_frames"] for m in of["01_night"]] == [0, 1]
    assert [m["clock/frames_dropped"] for m in of["00_city"]] == [2, 3]
    assert [m["clock/frames_dropped"] for m in of["01_night"]] == [2, 3]
    assert [m["clock/label_age_most_seconds"] for m in of["01_night"]][1] == 3.0  # at 3.5 s: that of frame 1, 0.5 s


CUT = {
    "instant": ["stage.cells=each"],
    "cells": ["stage.cells={00_city: a, 01_night: b, 02_city: a}", "dataset.prepare.num_periods=3"],
    "drift": [*CLOCK, "timing.teacher_seconds=0.7", "timing.most_waiting=1", "stage.teacher=drift", "pace=jitnet"],
}
CUT["drift"] += ["pace.min_stride=1", "pace.max_updates=2", "updates=random"]


@pytest.mark.parametrize("case", one_of(3, list(CUT)))
def test_a_run_that_is_cut_off_anywhere_goes_on_to_the_same_bits(
    odkd: Odkd, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = [*STREAMS, *CUT[case]]
    whole, resumed = compare_with_cut_off(odkd, monkeypatch, settings, {1, 2, 3})
    for path in (whole / "students").iterdir():
        assert (resumed / "students" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (['stage.streams={a: "*_city"}'], "1 video in no stream, the first is 01_night; add a pattern"),
        (['stage.streams={a: "*", b: "*_night"}'], "the video 01_night is in a and in b"),
        (['stage.streams={a: "*", b: "x*"}'], "stage.streams.b=x\\*: no sampled video matches"),
        (["stage.cells={00_city: a}"], "no cell for the stream 01_night; add 01_night: NAME"),
        (["stage.cells={00_city: a, 01_night: a, x: b}"], "has a stream x; there are 00_city, 01_night"),
        (["stage.cells=some"], "stage.cells=some; expected a table, or each or all"),
        (["window.step=8"], "the cell 00_city has 10 sampled frames; expected at least window.step=8"),
        ([*CLOCK, "timing.teacher_seconds=1"], "timing.most_waiting=0 with 2 streams: a shared teacher chooses"),
    ],
)
def test_streams_that_do_not_fit_are_one_line(odkd: Odkd, words: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        odkd(*STREAMS, *words)
