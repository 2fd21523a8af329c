"""Sweeps by submitit and by Ray on this machine: lost jobs, failing jobs, Ctrl-C, no process left behind."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE
from typing import Any

import pytest
from extras import need
from sweep_command import FOUR_AT_A_TIME, Workplace
from tiny_settings import TINY

from odkd.config.known import CONF
from odkd.config.parts_tracking import tracking_of
from odkd.runs.sweeps.job import SweepJob
from odkd.runs.sweeps.launch import plan_sweep
from odkd.runs.sweeps.plan import SweepPlan
from odkd.runs.sweeps.sweep import Sweep

SUBMITIT = ["hydra/launcher=submitit_local", "hydra.launcher.array_parallelism=2"]
RAY = ["hydra/launcher=ray", "hydra.launcher.num_cpus=2"]
FOUR = ["window.learn=4,6", "seed=0,1"]
FAILING = """
from odkd.training.replay.fifo import Fifo

class Broken(Fifo):
    def select(self, num_positions, scorer):
        raise KeyError("deliberately")
"""
DYING = """
import os

from odkd.training.replay.fifo import Fifo

class Dying(Fifo):
    def select(self, num_positions, scorer):
        os.kill(os.getpid(), 9)
"""
NOTING = """
import json
import uuid
from pathlib import Path

import ray

from odkd.training.replay.fifo import Fifo

class Noting(Fifo):
    def __init__(self, capacity, notes):
        super().__init__(capacity)
        path = Path(notes) / f"{uuid.uuid4().hex}.json"
        path.write_text(json.dumps({"node": ray.get_runtime_context().get_node_id()}))
"""
CLUSTER = """
import sys
from ray.cluster_utils import Cluster
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)
cluster.wait_for_nodes()
print(cluster.address, flush=True)
sys.stdin.read()
cluster.shutdown()
"""
NO_WORKERS = """
import os
import sys

if any("popen_loky" in word for word in sys.orig_argv):
    os._exit(3)
