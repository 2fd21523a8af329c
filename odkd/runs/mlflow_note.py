"""The description of a run on its page in MLflow, as Markdown: how it was made, and its scores."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from odkd.common.files import json_digest
from odkd.common.markdown import code, plain
from odkd.runs.results import command_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as MlflowRun

    from odkd.runs.results import Run

NOTE = "mlflow.note.content"
NOTE_DIGEST = "odkd.note_digest"  # of the description that odkd wrote last; a user's own words have another one
GROUPS = ("replay", "regularizer", "updates", "loss", "baseline")
SCORES = ("total/miou", "mean/miou", "last/miou", "plain/miou", "final/miou", "teacher/miou")
REFERENCES = {"": "teacher", "_groundtruth": "ground truth"}  # suffix of a score -> what predictions are compared with


def send_note(client: MlflowClient, run: Run, mlflow_run: MlflowRun, still: str | None = None) -> None:
    """Send the description if it has changed; one that a user has written in MLflow stays.

    Args:
        still: path of the artifact with an overlay, which the description shows.
    """
    from mlflow.entities import RunTag

    stored, run_id = mlflow_run.data.tags, mlflow_run.info.run_id
    address = None if still is None else urlencode({"path": still, "run_uuid": run_id})
    tags = note_tags(run, stored, None if address is None else f"get-artifact?{address}")
    new = [RunTag(key, value) for key, value in tags.items() if stored.get(key) != value]
    if new:
        client.log_batch(run_id, tags=new)


def note_tags(run: Run, stored: Mapping[str, str], picture: str | None = None) -> dict[str, str]:
    """Return the tags of the description; empty if a user has written another one in MLflow.

    Args:
        run: the run, or the parent run of a sweep, which brings its own description.
        stored: the tags in MLflow.
        picture: address of an overlay.
    """
    written = stored.get(NOTE)
    is_ours = stored.get(NOTE_DIGEST) == json_digest(written) if NOTE_DIGEST in stored else NOTE in run.tags
    if written and not is_ours:
        return {}
    own = run.tags.get(NOTE, "")
    note = "\n".join(map(plain, own.split("\n"))) or run_note(run, picture)
    return {NOTE: note, NOTE_DIGEST: json_digest(note)}


def run_note(run: Run, picture: str | None = None) -> str:
    """Return the description of a run: scores, settings and command, in few lines, because MLflow folds what follows.

    Args:
        run: the run; its scores are missing before its end.
        picture: address of an overlay.
    """
    lines = [plain(_scores(run)), plain(_settings(run)), plain(_method(run)), code(command_of(run))]
    if run.error:
        lines.insert(0, f"**{plain(run.status)}**: {plain(run.error)}")
    paragraphs = ["  \n".join(line for line in lines if line)]
    if picture is not None:
        paragraphs.append(f"![overlay: frame, labels, prediction, disagreement]({picture})")
    return "\n\n".join(paragraphs)


def _scores(run: Run) -> str:
    """Return the final scores against each reference, as text; "" if there are none yet."""
    parts = []
    for score in SCORES:
        values = {reference: run.summary.get(f"{score}{suffix}") for suffix, reference in REFERENCES.items()}
        known = [f"{value:.4f} {reference}" for reference, value in values.items() if value is not None]
        if known:
            parts.append(f"**{score}** {', '.join(known)}")
    return "; ".join(parts)


def _settings(run: Run) -> str:
    names = {group: run.params.get(f"{group}.name", "") for group in ("dataset", "teacher", "student")}
    return ", ".join(_known({"stage": run.stage, **names, "seed": run.params.get("seed", "")}))


def _method(run: Run) -> str:
    """Return the method and the window, as far as the stage has them."""
    params = run.params
    chosen = {group: params.get(group, "") for group in GROUPS} if run.stage not in ("label", "") else {}
    learn, test, step = (params.get(f"window.{key}") for key in ("learn", "test", "step"))
    window = f"window: learns from {learn} frames, is tested on the next {test}, moves by {step}"
    parts = [", ".join(_known(chosen)), window if learn and run.stage == "online" else ""]
    return "; ".join(part for part in parts if part)


def _known(values: Mapping[str, str]) -> list[str]:
    return [f"{name} {value}" for name, value in values.items() if value not in ("", "none")]
