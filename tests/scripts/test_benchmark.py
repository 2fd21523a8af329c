"""The benchmark: which cases run, what they leave in the file of results, and what two files say about each other."""

import json
import re
import runpy
from pathlib import Path
from typing import Any

import pytest
from bench import job
from bench import precision as bench_precision
from bench.core import case as cases
from bench.core.case import choose, load
from bench.core.compare import Change, change_rows, compare, remarks
from bench.core.machine import Load, LoadWatch, num_cores
from bench.core.page import case_rows, method_of, write_page
from bench.core.report_file import add_run, read_report
from bench.core.result import Result, measured
from bench.core.tables import markdown_table
from bench.core.timing import in_turn
from bench.instant_teacher import SETTINGS as INSTANT
from bench.one_layer import SETTINGS as ONE_LAYER
from benchmark import main
from extras import need
from paths import ROOT

from odkd.common.dotted import NOT_OF_THE_STUDENT, NOT_OF_THE_TEACHER
from odkd.config.check import check_config
from odkd.config.compose import compose_config
from odkd.config.construct import construct

QUIET = Load(0.0, 0.0, 0.0, 0.0)
KEYS = {"case", "size", "quantity", "unit", "better", "repeats", "headline"}
KEYS |= {"median", "lowest", "highest", "baseline", "ratio", "limit"}
Report = dict[str, Any]


def report(path: Path, *results: Result, case: str = "learn", quick: bool = False, load: Load = QUIET) -> Report:
    return add_run(path, case, list(results), seconds=1.0, quick=quick, load=load)


def timed(*samples: float, baseline: tuple[float, ...] | None = None, better: Any = "lower", name: str = "x") -> Result:
    beside = None if baseline is None else ("plain loop", baseline)
    return measured(name, samples, "ms", size="9x9", baseline=beside, better=better)


def changed(tmp_path: Path, old: Result, new: Result) -> Change:
    (change,) = compare(report(tmp_path / "old.json", old), report(tmp_path / "new.json", new))
    return change


def test_a_result_has_the_spread_the_baseline_of_the_same_rounds_and_the_limit() -> None:
    found = measured("x", [3, 1, 2], "ms", scale=10, baseline=("plain", [6, 1, 1]), limit=("copy", [0.5]), size="9x9")
    content = found.as_json("bank")
    assert content.keys() == KEYS
    assert [content[key] for key in ("median", "lowest", "highest", "repeats")] == [20, 10, 30, 3]
    assert content["baseline"] == {"name": "plain", "median": 10}
    assert content["ratio"] == {"median": 1, "lowest": 0.5, "highest": 2}  # by round, not of the medians
    assert content["limit"] == {"name": "copy", "median": 5}
    with pytest.raises(ValueError, match="3 samples and 1 of the baseline"):
        measured("x", [1, 2, 3], "ms", baseline=("plain", [1]))


def test_the_file_keeps_each_case_with_its_machine_and_replaces_a_case_that_runs_again(tmp_path: Path) -> None:
    path = tmp_path / "benchmark.json"
    report(path, timed(1, 2, 3))
    report(path, timed(4), case="bank", quick=True)
    report(path, timed(5), load=Load(0.5, 0.0, 1.0, 0.0))
    content = read_report(path)
    assert content["schema"] == 1
    assert list(content["cases"]) == ["bank", "learn"]
    run = content["cases"]["learn"]
    assert run.keys() == {"date", "seconds", "quick", "commit", "machine", "versions", "load", "results"}
    assert [result["median"] for result in run["results"]] == [5]
    assert run["machine"].keys() == {"processor", "cores", "memory", "gpu", "system"}
    assert {"python", "torch", "av"} <= run["versions"].keys()
    assert run["load"] == {"average": 0.5, "before": 0.0, "during": 1.0, "stolen": 0.0}
    path.write_text(json.dumps({"loop": {}}))  # the form of earlier versions
    with pytest.raises(ValueError, match="schema None; expected 1"):
        read_report(path)


@pytest.mark.parametrize(
    ("old", "new", "verdict", "factor"),
    [
        ((10, 11, 12), (20, 21, 22), "slower", 21 / 11),
        ((20, 21, 22), (10, 11, 12), "faster", 11 / 21),
        ((10, 11, 12), (12, 13, 14), "", 13 / 11),  # the spreads touch
        ((10,), (12,), "", 1.2),  # without repeats the spread is unknown
        ((10,), (13,), "slower", 1.3),
    ],
)
def test_a_change_counts_beyond_the_spread(
    old: tuple[float, ...], new: tuple[float, ...], verdict: str, factor: float, tmp_path: Path
) -> None:
    change = changed(tmp_path, timed(*old), timed(*new))
    assert change.verdict == verdict
    assert change.median is not None
    assert change.median.factor == pytest.approx(factor)
    assert change.median.is_beyond == bool(verdict)


