"""The saved view that MLflow's page of runs opens with: the installed pages read its form, and it does no harm."""

import base64
import functools
import json
import re
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from fabricated_run import FabricatedRun, outputs_folder, runs_in, sync_run, uri_of

from odkd.runs.mlflow_client import mlflow_client
from odkd.runs.mlflow_view import KIND_TAG, VERSION_TAG, VIEW, VIEW_TAG, page_of, saved_view, view_state

CHECKED = (3, 17)  # the oldest MLflow whose pages the whole view is compared with
OLDEST_LIMIT = 5000  # characters that MLflow 2 accepts in a tag of an experiment


@functools.cache
def pages() -> str:
    """Return the scripts of the installed MLflow's pages as one text."""
    import mlflow

    if tuple(int(part) for part in mlflow.__version__.split(".")[:2]) < CHECKED:
        pytest.skip(f"the view is compared with the pages of MLflow {CHECKED} and newer")
    folder = Path(mlflow.__file__).parent / "server" / "js" / "build" / "static" / "js"
    if not folder.is_dir():
        pytest.skip("mlflow-skinny has no pages")
    return "\n".join(path.read_text() for path in sorted(folder.glob("*.js")))


def lists_with(first: str) -> list[list[str]]:
    """Return the lists of texts in the pages' scripts that begin with a text."""
    return [json.loads(found) for found in re.findall(rf'\["{first}"(?:,"\w+")*\]', pages())]


def fields_of_charts() -> dict[str, set[str]]:
    """Return the fields of each type of chart, from the classes in the pages' scripts."""
    drawn = r"class \w+ extends \w+\{constructor\(\.\.\.\w+\)\{super\(\.\.\.\w+\),this\.type=\w+\.(\w+)(.*?)\}\}"
    fields = {kind: set(re.findall(r"this\.(\w+)=", body)) for kind, body in re.findall(drawn, pages())}
    common = re.search(r"this\.uuid=void 0,this\.type=\w+\.BAR,(.*?)\}static serialize", pages())
    assert common is not None
    return {kind: own | {"uuid", "type"} | set(re.findall(r"this\.(\w+)=", common[1])) for kind, own in fields.items()}


@pytest.fixture
def outputs(tmp_path: Path, empty_database: Path) -> Path:
    return outputs_folder(tmp_path, empty_database)


def experiment_in(outputs: Path) -> Any:
    return mlflow_client(uri_of(outputs)).get_experiment_by_name("study")


def test_the_installed_pages_find_the_view_by_this_tag_and_this_address() -> None:
    assert f'"{VIEW_TAG.removesuffix(VIEW)}"' in pages()
    address = page_of("http://host:5000", "7")
    assert address.startswith("http://host:5000/#/experiments/7/runs?")
    for name in ("workflowType", "compareRunsMode", "viewStateShareKey"):
        assert f"{name}=" in address
        assert f'"{name}"' in pages()
    assert f'"{KIND_TAG}"' in pages()


def test_the_installed_pages_read_every_part_of_the_view() -> None:
    facets = max(lists_with("searchFilter"), key=len)
    parts, left_out = (max(lists_with(first), key=len) for first in ("selectedColumns", "runsExpanded"))
    assert set(view_state()) <= {*facets, *parts} - {*left_out}
    assert f'"{view_state()["runsHiddenMode"]}"' in pages()


def test_the_installed_pages_know_every_field_of_every_chart_and_section() -> None:
    known = fields_of_charts()
    for chart in view_state()["compareRunCharts"]:
        assert set(chart) <= known[chart["type"]], chart["uuid"]
    (section,) = view_state()["compareRunSections"]
    for field in section:
        assert re.search(rf"[.{{,]{field}\b", pages()), field


def test_the_installed_pages_accept_the_envelope_of_the_view() -> None:
    envelope = json.loads(saved_view(1))
    fields = {"name": "string", "createdAt": "number", "state": "string"}
    check = r"\|\|".join(rf'"{kind}"!==typeof \w+\.{field}' for field, kind in fields.items())
    assert re.search(check, pages())
    assert (type(envelope["name"]), type(envelope["createdAt"]), type(envelope["state"])) == (str, int, str)


def test_the_state_is_in_the_tag_twice_for_pages_of_today_and_of_before() -> None:
    value = saved_view(1790000000123)
    assert len(value) < OLDEST_LIMIT
    envelope = json.loads(value)
    packed = envelope["state"].removeprefix("deflate;")
    assert json.loads(zlib.decompress(base64.b64decode(packed))) == view_state()
    assert view_state().items() <= envelope.items()


def test_scores_seed_and_method_are_the_first_columns_and_test_miou_the_first_chart() -> None:
    state = view_state()
    assert state["columnOrder"][:3] == ["params.`replay`", "params.`seed`", "metrics.`summary/total/miou`"]
    assert state["compareRunCharts"][0]["metricKey"] == "test/miou"
    shown = json.dumps(state)
    assert "_target_" not in shown
    assert "stream/position" not in shown


def test_a_new_experiment_gets_the_view_once(outputs: Path) -> None:
    sync_run(FabricatedRun(outputs))
    experiment = experiment_in(outputs)
    assert experiment.tags[VIEW_TAG] == saved_view(experiment.creation_time)
    assert experiment.tags[KIND_TAG] == "custom_model_development"
    client = mlflow_client(uri_of(outputs))
    if not hasattr(client, "delete_experiment_tag"):
        pytest.skip("this MLflow cannot delete the tag of an experiment")
    client.delete_experiment_tag(experiment.experiment_id, VIEW_TAG)  # by its user, in MLflow
    sync_run(FabricatedRun(outputs, key="4567cdef"))
    assert VIEW_TAG not in experiment_in(outputs).tags
    assert len(runs_in(outputs)) == 2


def test_an_experiment_of_before_gets_the_view_with_its_next_run_and_keeps_its_kind(outputs: Path) -> None:
    client = mlflow_client(uri_of(outputs))
    number = client.create_experiment("study", (outputs / "mlartifacts").as_uri(), tags={KIND_TAG: "mine"})
    sync_run(FabricatedRun(outputs))
    tags = client.get_experiment(number).tags
    assert VIEW_TAG in tags
    assert tags[KIND_TAG] == "mine"


def test_a_server_that_refuses_the_tag_gets_the_run_all_the_same(
    outputs: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    def refuse(*_: Any) -> None:
        raise MlflowException("Permission denied\nask your administrator")

    monkeypatch.setattr(MlflowClient, "set_experiment_tag", refuse)
    run = FabricatedRun(outputs)
    run.publish(2)
    with caplog.at_level("INFO", "odkd"):
        assert sync_run(run) == 2
    (line,) = [record.getMessage() for record in caplog.records if "saved view" in record.getMessage()]
    assert line.endswith("no saved view in the experiment study: Permission denied")
    assert VERSION_TAG not in experiment_in(outputs).tags  # so the next run tries again


def test_two_runs_at_once_make_one_experiment_with_one_view(outputs: Path) -> None:
    runs = [FabricatedRun(outputs, key=key) for key in ("0123abcd", "4567cdef", "89ab0123")]
    for run in runs:
        run.publish(1)
    with ThreadPoolExecutor(len(runs)) as pool:
        assert list(pool.map(sync_run, runs)) == [1, 1, 1]
    assert len(runs_in(outputs)) == len(runs)
    assert experiment_in(outputs).tags[VERSION_TAG] == "1"
