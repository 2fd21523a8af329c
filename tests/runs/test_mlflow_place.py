"""Where MLflow is: what the settings and MLflow's own variables say, and addresses that are none."""

import json
import logging
from collections.abc import Callable
from pathlib import Path

import pytest
from typed_command import refusal

from odkd.commands.sync import main as sync_main
from odkd.config.compose import compose_config
from odkd.runs.mlflow_place import asked_uri, check_place, check_uri, place_of, tell_variables

NO_ADDRESS = {
    "127.0.0.1:5000": "write tracking.uri=http://127.0.0.1:5000",
    "localhost:5000": "write tracking.uri=http://localhost:5000",
    "mlflow.lab.org:80/x": "write tracking.uri=http://mlflow.lab.org:80/x",
    "mlflow.lab.org": "write tracking.uri=http://mlflow.lab.org",
    "5000": "write tracking.uri=http://127.0.0.1:5000",
    "http:/host": "write tracking.uri=http://host",
    "HTTP://host": "write tracking.uri=http://host",
    "http://": "expected http://HOST:PORT",
    "http://host:port": "names no server",
    "http://a b": "has spaces",
    "http://a\nb": "control characters",
    "htpp://host": "did you mean http?",
    "ftp://host": "MLflow knows no ftp://",
    "sqlite:x.db": "write tracking.uri=sqlite:///x.db",
    "sqlite:/x.db": "write tracking.uri=sqlite:////x.db",
    "sqlite://x.db": "write tracking.uri=sqlite:///x.db",
    "x.db": "write tracking.uri=sqlite:///x.db",
    "postgres://me:secret@host/x": "write tracking.uri=postgresql://host/x",
    "./mlruns": "MLflow takes no new runs in folders such as mlruns; write sqlite:///./mlruns/mlflow.db",
    "mlruns": "write sqlite:///mlruns/mlflow.db",
    "file:///a/mlruns": "write sqlite:////a/mlruns/mlflow.db",
}


@pytest.mark.parametrize("uri", NO_ADDRESS)
def test_an_address_that_is_none_is_one_line_with_what_to_write(uri: str) -> None:
    with pytest.raises(ValueError, match=r"^tracking\.uri=") as refused:
        check_uri("tracking.uri", uri)
    assert NO_ADDRESS[uri] in str(refused.value)
    assert "\n" not in str(refused.value)
    assert "secret" not in str(refused.value)


@pytest.mark.parametrize(
    "uri",
    [
        *(
            "http://host:5000",
            "https://me:secret@host/mlflow",
            "http://[::1]:5000",
            "sqlite:///x.db",
            "sqlite:////a b/x.db",
        ),
        *(
            "postgresql://h/x",
            "postgresql+psycopg2://u:p@h/x",
            "mysql+pymysql://h/x",
            "databricks",
            "databricks://profile",
        ),
    ],
)
def test_what_mlflow_takes_is_taken(uri: str) -> None:
    check_uri("tracking.uri", uri)


@pytest.mark.parametrize("words", [["tracking.uri=localhost:5000"], ["-m", "seed=0,1", "tracking.uri=mlruns"]])
def test_a_wrong_address_is_found_before_a_run_or_sweep_has_a_folder(tmp_path: Path, words: list[str]) -> None:
    assert "is no address" in refusal(tmp_path, *words[:1], "debug=smoke", *words[1:])
    assert not (tmp_path / "outputs").exists()


def test_a_wrong_variable_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "127.0.0.1:5000")
    message = refusal(tmp_path, "debug=smoke")
    assert (
        message == "MLFLOW_TRACKING_URI=127.0.0.1:5000 is no address; write MLFLOW_TRACKING_URI=http://127.0.0.1:5000"
    )


def test_a_name_that_no_experiment_can_have_is_one_line() -> None:
    cfg = compose_config([])
    for name in ("", " ", "x" * 300, "a\nb"):
        cfg.tracking.experiment = name
        with pytest.raises(ValueError, match="expected a name of 1 to 250 characters"):
            check_place(cfg)
    for name in ("a/b", "é 🎉", 2024):
        cfg.tracking.experiment = name
        check_place(cfg)


def test_mlflows_variables_count_where_a_setting_is_null(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    plain, given = compose_config([]), compose_config(["tracking.uri=http://mine", "tracking.experiment=2024"])
    tell_variables(plain)
    assert place_of(plain) == {"uri": f"sqlite:///{Path('outputs/mlflow.db').resolve()}", "experiment": "odkd"}
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:secret@lab:5000")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "/Users/me/streams")
    assert place_of(plain) == {"uri": "http://me:secret@lab:5000", "experiment": "/Users/me/streams"}
    assert place_of(given) == {"uri": "http://mine", "experiment": "2024"}
    tell_variables(given)
    assert not caplog.messages
    tell_variables(plain)
    assert caplog.messages == [
        "MLFLOW_TRACKING_URI is set: the run goes to MLflow at http://lab:5000",
        "MLFLOW_EXPERIMENT_NAME is set: the run goes to the experiment /Users/me/streams",
    ]


@pytest.mark.slow
def test_a_run_goes_where_the_variables_say_and_keeps_its_key(
    odkd: Callable[..., Path],
    tmp_path: Path,
    empty_database: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    words = ["stage=label", "run.overlay_video=false"]
    before = odkd(*words)
    (tmp_path / "lab.db").write_bytes(empty_database.read_bytes())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri := f"sqlite:///{tmp_path / 'lab.db'}")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "streams")
    caplog.set_level(logging.INFO)
    assert odkd(*words, "tracking=mlflow") == before
    note = json.loads((before / "mlflow.json").read_text())
    assert (note["tracking_uri"], note["experiment"]) == (uri, "streams")
    assert note["run_id"] is not None
    assert not (tmp_path / "mlflow.db").exists()
    assert any(message.startswith("MLFLOW_TRACKING_URI is set") for message in caplog.messages)


def test_tools_use_a_given_address_the_path_of_a_file_or_the_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert asked_uri("--uri", None) is None
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://lab")
    assert asked_uri("--uri", None) == "http://lab"
    assert asked_uri("--uri", "http://mine") == "http://mine"
    assert asked_uri("--uri", str(tmp_path / "x.db")) == f"sqlite:///{tmp_path / 'x.db'}"
    monkeypatch.setattr("sys.argv", ["odkd-sync", "--uri", "localhost:5000", str(tmp_path)])
    (tmp_path / "run.json").write_text("{}")
    with pytest.raises(SystemExit) as ending:
        sync_main()
    assert ending.value.code == 2
    assert (
        capsys.readouterr().err == "odkd-sync: --uri=localhost:5000 is no address; write --uri=http://localhost:5000\n"
    )