def test_where_more_is_better_less_is_slower(tmp_path: Path) -> None:
    change = changed(tmp_path, timed(20, 21, better="higher"), timed(10, 10.5, better="higher"))
    assert (change.verdict, change.is_slower_than(1.9), change.is_slower_than(2.1)) == ("slower", True, False)


def test_a_drift_of_the_machine_slows_the_baseline_too_and_is_no_change(tmp_path: Path) -> None:
    drift = changed(tmp_path, timed(10, 11, baseline=(10, 10)), timed(20, 21, baseline=(20, 20)))
    assert (drift.verdict, drift.is_slower_than(1.1)) == ("with its baseline", False)
    real = changed(tmp_path, timed(10, 11, baseline=(10, 10)), timed(20, 21, baseline=(10, 10)))
    assert (real.verdict, real.is_slower_than(1.1)) == ("slower", True)


def test_on_another_machine_only_ratios_are_compared(tmp_path: Path) -> None:
    old = report(tmp_path / "old.json", timed(10, 11, baseline=(10, 10)), timed(1, 2, name="y"))
    new = report(tmp_path / "new.json", timed(2, 2.2, baseline=(1, 1)), timed(5, 6, name="y"))
    old["cases"]["learn"]["machine"]["processor"] = "another"
    with_ratio, without = compare(old, new)
    assert with_ratio.median is None
    assert with_ratio.verdict == "slower"
    assert (without.median, without.ratio, without.verdict) == (None, None, "")
    assert any("another machine" in remark for remark in remarks(old, new))


def test_cases_and_quantities_in_one_file_alone_are_named(tmp_path: Path) -> None:
    report(tmp_path / "old.json", timed(1, name="a"), timed(1, name="b"))
    old = report(tmp_path / "old.json", timed(1), case="bank", quick=True)
    new = report(tmp_path / "new.json", timed(1, name="b"), timed(1, name="c"), load=Load(0, 1.9, 0, 0))
    assert {change.name[2]: change.verdict for change in compare(old, new)} == {"a": "gone", "b": "", "c": "new"}
    told = "\n".join(remarks(old, new))
    assert "bank: only in the old file" in told
    assert "busy in these cases of the new file: learn" in told
    assert ["learn", "9x9", "b", "ms", "1.00", "1.00", "1.000", "", ""] in change_rows(compare(old, new))