"""


@pytest.fixture
def workplace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workplace:
    """A workplace whose processes are marked in their environment."""
    monkeypatch.setenv("ODKD_TEST", str(tmp_path))
    return Workplace(tmp_path)


def read(path: Path) -> dict[str, Any]:
    record: dict[str, Any] = json.loads(path.read_text())
    return record


def running_job(workplace: Workplace) -> dict[str, Any]:
    """Return the record of a running job."""
    return next(job for job in map(read, workplace.outputs.glob("sweeps/*/jobs/*.json")) if job["status"] == "running")


def processes(workplace: Workplace) -> list[str]:
    """Return the command lines of living processes that have the workplace's mark."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if f"ODKD_TEST={workplace.folder}".encode() in (process / "environ").read_bytes().split(b"\0"):
                found.append((process / "cmdline").read_text().replace("\0", " "))
    return found


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_submitit_loses_one_job_of_four_and_the_same_command_finishes_it(workplace: Workplace) -> None:
    need("submitit")
    process = workplace.start(*FOUR, *SUBMITIT)
    workplace.wait_until(lambda: workplace.num_lines() >= 2, process)
    victim = running_job(workplace)
    os.kill(victim["pid"], signal.SIGKILL)
    assert process.wait() == 1
    assert workplace.statuses() == {"finished": 3, "failed": 1}
    (failed,) = [job for job in workplace.sweep()["jobs"] if job["status"] == "failed"]
    assert failed["number"] == victim["number"]
    assert "its process died" in failed["error"]
    states = sorted(state for (state,) in workplace.query("SELECT status FROM runs"))
    assert states == ["FAILED", "FINISHED", "FINISHED", "FINISHED", "KILLED"]
    workplace.run(*FOUR, *SUBMITIT)
    # The job may have been killed before its first checkpoint.
    assert workplace.statuses() in ({"skipped": 3, "resumed": 1}, {"skipped": 3, "finished": 1})
    assert set(workplace.labelled().values()) == {1}
    assert "job 0 skipped" in workplace.log.read_text()


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_job_that_runs_out_of_time_is_resumed_and_ctrl_c_ends_the_sweep(workplace: Workplace) -> None:
    need("submitit")
    sweep = ["seed=0,1", "window.learn=6", *SUBMITIT, "hydra.launcher.array_parallelism=1"]
    process = workplace.start(*sweep)
    workplace.wait_until(lambda: workplace.num_lines() >= 2, process)
    job = running_job(workplace)
    os.kill(job["pid"], signal.SIGUSR2)  # Slurm's signal before a job's time is over
    workplace.wait_until(
        lambda: read(workplace.outputs / "runs" / Path(job["run"]).name / "run.json")["status"] == "killed", process
    )
    workplace.wait_until(lambda: workplace.statuses()["resumed"] == 1, process)
    workplace.wait_until(lambda: workplace.num_lines() >= 9, process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(60) != 0
    assert "Traceback" not in workplace.log.read_text()
    assert workplace.sweep()["status"] == "killed"
    assert workplace.statuses() == {"resumed": 1, "not_run": 1}
    assert {read(run)["status"] for run in workplace.outputs.glob("runs/*/run.json")} == {"finished", "killed"}
    assert ("RUNNING",) not in workplace.query("SELECT status FROM runs")
    assert not processes(workplace)
    workplace.run(*sweep)
    assert workplace.statuses() == {"skipped": 1, "resumed": 1}


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ray_runs_three_jobs_of_which_one_fails(workplace: Workplace) -> None:
    need("ray")
    (workplace.folder / "failing.py").write_text(FAILING)
    (workplace.folder / "conf" / "replay").mkdir()
    (workplace.folder / "conf" / "replay" / "broken.yaml").write_text("_target_: failing.Broken\ncapacity: 6\n")
    sweep = ["replay=fifo,broken,uniform", "allow_targets=[failing,counting]", *RAY]
    workplace.run(*sweep, code=1)
    assert [job["status"] for job in workplace.sweep()["jobs"]] == ["finished", "failed", "finished"]
    assert "deliberately" in workplace.sweep()["jobs"][1]["error"]
    assert set(workplace.labelled().values()) == {1}
    process = workplace.start(*sweep, "window.learn=6", "seed=1,2")
    workplace.wait_until(lambda: workplace.num_lines() >= 16, process)
    os.killpg(process.pid, signal.SIGINT)
    assert process.wait(90) != 0
    assert {read(run)["status"] for run in workplace.outputs.glob("runs/*/run.json")} <= {
        "finished",
        "killed",
        "failed",
    }
    deadline = time.monotonic() + 20
    while processes(workplace) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not processes(workplace)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_ray_runs_jobs_on_the_nodes_of_a_cluster_at_the_same_time(
    workplace: Workplace, ray_cluster: tuple[str, Path]
) -> None:
    address, nodes = ray_cluster
    sweep = ["seed=0,1,2,3", "hydra/launcher=ray", f"hydra.launcher.address={address}"]
    (workplace.folder / "noting.py").write_text(NOTING)
    (workplace.folder / "conf" / "replay").mkdir()
    (workplace.folder / "conf" / "replay" / "noting.yaml").write_text(
        f"_target_: noting.Noting\ncapacity: 6\nnotes: {nodes}\n"
    )
    workplace.run(*sweep, "replay=noting", "allow_targets=[noting,counting]")
    assert workplace.statuses() == {"finished": 4}
    assert set(workplace.labelled().values()) == {1}
    notes = [read(path) for path in nodes.glob("*.json")]
    assert len({note["node"] for note in notes}) == 2  # each has one core, and so one job at a time
    assert len(notes) == 4


@pytest.fixture
def ray_cluster(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """Provide the address of a Ray cluster of two nodes of one core each, and a folder for notes."""
    need("ray")
    with subprocess.Popen([sys.executable, "-c", CLUSTER], stdin=PIPE, stdout=PIPE, text=True) as head:
        assert head.stdin is not None
        assert head.stdout is not None
        address = next(line for line in head.stdout if ":" in line).strip()
        (tmp_path / "nodes").mkdir()
        yield address, tmp_path / "nodes"
        head.stdin.close()
        head.wait(60)


# --- jobs that die before they report anything


@pytest.fixture
def no_workers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make each of joblib's processes end as it starts, as on a broken machine; return the file that does it."""
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(NO_WORKERS)
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")])))
    return folder / "sitecustomize.py"


@contextlib.contextmanager
def launching(outputs: Path, *overrides: str) -> Iterator[tuple[Any, SweepPlan]]:
    """Provide a launcher as a sweeper sets it up, and its plan."""
    from hydra import initialize_config_dir
    from hydra._internal.callbacks import Callbacks
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import HydraContext, RunMode

    from hydra_plugins.odkd_plugins.grid_sweeper import start_launcher

    with initialize_config_dir(str(CONF), version_base="1.3"):
        running = GlobalHydra.instance().hydra
        assert running is not None
        words = [*TINY, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", f"paths.outputs={outputs}", *overrides]
        cfg = running.config_loader.load_configuration("config", words, RunMode.MULTIRUN)
        plan = plan_sweep(cfg, "seed", ["seed=0,1"], ["seed"], "odkd -m seed=0,1")
        context = HydraContext(running.config_loader, Callbacks())
        yield start_launcher(context, SweepJob(len, plan, tracking_of), cfg, plan.folder), plan


@pytest.mark.usefixtures("no_workers")
def test_a_job_whose_process_ends_at_start_has_failed_under_its_own_number(tmp_path: Path) -> None:
    with launching(tmp_path / "outputs") as (launcher, plan):
        returns = launcher.launch([["seed=5", "sweep.job=7"], ["seed=6", "sweep.job=3"]], initial_job_idx=3)
    assert [returned.status.name for returned in returns] == ["FAILED"] * 2
    reported = {path.stem: read(path) for path in (plan.folder / "jobs").iterdir()}
    assert {name: (job["status"], job["overrides"]) for name, job in reported.items()} == {
        "7": ("failed", ["seed=5"]),
        "3": ("failed", ["seed=6"]),
    }
    assert reported["7"]["error"] == "it could not begin: RuntimeError: the job's process died by EXIT(3)"
    stub = plan.failed_folder(7)
    assert read(stub / "run.json")["status"] == "failed"
    assert "TerminatedWorkerError" in (stub / "error.txt").read_text()
    assert "TerminatedWorkerError" in (stub / "run.log").read_text()


@pytest.mark.usefixtures("no_workers")
def test_fail_fast_counts_a_job_whose_process_ends_at_start(tmp_path: Path) -> None:
    with (
        launching(tmp_path / "outputs", "sweep.fail_fast=true", "hydra.launcher.n_jobs=1") as (launcher, plan),
        Sweep(plan) as sweep,
    ):
        sweep.add([["seed=0"], ["seed=1"]])
        launcher.launch([["seed=0"], ["seed=1"]], initial_job_idx=0)
    assert [job["status"] for job in sweep.jobs] == ["failed", "not_run"]
    assert "sweep.fail_fast=true, and job 0 failed" in sweep.jobs[1]["error"]


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_mlflow_shows_a_job_that_could_not_begin_until_it_runs(workplace: Workplace, no_workers: Path) -> None:
    sweep = ["seed=0", *FOUR_AT_A_TIME]
    workplace.run(*sweep, code=1)
    assert "it could not begin" in workplace.sweep()["jobs"][0]["error"]
    alive = "SELECT name, status FROM runs WHERE lifecycle_stage = 'active'"
    assert {status for _, status in workplace.query(alive)} == {"FAILED"}
    assert len(workplace.query(alive)) == 2
    no_workers.unlink()
    workplace.run(*sweep)
    assert [status for _, status in workplace.query(alive)] == ["FINISHED"] * 2
    assert not list(workplace.outputs.glob("sweeps/*/failed/*"))


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_fail_fast_counts_a_killed_job(workplace: Workplace) -> None:
    (workplace.folder / "dying.py").write_text(DYING)
    (workplace.folder / "conf" / "replay").mkdir()
    (workplace.folder / "conf" / "replay" / "dying.yaml").write_text("_target_: dying.Dying\ncapacity: 6\n")
    sweep = ["replay=dying,fifo", "allow_targets=[dying,counting]", "sweep.fail_fast=true"]
    workplace.run(*sweep, "hydra/launcher=joblib", "hydra.launcher.n_jobs=1", code=1)
    jobs = workplace.sweep()["jobs"]
    assert [job["status"] for job in jobs] == ["failed", "not_run"]
    assert "its process died" in jobs[0]["error"]
    assert "sweep.fail_fast=true, and job 0 failed" in jobs[1]["error"]
    assert read(workplace.outputs / jobs[0]["run"] / "run.json")["status"] == "killed"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_failing_setup_line_is_reported_for_each_job(workplace: Workplace) -> None:
    need("submitit")
    workplace.run("seed=0,1", *SUBMITIT, "+hydra.launcher.setup=['exit 3']", "tracking=none", code=1)
    assert workplace.statuses() == {"failed": 2}
    for job in workplace.sweep()["jobs"]:
        assert "it could not begin: RuntimeError: the job's process died; its log" in job["error"]


SLURM = {
    "cluster": "slurm",
    "array_parallelism": 3,
    "timeout_min": 60,
    "signal_delay_s": 90,
    "max_num_timeout": 5,
    "cpus_per_task": 4,
    "gpus_per_node": 1,
    "mem_gb": 1.5,
    "setup": ["module load cuda"],
    "sbatch": {"partition": "gpu", "account": None, "gres": "lustre:1"},
}


def test_slurm_gets_the_users_settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    need("submitit")
    from omegaconf import OmegaConf

    from hydra_plugins.odkd_plugins.submitit_launcher import SubmititLauncher

    for name in ("sbatch", "srun"):  # looked up, never called
        (tmp_path / name).touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    launcher = SubmititLauncher(**SLURM)
    launcher.config = OmegaConf.create({"hydra": {"sweep": {"dir": str(tmp_path / "sweeps" / "seed-0")}}})
    workers = launcher.workers(2)
    text = workers.executor._make_submission_file_text("python", "0")
    wanted = {"time=60", "partition=gpu", "gres=lustre:1", "cpus-per-task=4", "gpus-per-node=1", "mem=1536MB"}
    wanted |= {"requeue", "signal=USR2@90", "job-name=seed-0"}
    assert wanted <= {line.removeprefix("#SBATCH --") for line in text.splitlines()}
    assert "--account" not in text
    assert "srun" in text
    assert text.splitlines().index("module load cuda") < text.splitlines().index("export SUBMITIT_EXECUTOR=slurm")


@pytest.mark.parametrize(
    ("changed", "message"),
    [({"cpus_per_task": 0}, "hydra.launcher.cpus_per_task=0; expected"), ({}, "there is no sbatch here")],
)
def test_wrong_settings_of_slurm_are_refused_at_once(
    changed: dict[str, Any], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    need("submitit")
    from hydra_plugins.odkd_plugins.submitit_launcher import SubmititLauncher

    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Exception, match=message):
        SubmititLauncher(**(SLURM | changed))
