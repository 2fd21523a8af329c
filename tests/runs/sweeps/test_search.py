"""Searches with Optuna: overrides that define a space, a study that is continued, pruned trials, kills."""

import contextlib
import json
import logging
import re
import shutil
import signal
import sqlite3
import sys
import warnings
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from extras import need
from hydra.errors import HydraException
from sweep_command import Workplace, kill_all
from tiny_settings import TINY

from odkd.__main__ import main
from odkd.common.reading import DamagedFileError
from odkd.config.known import CONF
from odkd.runs.outcome import RunPruned
from odkd.runs.records import write_record_of
from odkd.runs.run import OpenRun
from odkd.runs.sweeps.search import Choice, Range, Search, open_storage
from odkd.runs.sweeps.trials import Study

optuna = need("optuna")
NO_PRUNING = {"sampler": "tpe", "sampler_options": {}, "pruner": "none", "pruner_options": {}}
HOW = NO_PRUNING | {"seed": 0, "seeds": (), "metric": None, "report_every": 1}
SPACE = {"lr": Range(1e-6, 1e-1, log=True), "replay": Choice(("fifo", "uniform")), "n": Range(1, 9, step=2)}


def search(folder: Path, **changed: Any) -> Search:
    folder.mkdir(exist_ok=True)
    return Search(folder, **{"direction": "maximize"} | HOW | changed)


def finished(value: float, status: str = "finished") -> list[dict[str, Any]]:
    return [{"status": status, "value": value, "run": "runs/x", "seconds": 1.0, "metric": "total/miou"}]


def value_of(params: dict[str, str]) -> float:
    return (params["replay"] == "fifo") - abs(float(params["lr"]) - 1e-3)


def prune(plan: Search, number: int, scores: list[float | None]) -> list[str | None]:
    """Return a new pruner's decisions on the lines of a run, one every 10 positions, up to a reason to end it."""
    found = plan.pruner_of(number)
    assert found is not None
    reasons: list[str | None] = []
    for position, score in enumerate(scores):
        reasons.append(found({"position": 10 * position, "metrics": {"test/miou": score}}))
        if reasons[-1] is not None:
            break
    return reasons


# --- the study


