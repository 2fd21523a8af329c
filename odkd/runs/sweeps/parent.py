"""The files from which MLflow gets the parent run of a sweep: run.json and the table of jobs."""

import json
import time
from collections.abc import Mapping
from typing import Any

from odkd.common.dotted import split_override
from odkd.runs.sweeps.summary import description, scores, tally


def table_of_jobs(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return the jobs of a sweep as a table in MLflow's form: columns and rows."""
    keys = list(record["varying"])
    columns = ["job", *keys, "status", "seconds", record["metric"] or "value", "run", "error"]
    rows = []
    for job in record["jobs"]:
        given = dict(map(split_override, job["overrides"]))
        values = [job[key] for key in ("status", "seconds", "value", "run", "error")]
        rows.append([job["number"], *(given.get(key, "") for key in keys), *values])
    return {"columns": columns, "data": rows}


def parent_run(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return run.json of a sweep's folder; it makes the sweep a run in MLflow, the parent of its jobs' runs."""
    tags = {
        "odkd.kind": "sweep",
        "odkd.sweep_key": record["key"],
        "odkd.command": record["command"],
        "odkd.overrides": " ".join(record["overrides"]),
        "odkd.jobs": tally(record["jobs"]),
        "mlflow.note.content": description(record),
        "mlflow.loggedArtifacts": json.dumps([{"path": "jobs.json", "type": "table"}]),
        **search_tags(record),
    }
    state = {"status": record["status"], "created": record["created"], "updated": time.time()}
    name = {"key": record["key"], "name": record["name"], "title": record["name"]}
    return {**name, "stage": "sweep", "params": swept(record), "tags": tags, "summary": scores(record), **state}


def swept(record: Mapping[str, Any]) -> dict[str, str]:
    """Return the varying settings with their values, as the command gives them, else as the jobs have them.

    >>> jobs = [{"overrides": [f"seed={seed}", "replay=mir"]} for seed in (0, 1, 0)]
    >>> swept({"overrides": ["window.learn=20,67"], "varying": ["window.learn", "seed"], "jobs": jobs})
    {'window.learn': '20,67', 'seed': '0,1'}
    """
    asked = dict(map(split_override, record["overrides"]))
    given = [dict(map(split_override, job["overrides"])) for job in record["jobs"]]
    values = {key: ",".join(dict.fromkeys(job[key] for job in given if key in job)) for key in record["varying"]}
    return {key: text for key in record["varying"] if (text := asked.get(key) or values[key])}


def search_tags(record: Mapping[str, Any]) -> dict[str, str]:
    """Return tags with best value, run and parameters of a search and each parameter's importance; empty for a grid."""
    search = record.get("search") or {}
    best, importance = search.get("best"), search.get("importance", {})
    tags = {f"odkd.importance.{key}": str(share) for key, share in importance.items()}
    if best is not None:
        tags |= {"odkd.best_value": str(best["value"]), "odkd.best_run": " ".join(best["runs"])}
        tags |= {f"odkd.best.{key}": value for key, value in best["params"].items()}
    return tags
