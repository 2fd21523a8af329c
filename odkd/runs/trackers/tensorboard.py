"""TensorBoard as a tracker: one file of events a run, written with TensorBoard's own library.

A pass appends, brings the bytes to disk, and then notes how many there are. What a killed pass has appended is cut off
by the next one and written again: the same bytes, because an event depends on the run folder alone. So no step is there
twice, and an open page sees no change.
"""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from odkd.common.files import write_json
from odkd.common.optional import check_installed, optional
from odkd.common.pictures import open_picture
from odkd.common.reading import read_json
from odkd.runs.mlflow_note import run_note
from odkd.runs.mlflow_sending import finite, is_sweep
from odkd.runs.records import stills_in
from odkd.runs.results import Run, read_run, status_of
from odkd.runs.trackers.parts import final_scores, identity_of, name_of, state_of

LOCK_SECONDS = 60.0
NOTE = "odkd.json"  # beside the events: whose they are, and how far they go
NEW: dict[str, Any] = {"bytes": 0, "iteration": -1, "sample": -1, "final": [], "stills": [], "complete": None}
STILLS, PREFIX = "overlay", "events.out.tfevents"


class TensorBoard:
    """Runs as folders of event files.

    Args:
        folder: for all runs, `tensorboard --logdir FOLDER`; None = `tensorboard` in the outputs.
        outputs: the folder of outputs.

    Raises:
        ValueError: the library is not installed.
    """

    def __init__(self, *, folder: str | None = None, outputs: Path) -> None:
        check_installed("tracking=tensorboard", ["tensorboard"], "or leave it out")
        self._root = Path(folder) if folder else outputs / "tensorboard"
        self.place = f"TensorBoard's folder {self._root}"
        self.dashboard = f"tensorboard --logdir {self._root}"

    def sync(self, folder: Path, *, is_last: bool, sent: Mapping[str, int]) -> int:
        """Append what is missing; see `odkd.runs.tracker.Tracker`."""
        with FileLock(folder / "tensorboard.lock", timeout=LOCK_SECONDS):
            state = state_of(folder) if is_last and (folder / "run.json").is_file() else None
            run = read_run(folder, sent)
            if is_sweep(run):  # TensorBoard has no run that others belong to
                return 0
            home, note = self._home(folder, run)
            if not note:  # the first pass; or the run was started over, or its events were deleted
                run, note = read_run(folder), {"run": identity_of(run), **NEW}
                _delete(home)
            lines = [line for line in run.metrics if line["iteration"] > note["iteration"]]
            samples = [sample for sample in run.system if sample["sample"] > note["sample"]]
            events = list(_events(run, note, lines, samples, is_over=is_last and run.status == "finished"))
            num_bytes = _append(home / _file(run), note["bytes"], events) if events else note["bytes"]
            complete = {"complete": state if run.status != "running" else None}
            write_json(home / NOTE, _noted(run, note, lines, samples, num_bytes, is_last) | complete)
            return len(lines)

    def is_complete(self, folder: Path) -> bool:
        """Return True if all of a run that has ended is there, according to the note beside the events."""
        if status_of(folder) in ("running", None):
            return False
        run = read_run(folder)
        return is_sweep(run) or self._home(folder, run)[1].get("complete") == state_of(folder)

    def forget(self, folder: Path) -> None:
        """Delete a run's events."""
        home, note = self._home(folder, read_run(folder))
        if note:
            _delete(home)

    def _home(self, folder: Path, run: Run) -> tuple[Path, dict[str, Any]]:
        """Return the folder of a run's events, and the note in it; empty if it is not of this run, or does not fit."""
        home = self._root / name_of(folder, run)
        try:
            note: dict[str, Any] = read_json(home / NOTE, {"run": str, "bytes": int}, advice="delete it")
            size = (home / _file(run)).stat().st_size
        except (OSError, ValueError):
            return home, {}
        is_ours = note["run"] == identity_of(run) and size >= note["bytes"] and note.keys() >= NEW.keys()
        return home, note if is_ours else {}


def _file(run: Run) -> str:
    return f"{PREFIX}.{round(run.created.timestamp())}.odkd"


def _delete(home: Path) -> None:
    """Delete what this tracker has written into a folder, which may be that of the run itself."""
    for path in (home / NOTE, *home.glob(f"{PREFIX}.*.odkd")):
        path.unlink(missing_ok=True)
    with contextlib.suppress(OSError):  # there is more in it, or it is not there
        home.rmdir()