def test_a_search_finds_the_better_choice_and_the_important_parameter(tmp_path: Path) -> None:
    study = Study(search(tmp_path, sampler_options={"n_startup_trials": 5}), SPACE)
    while begun := study.begin(12, 1):
        assert study.tell(begun[0], finished(value_of(begun[0].params)))
    result = study.result()
    assert result["best"]["params"]["replay"] == "fifo"
    assert result["best"]["value"] > 0.98
    assert min(result["importance"], key=result["importance"].get) == "n"  # it has no effect on the value
    assert sum(result["importance"].values()) == pytest.approx(1, abs=1e-3)
    study.write_history()
    lines = [json.loads(line)["metrics"] for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 12
    assert lines[-1]["best/total/miou"] == max(line["trial/total/miou"] for line in lines) == result["best"]["value"]


def test_an_interrupted_search_suggests_the_same_as_an_undisturbed_one(tmp_path: Path) -> None:
    def go(folder: str, is_disturbed: bool) -> list[dict[str, str]]:
        study, suggested = Study(search(tmp_path / folder, sampler_options={"n_startup_trials": 3}), SPACE), {}
        while begun := study.begin(6, 2):
            suggested |= {trial.number: trial.params for trial in begun}
            if is_disturbed and begun[0].number in (2, 4):  # the process and its jobs die; another process continues
                study = Study(study.search, SPACE)
                assert [trial for trial, done in study.earlier() if done is None] == begun
                assert study.begin(6, 2) == begun
            assert not study.tell(begun[0], finished(0.0, "failed"))
            for trial in begun:
                study.tell(trial, finished(value_of(trial.params)))
        assert sorted(suggested) == list(range(6))
        return [suggested[number] for number in range(6)]

    assert go("killed", is_disturbed=True) == go("undisturbed", is_disturbed=False)


def test_a_search_killed_between_two_results_of_a_batch_suggests_the_same_as_an_undisturbed_one(tmp_path: Path) -> None:
    def go(folder: str, is_killed: bool) -> list[dict[str, str]]:
        study, suggested = Study(search(tmp_path / folder, sampler_options={"n_startup_trials": 3}), SPACE), {}
        while begun := study.begin(10, 2):
            suggested |= {trial.number: trial.params for trial in begun}
            for trial in begun:
                study.tell(trial, finished(value_of(trial.params)))
                if is_killed and trial.number == 4:  # the result of trial 5 is lost
                    study = Study(study.search, SPACE)
                    break
        return [suggested[number] for number in range(10)]

    assert go("killed", is_killed=True) == go("undisturbed", is_killed=False)


def test_more_trials_can_be_requested_later_and_failed_trials_run_again(tmp_path: Path) -> None:
    study = Study(search(tmp_path), SPACE)
    first, second = study.begin(2, 5)
    study.tell(first, finished(0.5))
    study.tell(second, finished(0.5, "failed"))
    assert study.begin(2, 5) == []
    study = Study(search(tmp_path), SPACE)
    assert study.begin(3, 5) == [second]
    study.tell(second, finished(0.5, "failed"))
    assert [trial.number for trial in study.begin(3, 5)] == [2], "a process runs each trial once"
    study = Study(search(tmp_path), SPACE)
    assert [done is not None for _, done in study.earlier()] == [True, False, False]
    assert [trial.number for trial in study.begin(3, 5)] == [1, 2]


def test_a_value_is_the_mean_over_seeds(tmp_path: Path) -> None:
    study = Study(search(tmp_path, seeds=(0, 1)), SPACE)
    (trial,) = study.begin(1, 1)
    assert not study.tell(trial, finished(0.25) + finished(0.5, "not_run"))
    assert study.tell(trial, finished(0.25) + finished(0.5))
    assert study.result()["best"]["value"] == 0.375
    with pytest.raises(ValueError, match="cannot be pruned"):
        search(tmp_path, seeds=(0, 1), pruner="median")


@pytest.fixture(scope="module")
def continued(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a search with a finished trial, a pruned one, and one that was cut off."""
    folder: Path = tmp_path_factory.mktemp("outputs") / "sweeps" / "s"
    folder.parent.mkdir()
    study = Study(search(folder), SPACE)
    for trial, status in zip(study.begin(3, 3), ("finished", "pruned", "failed"), strict=True):
        study.tell(trial, finished(0.5, status))
    return folder


def jobs_with(**changes: Any) -> str:
    text = json.dumps([finished(0.5)[0] | changes]).replace("'", "''")
    return f"update trial_user_attributes set value_json='{text}' where trial_id=1"


DISTRIBUTION = "update trial_params set distribution_json='{}' where param_name='replay' and trial_id=3"
OTHER_CHOICES = '{"name": "CategoricalDistribution", "attributes": {"choices": ["a", "b"]}}'
DAMAGES: dict[str, tuple[str | bytes, str]] = {
    "other file": (b"this is no database" * 100, "file is not a database"),
    "empty": (b"", "Record does not exist"),
    "name": ("update studies set study_name='x'", "Record does not exist"),
    "direction": ("update study_directions set direction='MINIMIZE'", "its direction is not maximize"),
    "trial gone": ("delete from trials where trial_id=1", "trials are missing"),
    "number": ("update trials set number=10 where trial_id=3", "trials are missing"),
    "no value": ("delete from trial_values", "trial 0"),
    "no end": ("update trials set datetime_complete=null where trial_id=1", "trial 0 has no value, or no end"),
    "no jobs": ("delete from trial_user_attributes", "the jobs of trial 0"),
    "no json": ("update trial_user_attributes set value_json='{'", ""),
    "two jobs": ("update trial_user_attributes set value_json='[{},{}]'", "trial 0 has 2 jobs, and the search 1"),
    "status": (jobs_with(status="failed"), "status=failed"),
    "run": (jobs_with(run="../../../../etc"), "lies outside"),
    "metric": (jobs_with(metric="m\u001b[31m"), "is no name of a score"),
    "value": (jobs_with(value="0.5"), "value='0.5'"),
    "nan": (jobs_with(value=float("nan")), "value=nan"),
    "missing": (jobs_with(value=None), "value=None"),
    "out of range": ("update trial_params set param_value=1e9 where param_name='lr' and trial_id=3", "lr=10000000"),
    "off step": (
        "update trial_params set param_value=2 where param_name='n' and trial_id=3",
        "n=2 is not in its range",
    ),
    "no choice": ("update trial_params set param_value=7 where param_name='replay' and trial_id=3", ""),
    "key": ("update trial_params set param_name='allow_targets' where param_name='n'", "'allow_targets'"),
    "choices": (DISTRIBUTION.format(OTHER_CHOICES), "does not support dynamic value space"),
    "distribution": (DISTRIBUTION.format('{"name": "os.system"}'), ""),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_study_that_is_damaged_or_of_somebody_else_is_one_line(damage: str, continued: Path, tmp_path: Path) -> None:
    change, told = DAMAGES[damage]
    folder = tmp_path / "outputs" / "sweeps" / "s"
    shutil.copytree(continued, folder)
    path = folder / "study.db"
    if isinstance(change, bytes):
        path.write_bytes(change)
    else:
        with contextlib.closing(sqlite3.connect(path)) as database:
            database.execute(change)
            database.commit()
    with pytest.raises(DamagedFileError) as found:
        Study(search(folder), SPACE)
    (line,) = str(found.value).splitlines()
    assert line.startswith(f"{path} is damaged, or that of another search")
    assert told in line
    assert f"move {folder} away" in line


def test_a_sound_study_goes_on_with_what_it_holds(continued: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweeps" / "s"
    shutil.copytree(continued, folder)
    with contextlib.closing(sqlite3.connect(folder / "study.db")) as database:
        database.execute(jobs_with(overrides=["allow_targets=[os]"], number=7))
        database.commit()
    study = Study(search(folder), SPACE)
    (first, jobs), (_, pruned), (third, none) = study.earlier()
    assert (jobs, none) == (finished(0.5), None)
    assert pruned == finished(0.5, "pruned")
    assert first.number == 0
    assert study.begin(3, 3) == [third]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"sampler": "annealing"}, "expected one of tpe"),
        ({"pruner": "mean"}, "expected one of none, median"),
        ({"direction": "up"}, "expected one of maximize"),
        ({"report_every": 0}, "expected at least 1"),
        ({"sampler_options": {"startup": 3}}, "sampler=tpe with sampler_options"),
    ],
)
def test_invalid_settings_are_refused(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        search(tmp_path, **changed).make_sampler(0)


def test_running_scores_are_compared_at_the_same_position(tmp_path: Path) -> None:
    plan = search(tmp_path, pruner="median", pruner_options={"n_startup_trials": 1})
    study = Study(plan, SPACE)
    good, bad = study.begin(2, 2)

    assert prune(plan, good.number, [0.5, None, 0.7]) == [None, None, None]
    study.tell(good, finished(0.6))
    assert prune(plan, bad.number, [0.9, 0.1, 0.1]) == [None, None, None]  # its best score so far was good
    (worse,) = study.begin(3, 1)
    assert prune(plan, worse.number, [0.6, 0.1]) == [None, None]
    assert prune(plan, worse.number, [0.6, 0.1, 0.2, 0.0]) == [None] * 4  # another process resumes the run
    stored = optuna.load_study(study_name=tmp_path.name, storage=open_storage(tmp_path / "study.db")).trials
    assert stored[0].intermediate_values == {0: 0.5, 20: 0.6}
    assert stored[2].intermediate_values == {0: 0.6, 10: 0.35, 20: 0.3, 30: pytest.approx(0.225)}
    (last,) = study.begin(4, 1)
    assert prune(plan, last.number, [0.1]) == ["pruned at position 0 by the median pruner: test/miou 0.1000 so far"]
    study.tell(last, finished(0.0, "pruned"))
    assert study.result()["best"]["trial"] == good.number


@pytest.mark.parametrize(
    ("pruner", "options"),
    [
        ("median", {"n_startup_trials": 1, "n_warmup_steps": 15}),
        pytest.param("halving", {"min_resource": 10, "reduction_factor": 2}, marks=pytest.mark.slow),
        pytest.param("threshold", {"lower": 0.4}, marks=pytest.mark.slow),
    ],
)
def test_a_resumed_run_is_pruned_at_the_same_position_as_an_undisturbed_one(
    tmp_path: Path, pruner: str, options: dict[str, Any]
) -> None:
    scores: list[float | None] = [0.9, 0.2, 0.1, 0.1] if pruner == "threshold" else [0.3, 0.2, 0.1, 0.1]

    def go(folder: str, shown: list[int]) -> list[str | None]:
        plan = search(tmp_path / folder, pruner=pruner, pruner_options=options)
        study = Study(plan, SPACE)
        good, second = study.begin(2, 2)
        prune(plan, good.number, [0.5, 0.6, 0.7, 0.8])
        study.tell(good, finished(0.7))
        return [prune(plan, second.number, scores[:number]) for number in shown][-1]

    expected = go("undisturbed", [4])
    end = next(number for number, reason in enumerate(expected) if reason is not None)
    assert f"pruned at position {10 * end} by the {pruner} pruner" in str(expected[end])
    assert end > 0
    # The numbers of lines that one process after another passes to the pruner; the last one ends the run.
    for shown in ([1, 4], [end + 1, 4], [1, end, end + 1, 4]):
        assert go(f"disturbed{shown}", shown) == expected


def test_a_pruned_run_ends_with_all_its_lines_published(tmp_path: Path) -> None:
    def lines(*scores: float) -> list[tuple[dict[str, Any], dict[str, Any]]]:
        return [({"iteration": n, "metrics": {"m": s}}, {"iteration": n}) for n, s in enumerate(scores)]

    def pruner(record: Mapping[str, Any]) -> str | None:
        return "too low" if record["metrics"]["m"] < 0.5 else None

    def is_pruned(folder: Path, work: Callable[[OpenRun], Any]) -> None:
        with (
            pytest.raises(RunPruned, match="too low"),
            OpenRun(folder, {"key": "k"}, checkpoint_overhead=1e-9, pruner=pruner) as run,
        ):
            work(run.open({}, restart=False))
        said = json.loads((folder / "run.json").read_text())
        assert (said["status"], said["tags"]) == ("pruned", {"odkd.pruned": "too low"})
        assert len(run.records()) == 2

    def iterations(run: OpenRun) -> None:
        assert run.resume() is None
        for record, timing in lines(0.9, 0.1):
            run.record(record, timing)
            assert run.is_checkpoint_due()
            run.commit({"iteration": record["iteration"]})

    is_pruned(tmp_path / "online", iterations)
    is_pruned(tmp_path / "online", OpenRun.resume)
    is_pruned(tmp_path / "epochs", lambda run: run.publish(lines(0.9, 0.1)))
    with OpenRun(tmp_path / "online", {"key": "k", "tags": {}}, checkpoint_overhead=1e-9).open(
        {}, restart=False
    ) as alone:
        assert alone.resume() == {"iteration": 1}
        alone.finish({})
    said = json.loads((tmp_path / "online" / "run.json").read_text())
    assert (said["status"], said["tags"]) == ("finished", {})


# --- the overrides


def space_of(*words: str) -> tuple[dict[str, Any], list[str]]:
    from hydra import initialize_config_dir
    from hydra._internal.callbacks import Callbacks
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import HydraContext, RunMode

    from hydra_plugins.odkd_plugins.optuna_sweeper import OptunaSweeper

    named = [word for word in words if re.fullmatch(r"(sweep|experiment|stage)=[\w/]+", word)]
    with initialize_config_dir(str(CONF), version_base="1.3"):
        running = GlobalHydra.instance().hydra
        assert running is not None
        loader = running.config_loader
        cfg = loader.load_configuration("config", ["hydra/sweeper=optuna"][bool(named) :] + named, RunMode.MULTIRUN)
        sweeper = OptunaSweeper(**{key: value for key, value in cfg.hydra.sweeper.items() if key != "_target_"})
        sweeper.setup(hydra_context=HydraContext(loader, Callbacks()), task_function=len, config=cfg)
        space, fixed = sweeper.space([f"{key}={value}" for key, value in sweeper.params.items()] + list(words))
        sweeper.check(space, fixed)
    return space, fixed


@pytest.mark.parametrize(
    ("word", "dimension"),
    [
        ("optimizer.lr=tag(log,interval(1e-5,1e-2))", Range(1e-5, 1e-2, log=True)),
        ("optimizer.lr=interval(0,1)", Range(0.0, 1.0)),
        ("window.learn=int(interval(10,20))", Range(10, 20)),
        ("window.learn=range(20,100)", Range(20, 99, step=1)),
        ("window.learn=range(20,100,25)", Range(20, 95, step=25)),
        ("window.learn=tag(log,range(1,129))", Range(1, 128, step=1, log=True)),
        ("bank.memory_gib=range(0.5,2,0.5)", Range(0.5, 1.5, step=0.5)),
        ("replay=choice(fifo,uniform)", Choice(("fifo", "uniform"))),
        ("replay=fifo,uniform", Choice(("fifo", "uniform"))),
        ("replay=glob(f*)", Choice(("fifo", "first"))),
    ],
)
def test_overrides_define_the_search_space(word: str, dimension: Range | Choice) -> None:
    space, fixed = space_of(word, "seed=3")
    assert space == {word.partition("=")[0]: dimension}
    assert fixed == ["seed=3"]
    if isinstance(dimension, Range):
        assert type(next(iter(space.values())).low) is type(dimension.low)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["seed=3"], "nothing to search"),
        (["optimizer.lr=tag(log,interval(0,1))"], "LOW must be above 0"),
        (["optimizer.lr=interval(2,1)"], "expected LOW below HIGH"),
        (["window.learn=range(9,3)"], "empty"),
        (["replay=tag(log,choice(fifo,uniform))"], "log is for interval"),
        (["optimizer.lr=tag(x,interval(0,1))"], "the only tag"),
        (["replay=choice(fifo,nonsense)"], "nonsense"),
        (["optimizer.typo=interval(0,1)"], "typo"),
    ],
)
def test_mistakes_are_found_before_a_job_runs(words: list[str], message: str) -> None:
    with pytest.raises(HydraException, match=message):
        space_of(*words)


@pytest.mark.parametrize("path", sorted((CONF / "sweep").glob("optuna_*.yaml")), ids=lambda path: path.stem)
def test_the_example_sweeps_define_spaces(path: Path) -> None:
    more = ["experiment=mckd/synthetic", "stage=distill"] if "distill" in path.stem else []
    space, _ = space_of(f"sweep={path.stem}", *more)
    assert len(space) >= 3


# --- the command


@pytest.fixture
def odkd_m(tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Run `odkd -m` with Optuna, or `odkd`, in this process; return sweep.json."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(logging.root, "handlers", list(logging.root.handlers))
    monkeypatch.setattr(logging.root, "level", logging.root.level)

    def run(*overrides: str, flags: tuple[str, ...] = ("-m", "hydra/sweeper=optuna")) -> dict[str, Any]:
        common = [*TINY, f"paths.cache={cache}", "tracking=mlflow", "run.checkpoint_overhead=1e-9"]
        monkeypatch.setattr(sys, "argv", ["odkd", *flags, *common, *overrides])
        with warnings.catch_warnings():
            main()
        (path,) = Path("outputs").glob("sweeps/*/sweep.json")
        record: dict[str, Any] = json.loads(path.read_text())
        return record

    return run


def query(outputs: Path, sql: str) -> list[tuple[Any, ...]]:
    with contextlib.closing(sqlite3.connect(outputs / "mlflow.db")) as database:
        return database.execute(sql).fetchall()


@pytest.mark.slow
def test_a_continued_search_writes_its_earlier_trials_once(
    odkd_m: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[int] = []

    def count(path: Path, value: Any) -> None:
        written.extend([len(value["jobs"])] if path.name == "sweep.json" else [])
        write_record_of(path, value)

    monkeypatch.setattr("odkd.runs.sweeps.sweep.write_record_of", count)
    monkeypatch.setattr("odkd.runs.sweeps.sweep.GATHER_SECONDS", 60.0)
    asked = ["window.learn=range(-99,0)", "tracking=none"]  # each trial fails at once
    for num_trials in (2, 3):
        written.clear()
        with pytest.raises(SystemExit):
            odkd_m(*asked, f"hydra.sweeper.n_trials={num_trials}")
    assert written[0] == 2, "both jobs are listed before one runs again"


PRUNING = [
    "optimizer.lr=choice(1e-3,1e-12)",
    "hydra.sweeper.pruner=median",
    "hydra.sweeper.n_trials=2",
    "hydra.sweeper.pruner_options={n_startup_trials:1,n_warmup_steps:8}",
]


@pytest.mark.slow
def test_a_poor_trial_is_pruned_and_resumes_when_it_is_run_alone(
    odkd_m: Callable[..., Any], capfd: pytest.CaptureFixture[str]
) -> None:
    record = odkd_m(*PRUNING)
    shown = capfd.readouterr().out
    by_rate = {job["overrides"][-1]: job for job in record["jobs"]}
    good, bad = by_rate["optimizer.lr=0.001"], by_rate["optimizer.lr=1e-12"]
    assert record["status"] == "finished"
    assert bad["status"] == "pruned"
    assert "pruned" in shown
    assert record["search"]["best"]["params"] == {"optimizer.lr": "0.001"}
    assert record["search"]["best"]["value"] == good["value"]
    run = Path("outputs") / bad["run"]
    said = json.loads((run / "run.json").read_text())
    assert said["status"] == "pruned"
    assert "by the median pruner: test/miou" in said["tags"]["odkd.pruned"]
    assert "Traceback" not in (run / "run.log").read_text()
    assert not (run / "error.txt").exists()
    lines = (run / "metrics.jsonl").read_text()
    tags = "SELECT name, status, value FROM runs JOIN tags ON tags.run_uuid = runs.run_uuid WHERE tags.key = '{}'"
    assert query(Path("outputs"), tags.format("odkd.pruned")) == [
        ("optimizer.lr=1e-12", "KILLED", said["tags"]["odkd.pruned"])
    ]
    assert [row[2] for row in query(Path("outputs"), tags.format("odkd.best.optimizer.lr"))] == ["0.001"]

    odkd_m("optimizer.lr=1e-12", flags=())
    assert json.loads((run / "run.json").read_text())["status"] == "finished"
    assert (run / "metrics.jsonl").read_text().startswith(lines)
    assert len((run / "metrics.jsonl").read_text()) > len(lines)
    assert "resumed after iteration" in (run / "run.log").read_text()
    assert query(Path("outputs"), tags.format("odkd.pruned")) == [("optimizer.lr=1e-12", "FINISHED", "")]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_search_of_two_trials_at_a_time_that_is_killed_ends_with_the_requested_trials(tmp_path: Path) -> None:
    place = Workplace(tmp_path)
    asked = [
        "hydra/sweeper=optuna",
        "hydra/launcher=joblib",
        "hydra.launcher.n_jobs=2",
        "hydra.sweeper.n_trials=4",
        "optimizer.lr=tag(log,interval(1e-5,1e-2))",
        "window.learn=range(3,7)",
    ]

    def trials() -> list[Any]:
        (path,) = place.outputs.glob("sweeps/*/study.db")
        study = optuna.load_study(study_name=path.parent.name, storage=open_storage(path))
        return study.get_trials()

    known: dict[int, dict[str, Any]] = {}
    for wanted in (3, 12):
        process = place.start(*asked)
        place.wait_until(lambda wanted=wanted: place.num_lines() >= wanted, process)
        assert kill_all(process) == -signal.SIGKILL
        assert len({trial.number for trial in trials() if not trial.state.is_finished()}) in (1, 2)
        assert all(trial.params == known.get(trial.number, trial.params) for trial in trials())
        known |= {trial.number: trial.params for trial in trials()}
    record = place.run(*asked)
    assert Counter(trial.state.name for trial in trials()) == {"COMPLETE": 4}
    assert all(trial.params == known.get(trial.number, trial.params) for trial in trials())
    assert [job["number"] for job in record["jobs"]] == list(range(4))
    assert set(place.statuses()) <= {"finished", "skipped", "resumed"}
    check_mlflow_of_search(place, 4)
    place.run(*asked, "hydra.sweeper.n_trials=5")
    assert place.statuses() == {"skipped": 4, "finished": 1}
    check_mlflow_of_search(place, 5)


def check_mlflow_of_search(place: Workplace, num_trials: int) -> None:
    """Check for one parent run with the best values, one child run for each trial, and each step once."""
    record = place.sweep()
    runs = place.query("SELECT run_uuid, name, status FROM runs WHERE lifecycle_stage = 'active'")
    assert len(runs) == len({job["run"] for job in record["jobs"]}) + 1 == num_trials + 1
    assert {status for _, _, status in runs} == {"FINISHED"}
    (parent,) = [run for run, name, _ in runs if name == record["name"]]
    assert all("optimizer.lr=" in name for run, name, _ in runs if run != parent)
    steps = place.query("SELECT run_uuid, step FROM metrics WHERE key = 'test/miou'")
    assert len(steps) == len(set(steps)) == place.num_lines()
    best = place.query(f"SELECT value, step FROM metrics WHERE key = 'best/total/miou' AND run_uuid = '{parent}'")
    assert sorted(step for _, step in best) == list(range(num_trials))
    assert max(best, key=lambda row: row[1])[0] == max(job["value"] for job in record["jobs"])
