"""The saved view of an experiment: the columns and charts with which MLflow's page of runs opens.

MLflow keeps a saved view in a tag of the experiment. Its pages list it under "Views", and open it without a click if
the address names it (`page_of`). The form of the tag is not documented; tests compare it with the installed pages.
"""

from __future__ import annotations

import base64
import json
import logging
import zlib
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from odkd.common.metric_names import BEST, MEAN, SUMMARY
from odkd.runs.mlflow_client import without_password

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

logger = logging.getLogger(__name__)
VIEW, TITLE = "odkd", "odkd: scores and curves"
VIEW_TAG = f"mlflow.sharedViewState.{VIEW}"
VERSION_TAG = "odkd.view"  # which form of the view was written: one that a user deleted or changed stays so
VERSION = 1  # raise it with every change of the view
KIND_TAG, KIND = "mlflow.experimentKind", "custom_model_development"  # pages for training, not for language models

MAIN = f"{SUMMARY}total/miou"
SCORES = (MAIN, f"{SUMMARY}final/miou", f"{SUMMARY}{BEST}total/miou", f"{SUMMARY}{MEAN}total/miou")
METHOD = ("replay", "seed")
PARAMS = ("regularizer", "window.learn", "student.name", "teacher.name", "dataset.name", "stage.name")
CURVES = ("test/miou", "final/val/miou")
BARS = SCORES[:2]
OVERLAY = "overlay"  # name of the series of images
SECTION = "odkd"  # id of the section with our charts; MLflow appends a section for each group of other metrics
OF_OLD_PAGES: dict[str, Any] = {
    **{"runsExpanded": {}, "runsPinned": [], "runsHidden": [], "runsVisibilityMap": {}, "groupBy": None},
    **{"groupsExpanded": {}, "viewMaximized": False, "runListHidden": False, "autoRefreshEnabled": True},
    **{"useGroupedValuesInCharts": True, "hideEmptyCharts": True, "chartsSearchFilter": ""},
}


def page_of(uri: str, experiment_id: str) -> str:
    """Return the address of an experiment's page of runs that opens with the saved view and its charts.

    >>> page_of("http://127.0.0.1:5000/", "1").partition("?")[0]
    'http://127.0.0.1:5000/#/experiments/1/runs'
    """
    asked = {"workflowType": "machine_learning", "compareRunsMode": "CHART", "viewStateShareKey": VIEW}
    return f"{without_password(uri).rstrip('/')}/#/experiments/{experiment_id}/runs?{urlencode(asked)}"


def write_view(client: MlflowClient, experiment: Experiment, uri: str) -> None:
    """Give an experiment the saved view if it never had it; a server that refuses is only logged."""
    if int(experiment.tags.get(VERSION_TAG, 0)) >= VERSION:
        return
    tags = {KIND_TAG: KIND, VIEW_TAG: saved_view(int(experiment.creation_time or 0)), VERSION_TAG: str(VERSION)}
    try:
        for key, value in tags.items():  # equal for every process, so two at once do no harm
            if key != KIND_TAG or key not in experiment.tags:
                client.set_experiment_tag(experiment.experiment_id, key, value)
    except Exception as error:  # a view is a convenience, and its tag may need more rights than a run
        reason = str(error).strip().partition("\n")[0] or repr(error)
        place = without_password(uri)
        logger.info("MLflow at %s: no saved view in the experiment %s: %s", place, experiment.name, reason)


def saved_view(created_milliseconds: int) -> str:
    """Return the value of the tag.

    MLflow 3.17 reads `name`, `createdAt` and the compressed `state`. MLflow 2.16 to 3.6 read the keys of the state
    itself, and have no defaults for missing ones.
    """
    state = view_state()
    packed = base64.b64encode(zlib.compress(_compact(state).encode(), 9)).decode()
    times = {"createdAt": created_milliseconds, "updatedAt": created_milliseconds}
    return _compact({"name": TITLE, **times, "state": f"deflate;{packed}", **OF_OLD_PAGES, **state})


def view_state() -> dict[str, Any]:
    """Return the state of MLflow's page: order and columns of the list of runs, and its charts.

    The list is sorted by score. Sorted by date it would be a tree, where the runs of a sweep are hidden, and so are
    their curves.
    """
    return {
        "orderByKey": column("metrics", MAIN),
        "orderByAsc": False,
        **_columns(),
        "runsHiddenMode": "FIRST_20_RUNS",
        "isAccordionReordered": True,  # our section stays before the others, which are in alphabetical order
        "globalLineChartConfig": {"xAxisKey": "step", "lineSmoothness": 0, "selectedXAxisMetricKey": ""},
        "compareRunSections": [_section()],
        "compareRunCharts": list(_charts()),
    }


def column(kind: str, key: str) -> str:
    """Return MLflow's name of a column.

    >>> column("params", "seed")
    'params.`seed`'
    """
    return f"{kind}.`{key}`"


def _columns() -> dict[str, Any]:
    """Return the columns in their order: method and seed, scores, further settings; a width is in pixels."""
    widths = {column("params", key): 100 for key in METHOD}
    widths |= {column("metrics", key): 170 for key in SCORES}
    widths |= {column("params", key): 110 for key in PARAMS}
    return {"selectedColumns": list(widths), "columnOrder": list(widths), "columnWidths": widths}


def _section() -> dict[str, Any]:
    return {"uuid": SECTION, "name": "Scores", "display": True, "isReordered": True, "columns": 2, "cardHeight": 300}


def _charts() -> Iterable[dict[str, Any]]:
    """Yield the charts; MLflow shows those for which there is data."""
    axes = {"selectedParams": list(METHOD), "selectedMetrics": [MAIN]}
    yield _chart("LINE", CURVES[0], metricKey=CURVES[0], lineSmoothness=0, displayName=CURVES[0])
    yield _chart("PARALLEL", "methods", **axes, showAllRuns=False)
    yield _chart("BAR", BARS[0], metricKey=BARS[0])
    yield _chart("IMAGE", OVERLAY, imageKeys=[OVERLAY], step=0, showRunParams=False)
    yield _chart("LINE", CURVES[1], metricKey=CURVES[1], lineSmoothness=0, displayName=CURVES[1])
    yield _chart("BAR", BARS[1], metricKey=BARS[1])


def _chart(kind: str, name: str, **settings: Any) -> dict[str, Any]:
    place = {"uuid": f"odkd-{name}", "metricSectionId": SECTION, "runsCountToCompare": 20}
    return {"type": kind, **place, "deleted": False, "isGenerated": False, **settings}


def _compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