def _noted(
    run: Run, note: Mapping[str, Any], lines: list[Any], samples: list[Any], num_bytes: int, is_last: bool
) -> dict[str, Any]:
    """Return the note after a pass."""
    is_over = is_last and run.status == "finished"
    return dict(note) | {
        "bytes": num_bytes,
        "iteration": lines[-1]["iteration"] if lines else note["iteration"],
        "sample": samples[-1]["sample"] if samples else note["sample"],
        "final": sorted({*note["final"], *(final_scores(run) if is_over else ())}),
        "stills": sorted({*note["stills"], *(step for step, _, _ in stills_in(run.folder) if is_over)}),
    }


def _events(
    run: Run, note: Mapping[str, Any], lines: Iterable[Any], samples: Iterable[Any], *, is_over: bool
) -> Iterator[Any]:
    """Yield the events that are missing: at the beginning what the run is; values; at the end scores and stills."""
    event = optional("tensorboard.compat.proto.event_pb2", "tracking=tensorboard").Event
    if note["bytes"] == 0:
        yield event(wall_time=run.created.timestamp(), file_version="brain.Event:2")
        yield event(wall_time=run.created.timestamp(), step=0, summary=_settings(run))
        yield event(wall_time=run.created.timestamp(), step=0, summary=_text("run", run_note(run)))
    for number, found in (("iteration", lines), ("sample", samples)):
        for line in found:
            if values := finite(line["metrics"]):
                yield event(wall_time=run.milliseconds(line) / 1000, step=line[number], summary=_scalars(values))
    if is_over:
        end = run.last_milliseconds / 1000
        if new := {name: value for name, value in final_scores(run).items() if name not in note["final"]}:
            yield event(wall_time=end, step=0, summary=_scalars(new))
        for step, _, path in stills_in(run.folder):
            if step not in note["stills"]:
                yield event(wall_time=end, step=step, summary=_still(path))


def _scalars(values: Mapping[str, float]) -> Any:
    proto = optional("tensorboard.compat.proto.summary_pb2", "tracking=tensorboard")
    return proto.Summary(value=[proto.Summary.Value(tag=tag, simple_value=value) for tag, value in values.items()])


def _text(tag: str, markdown: str) -> Any:
    """Return a summary with a text, as TensorBoard's page of texts reads it."""
    proto = optional("tensorboard.compat.proto.summary_pb2", "tracking=tensorboard")
    tensors = optional("tensorboard.compat.proto.tensor_pb2", "tracking=tensorboard")
    types = optional("tensorboard.compat.proto.types_pb2", "tracking=tensorboard")
    metadata = optional("tensorboard.plugins.text.metadata", "tracking=tensorboard")
    tensor = tensors.TensorProto(dtype=types.DT_STRING, string_val=[markdown.encode()])
    described = metadata.create_summary_metadata(display_name=tag, description="")
    return proto.Summary(value=[proto.Summary.Value(tag=tag, tensor=tensor, metadata=described)])


def _settings(run: Run) -> Any:
    """Return a summary with the params of a run, for TensorBoard's page HPARAMS."""
    library = optional("tensorboard.plugins.hparams.summary_v2", "tracking=tensorboard")
    params = {key: str(value) for key, value in run.params.items()}
    return library.hparams_pb(params, trial_id=run.name, start_time_secs=run.created.timestamp())


def _still(path: Path) -> Any:
    """Return a summary with a picture; TensorBoard's page shows no WebP."""
    proto = optional("tensorboard.compat.proto.summary_pb2", "tracking=tensorboard")
    with open_picture(path) as picture:
        buffer = io.BytesIO()
        picture.convert("RGB").save(buffer, "PNG")
        image = proto.Summary.Image(
            width=picture.width, height=picture.height, colorspace=3, encoded_image_string=buffer.getvalue()
        )
    return proto.Summary(value=[proto.Summary.Value(tag=STILLS, image=image)])


def _append(path: Path, known_bytes: int, events: Iterable[Any]) -> int:
    """Write events after the first `known_bytes` of a file, bring them to disk, and return its new size."""
    records = optional("tensorboard.summary.writer.record_writer", "tracking=tensorboard")
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("r+b" if path.exists() else "w+b") as file:
        file.seek(known_bytes)
        writer = records.RecordWriter(file)
        for event in events:
            writer.write(event.SerializeToString(deterministic=True))
        file.truncate()
        file.flush()
        os.fsync(file.fileno())
        return file.tell()
