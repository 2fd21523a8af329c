"""`auto`: what the device does best becomes the run's precision before it has a key, and the reference is one word."""

from pathlib import Path

import pytest
import torch
from omegaconf import OmegaConf
from run_keys import run_key
from samples import one_of
from tiny_settings import TINY

import odkd.common.numerics
from odkd.common.numerics import Numerics, best_numerics
from odkd.config.compose import compose_config
from odkd.config.known import CONF
from odkd.config.numerics import NUMERICS, SLOW, settle
from odkd.report.tables.wanted import Settings, WantedRun, wanted_settings

AUTO = [f"{key}=auto" for key in NUMERICS]
EXPERIMENTS = [path.relative_to(CONF / "experiment").with_suffix("") for path in (CONF / "experiment").rglob("*.yaml")]


def on_cpu_with(monkeypatch: pytest.MonkeyPatch, units: str | None) -> None:
    monkeypatch.setattr(odkd.common.numerics, "bfloat16_units", lambda: units)


def settled(tmp_path: Path, *words: str) -> tuple[list[object], str]:
    cfg, line = settle(compose_config([*TINY, f"paths.outputs={tmp_path}", *words]))
    return [cfg[key] for key in NUMERICS], line


@pytest.mark.parametrize(
    ("units", "words", "expected"),
    [
        ("AMX", AUTO, ["bfloat16", True, True]),
        (None, AUTO, ["float32", True, True]),
        ("AMX", [], ["float32", False, False]),  # what is typed counts, and fast forms go with channels-last
        ("AMX", ["precision=auto"], ["bfloat16", False, False]),
        ("AMX", ["numerics=auto"], ["float32", False, False]),
        ("AMX", [*AUTO, "fast_forms=false"], ["bfloat16", True, False]),
    ],
)
def test_auto_takes_what_the_cpu_does_best(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, units: str | None, words: list[str], expected: list[object]
) -> None:
    on_cpu_with(monkeypatch, units)
    assert settled(tmp_path, *words)[0] == expected


def test_the_log_says_what_auto_chose_and_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    on_cpu_with(monkeypatch, "AMX")
    assert settled(tmp_path, *AUTO)[1] == (
        "precision=bfloat16 channels_last=true fast_forms=true, chosen because the CPU has AMX; numerics=reference "
        "computes in float32 as in the papers"
    )
    assert settled(tmp_path, "fast_forms=false")[1] == ""


def test_bfloat16_on_a_cpu_without_units_for_it_is_said_to_be_slow(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    on_cpu_with(monkeypatch, None)
    values, line = settled(tmp_path, "precision=bfloat16", "fast_forms=false")
    assert values[0] == "bfloat16"  # what is typed counts
    assert line == SLOW
    assert settled(tmp_path, "precision=bfloat16", "channels_last=auto")[1].endswith(f"; {SLOW}")
    assert SLOW not in settled(tmp_path, *AUTO)[1]
    on_cpu_with(monkeypatch, "AMX")
    assert settled(tmp_path, "precision=bfloat16", "fast_forms=false")[1] == ""


@pytest.mark.parametrize(
    ("capability", "expected"),
    [((9, 0), ("bfloat16", True)), ((7, 5), ("float16", True)), ((6, 1), ("float32", False))],
)
def test_a_gpu_computes_in_what_its_tensor_cores_have(
    monkeypatch: pytest.MonkeyPatch, capability: tuple[int, int], expected: tuple[str, bool]
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    found = best_numerics(torch.device("cuda"))
    assert (found.precision, found.channels_last) == expected


def test_another_device_computes_in_float32() -> None:
    assert best_numerics(torch.device("mps")) == Numerics("float32", False, "nothing else is known to be faster on mps")


def test_a_run_by_auto_has_the_key_of_the_same_words_typed(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    on_cpu_with(monkeypatch, "AMX")
    typed = run_key(cache, "precision=bfloat16", "channels_last=true", "fast_forms=true")
    assert run_key(cache, *AUTO) == typed
    on_cpu_with(monkeypatch, None)
    assert run_key(cache, *AUTO) == run_key(cache, "channels_last=true", "fast_forms=true") != typed


def test_the_reference_has_the_key_from_before_there_were_fast_forms(cache: Path) -> None:
    assert run_key(cache, *AUTO, "fast_forms=false") != run_key(cache)  # TINY is float32, contiguous
    assert run_key(cache, "fast_forms=false") == run_key(cache)


@pytest.mark.parametrize("name", one_of(6, [str(name) for name in EXPERIMENTS if "parts" not in name.parts]))
def test_an_experiment_says_in_which_precision_its_numbers_were_computed(name: str) -> None:
    cfg = compose_config([f"experiment={name}"])
    assert "auto" not in [cfg[key] for key in NUMERICS]
    reference = compose_config([f"experiment={name}", "numerics=reference"])
    assert [reference[key] for key in NUMERICS] == ["float32", False, False]
    assert [compose_config([f"experiment={name}", "numerics=auto"])[key] for key in NUMERICS] == ["auto"] * 3


def test_a_table_that_leaves_the_precision_to_odkd_counts_runs_of_any() -> None:
    typed = {words: wanted_settings(WantedRun((*TINY, *words), 0)) for words in [(), ("precision=bfloat16",)]}
    left = wanted_settings(WantedRun((*TINY, *AUTO), 0))
    assert all(left.is_as(one) and one.is_as(left) for one in typed.values())
    one, other = typed.values()
    assert not one.is_as(other)
    assert isinstance(one, Settings)


def test_numerics_holds_no_other_setting() -> None:
    for path in (CONF / "numerics").glob("*.yaml"):
        assert set(OmegaConf.load(path)) <= {*NUMERICS, "compile"}