def test_a_bound_makes_the_comparison_fail(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report(tmp_path / "old.json", timed(10, 11))
    report(tmp_path / "benchmark.json", timed(20, 21))
    words = ["--compare", str(tmp_path / "old.json"), "--outputs", str(tmp_path)]
    assert main(words) == 0
    assert main([*words, "--fail-slower", "1.5"]) == 1
    assert "slower than 1.5 times the old: learn 9x9 x" in capsys.readouterr().err
    assert main([*words, "--fail-slower", "2.5"]) == 0
    with pytest.raises(SystemExit):
        main(["--compare", str(tmp_path / "nothing.json"), "--outputs", str(tmp_path)])
    assert "cannot be read as results" in capsys.readouterr().err


def test_cases_are_chosen_by_name_and_glob() -> None:
    assert choose(["learn", "de*"]) == ["decode", "learn"]
    with pytest.raises(ValueError, match="no case is called lern; did you mean learn"):
        choose(["lern"])


def test_long_cases_run_only_by_name_or_all(monkeypatch: pytest.MonkeyPatch) -> None:
    need("sklearn")
    monkeypatch.setattr(cases, "case_names", lambda: ["bank", "outage"])
    assert choose([]) == ["bank"]
    assert choose(["outage"]) == ["outage"]
    assert choose([], everything=True) == ["bank", "outage"]


def test_the_default_cases_take_less_than_15_minutes() -> None:
    seconds = [case.seconds for case, _ in map(load, cases.case_names()) if not case.is_long]
    assert sum(seconds) <= 15 * 60


def test_the_page_has_a_block_for_each_case_and_says_what_the_cases_say() -> None:
    page = (ROOT / "docs" / "performance.md").read_text()
    assert markdown_table(case_rows()) in page, "renew it: python scripts/benchmark.py --page"
    for name in cases.case_names():
        assert f"### {name}\n\n<!-- method: {name} -->\n\n{method_of(name)}\n" in page
    assert sorted(re.findall(r"<!-- results: (\w+) -->", page)) == cases.case_names()


def test_a_page_is_made_from_the_results_and_keeps_what_was_not_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, path = tmp_path / "page.md", tmp_path / "benchmark.json"
    monkeypatch.setattr("bench.core.page.case_names", lambda: ["bank", "learn"])
    names = ("headlines", "cases", "method: bank", "method: learn", "results: bank")
    blocks = [f"<!-- {name} -->\nold of {name}\n<!-- end -->" for name in names]
    page.write_text("\n".join(["by hand", *blocks, "<!-- results: learn -->\nold table\n<!-- end -->", "the end"]))
    headline = measured("step", [2, 4, 3], "ms", baseline=("plain", [6, 8, 6]), limit=("copy", [1]), headline=True)
    write_page(page, report(path, headline, load=Load(0, 0, 1.5, 0)))
    text = page.read_text()
    assert text.startswith("by hand\n")
    assert text.endswith("\nthe end")
    assert "old of results: bank" in text
    assert "old table" not in text
    assert "What does a learning step of TinyNet take? `Learner.learn` on resident" in text
    assert "| step | 3.00 (2.00, 4.00) | ms | 6.00 plain | 0.500 (0.333, 0.500) | 1.00 copy |" in text
    assert "The machine was not quiet: other processes took up to 1.5" in text
    assert "| [`learn`](#learn) | step | 3.00 ms | 6.00 plain | 0.500 (0.333, 0.500) | 1.00 copy |" in text
    assert "](images/performance.svg)\n\n<!-- end -->" in text
    plot = tmp_path / "images" / "performance.svg"
    first = plot.read_bytes()
    write_page(page, read_report(path))
    assert page.read_text() == text
    assert plot.read_bytes() == first
    with pytest.raises(ValueError, match="0 blocks <!-- results: decode -->"):
        write_page(page, report(path, timed(1), case="decode"))
    with pytest.raises(ValueError, match="quick runs show no numbers: bank"):
        write_page(page, report(path, timed(1), case="bank", quick=True))


def test_functions_are_timed_in_turn_after_a_round_that_warms_up() -> None:
    calls: list[str] = []
    seconds = in_turn({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, 2)
    assert "".join(calls) == "ab" + "ab" + "ba"
    assert {name: len(samples) for name, samples in seconds.items()} == {"a": 2, "b": 2}
    assert in_turn({"own": lambda: 7.5}, 1) == {"own": [7.5]}  # seconds that it has measured itself


def test_a_busy_machine_is_noticed() -> None:
    load_beside = LoadWatch().stop()
    assert min(load_beside.before, load_beside.during) >= 0
    assert load_beside.before <= num_cores() + 1
    assert QUIET.warning is None
    busy = Load(average=9.0, before=0.0, during=1.2, stolen=0.0).warning
    assert busy is not None
    assert busy.startswith(f"other processes took up to 1.2 of {num_cores()} cores")


@pytest.mark.slow
def test_a_quick_case_runs_and_a_failing_case_ends_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench import checkpoint

    assert main(["index", "--quick", "--outputs", str(tmp_path)]) == 0
    run = read_report(tmp_path / "benchmark-quick.json")["cases"]["index"]
    assert run["quick"]
    assert all(result["median"] > 0 for result in run["results"])
    assert "bare PyAV" in capsys.readouterr().out
    assert not (tmp_path / "benchmark.json").exists()

    def fail(folder: Path, *, quick: bool) -> list[Result]:
        raise RuntimeError(f"nothing works in {folder.name}, quick={quick}")

    monkeypatch.setattr(checkpoint, "measure", fail)
    assert main(["checkpoint", "index", "--quick", "--outputs", str(tmp_path)]) == 1
    told = capsys.readouterr()
    assert "nothing works" in told.err
    assert "failed: checkpoint" in told.err
    assert list(read_report(tmp_path / "benchmark-quick.json")["cases"]) == ["index"]


def test_the_stand_ins_for_teacher_and_student_take_the_settings_that_are_left() -> None:
    cfg = compose_config([*INSTANT, *ONE_LAYER])
    check_config(cfg)
    teacher = construct(cfg.teacher, NOT_OF_THE_TEACHER, {}, ["bench"], "teacher")
    student = construct(cfg.student, NOT_OF_THE_STUDENT, {"num_classes": 2}, ["bench"], "student")
    assert [type(part).__name__ for part in (teacher, student)] == ["Instant", "OneLayer"]


@pytest.mark.parametrize(("units", "precision"), [("AMX", "bfloat16"), (None, "float32")])
def test_a_cpu_without_units_for_bfloat16_is_not_asked_for_it(
    units: str | None, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("odkd.common.numerics.bfloat16_units", lambda: units)
    fresh = runpy.run_path(str(job.__file__))
    assert fresh["FAST"] == [f"precision={precision}", "channels_last=true"]
    assert list(fresh["PRECISIONS"]) == ["float32", f"{precision} + channels-last"]
    variants = runpy.run_path(str(bench_precision.__file__))["VARIANTS"]
    assert ("bfloat16" in variants) == (units is not None)


LONG = ("busy", "epochs", "long_stream", "memory", "mir", "precision", "regularizers", "startup", "sweep")


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.long if name in LONG else pytest.mark.slow)
        for name in cases.case_names()
        if name != "outage"
    ],
)
def test_every_case_works_in_small(name: str, tmp_path: Path) -> None:
    assert main([name, "--quick", "--outputs", str(tmp_path)]) == 0
    run = read_report(tmp_path / "benchmark-quick.json")["cases"][name]
    assert run["results"]
    assert all(result.keys() == KEYS for result in run["results"])
