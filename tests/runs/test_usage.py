"""System metrics of a run: CPU, memory and GPU, with consecutive numbers, and without effect on the run."""

import json
import os
import shutil
import sys
import time
import types
from pathlib import Path

import psutil
import pytest
import torch

from odkd.runs.records import read_lines
from odkd.runs.results import read_run
from odkd.runs.usage import Sampler, gpu_usage


def wait_for(path: Path, num_lines: int) -> list[dict]:
    deadline = time.monotonic() + 60
    while len(lines := read_lines(path)) < num_lines:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return lines


def test_samples_measure_this_process(tmp_path: Path) -> None:
    path = tmp_path / "system.jsonl"
    with Sampler(tmp_path, seconds=0.02):
        wait_for(path, 1)
        begun, begun_cpu = time.monotonic(), time.process_time()
        while time.monotonic() < begun + 0.3:
            sum(range(1000))
        busy_percent = 100 * (time.process_time() - begun_cpu) / 0.3  # below 100 on a machine with other load
        lines = wait_for(path, len(read_lines(path)) + 2)
    megabytes = psutil.Process().memory_info().rss / 1e6
    assert [line["sample"] for line in lines] == list(range(len(lines)))
    after = lines[-1]["metrics"]
    assert after["system/process_memory_megabytes"] == pytest.approx(megabytes, abs=50)
    assert max(line["metrics"]["system/process_cpu_percentage"] for line in lines) > busy_percent / 2
    assert 0 <= after["system/cpu_utilization_percentage"] <= 100
    assert after["system/system_memory_usage_megabytes"] > after["system/process_memory_megabytes"]
    assert abs(lines[-1]["time"] - time.time()) < 60


def test_a_resumed_run_continues_the_numbering_and_drops_an_incomplete_line(tmp_path: Path) -> None:
    path = tmp_path / "system.jsonl"
    path.write_text('{"sample": 0, "time": 1.0, "metrics": {}}\n{"sample": 1, "ti')
    with Sampler(tmp_path, seconds=0.01):
        wait_for(path, 3)
    assert [line["sample"] for line in read_lines(path)][:3] == [0, 1, 2]


def test_an_error_while_sampling_does_not_end_the_run(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "system.jsonl").mkdir()
    with Sampler(tmp_path, seconds=0.01) as sampler:
        sampler._thread.join(60)
    assert "system metrics stop here" in caplog.text


@pytest.mark.slow
def test_system_metrics_are_in_run_folder_and_mlflow_and_do_not_change_the_run_key(odkd, tmp_path, empty_database):
    shutil.copy(empty_database, tmp_path / "mlflow.db")
    folder = odkd("tracking.system_seconds=0.05", "tracking.enabled=true")
    run = read_run(folder)
    assert len(run.system) >= 2
    from mlflow import MlflowClient

    note = json.loads((folder / "mlflow.json").read_text())
    client = MlflowClient(tracking_uri=note["tracking_uri"])
    history = client.get_metric_history(note["run_id"], "system/process_memory_megabytes")
    assert [row.value for row in sorted(history, key=lambda row: row.step)] == [
        line["metrics"]["system/process_memory_megabytes"] for line in run.system
    ]
    assert odkd() == folder  # the key is the same, so the run has finished before


def test_a_finished_run_that_is_asked_for_again_loses_what_a_killed_process_left(odkd) -> None:
    folder = odkd()
    left = [folder / ".run.json.0.tmp", folder / "plots" / ".miou.png.0.tmp"]
    for path in left:
        path.parent.mkdir(exist_ok=True)
        path.write_text("half")
        os.utime(path, (0, 0))
    assert odkd() == folder
    assert not [path for path in left if path.exists()]


def test_a_sampling_interval_of_zero_is_refused(odkd) -> None:
    with pytest.raises(ValueError, match=r"tracking.system_seconds=0; expected a number above 0"):
        odkd("tracking.system_seconds=0")


class NvmlError(Exception):
    pass


def power_of(gpu: int) -> float:
    if gpu == 1:
        raise NvmlError("not supported")
    return 150_000.0


TWO_GPUS = types.SimpleNamespace(  # as pynvml shows them; the second does not report its power
    NVMLError=NvmlError,
    nvmlInit=lambda: None,
    nvmlDeviceGetCount=lambda: 2,
    nvmlDeviceGetHandleByIndex=lambda number: number,
    nvmlDeviceGetMemoryInfo=lambda gpu: types.SimpleNamespace(used=(gpu + 1) * 2e9, total=8e9),
    nvmlDeviceGetUtilizationRates=lambda gpu: types.SimpleNamespace(gpu=40 + gpu),
    nvmlDeviceGetPowerUsage=power_of,
    nvmlDeviceGetEnforcedPowerLimit=lambda _: 300_000.0,
)


def test_gpus_are_measured_with_the_names_of_mlflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", TWO_GPUS)
    measure = gpu_usage()
    assert measure is not None
    assert measure() == {
        "gpu_0_memory_usage_percentage": 25.0,
        "gpu_0_memory_usage_megabytes": 2000.0,
        "gpu_0_utilization_percentage": 40,
        "gpu_0_power_usage_watts": 150.0,
        "gpu_0_power_usage_percentage": 50.0,
        "gpu_1_memory_usage_percentage": 50.0,
        "gpu_1_memory_usage_megabytes": 4000.0,
        "gpu_1_utilization_percentage": 41,
    }


def test_a_gpu_that_cannot_be_measured_is_told_with_its_extra(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    caplog.set_level("INFO")
    assert gpu_usage() is None
    assert "load, memory and power of the GPU are not sampled: pip install 'odkd[gpu]'" in caplog.text
