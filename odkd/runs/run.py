"""A run on disk: its folder, its key, and the metrics that are the truth about it.

A metrics line is published only after the checkpoint that contains it is on the disk. So a line once published
is never taken back or computed again, whatever is killed when; what follows the file (MLflow) can trust it.
"""

import contextlib
import io
import json
import os
import shutil
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from filelock import FileLock, Timeout

from odkd.common.files import cut_torn_line, write_atomic, write_json
from odkd.runs.checkpoint import Checkpoint
from odkd.runs.outcome import RunPruned, is_ending
from odkd.runs.results import read_lines

Record = dict[str, Any]
BUSY_SECONDS = 1.0  # those who look whether a run's process is gone hold its lock for an instant


class RunIsBusyError(ValueError):
    """Another process is working on this run."""


class RunIsFinishedError(ValueError):
    """Another process has finished this run in the meantime."""


class OpenRun:
    """A context: opened, it holds the run's lock; left by an exception, it marks the run failed, killed or pruned.

    Args:
        folder: of the run.
        description: run.json without status and time: key, name, stage, params, tags.
        checkpoint_overhead: share of the wall time that checkpoints may take.
        pruner: is shown each metrics line; a reason that it gives ends the run, once the line is published.
    """

    def __init__(
        self,
        folder: Path,
        description: Mapping[str, Any],
        *,
        checkpoint_overhead: float,
        pruner: Callable[[Mapping[str, Any]], str | None] | None = None,
    ) -> None:
        self.folder = folder
        self.description = dict(description)
        self.checkpoint_overhead = checkpoint_overhead
        self._lock = FileLock(folder / "run.lock", timeout=BUSY_SECONDS)
        self._checkpoint = Checkpoint(folder / "checkpoint.pt", overhead=checkpoint_overhead)
        self._pending: list[Record] = []
        self._pruner = pruner or (lambda _: None)
        self._verdict: str | None = None  # reason to end
        self._published = {"timing": -1, "metrics": -1}  # last iteration in each file

    @property
    def status(self) -> str | None:
        """running, finished, failed, killed, pruned, or None where there is no such run yet.

        Raises:
            ValueError: the folder is another run's; its name has only the first digits of a key.
        """
        path = self.folder / "run.json"
        if not path.is_file():
            return None
        record = json.loads(path.read_text())
        if record.get("key") != self.description.get("key"):
            raise ValueError(f"{self.folder} is another run, whose key begins with the same digits; set run.name=...")
        status: str = record["status"]
        return status

    def open(self, files: Mapping[str, str], *, restart: bool, again: bool = True) -> Self:
        """Take the lock, write run.json and `files`, repair what was cut off.

        Args:
            files: name -> text.
            restart: empty the folder first.
            again: open it even if it has finished.

        Raises:
            RunIsBusyError: another process has it.
            RunIsFinishedError: it has finished, and neither `restart` nor `again` is asked for.
            ValueError: the folder is another run's.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            self._lock.acquire()
        except Timeout as error:
            raise RunIsBusyError(
                f"{self.folder} is being run by another process; wait for it, "
                "or use run.repeat=1 for an independent repetition"
            ) from error
        try:
            if self.status == "finished" and not (restart or again):
                raise RunIsFinishedError(f"{self.folder} has finished")
        except ValueError:  # this one, or that the folder is another run's
            self._lock.release()
            raise
        if restart:
            (self.folder / "run.json").unlink(missing_ok=True)  # first: without it the rest counts for nothing
        if self.status is None:
            for path in self.folder.iterdir():
                if path.name != "run.lock":
                    shutil.rmtree(path) if path.is_dir() else path.unlink()
        for path in self.folder.rglob(".*.tmp"):  # of a process that was killed while it wrote
            if not path.name.startswith(".mlflow.json."):  # which `odkd-sync` may be writing now
                path.unlink(missing_ok=True)
        for name, text in files.items():
            write_atomic(self.folder / name, text.encode())
        for name in self._published:
            cut_torn_line(self.folder / f"{name}.jsonl")  # its record is still in the checkpoint
            lines = read_lines(self.folder / f"{name}.jsonl")
            self._published[name] = lines[-1]["iteration"] if lines else -1
        (self.folder / "error.txt").unlink(missing_ok=True)
        self._set_status("running")
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            if isinstance(error, RunPruned):
                self._set_status("pruned", {"odkd.pruned": str(error)})
            elif error is not None:
                is_killed = is_ending(error)
                with contextlib.suppress(OSError):  # on a full disk the error itself is what the user must see
                    self._set_status("killed" if is_killed else "failed")
                    write_atomic(self.folder / "error.txt", "".join(traceback.format_exception(error)).encode())
        finally:
            self._lock.release()

    @property
    def has_checkpoint(self) -> bool:
        """Whether there is a state to go on from."""
        return (self.folder / "checkpoint.pt").is_file()

    def wait(self) -> None:
        """Until no other process works on this run, however that ended."""
        with FileLock(self.folder / "run.lock"):
            return

    def adopt(self, sweep: Mapping[str, str]) -> None:
        """A finished run that belongs to no sweep becomes one of this sweep."""
        path = self.folder / "run.json"
        with contextlib.suppress(Timeout), self._lock:  # who has it now does the same
            record = json.loads(path.read_text())
            if record.get("sweep") is None:
                record["tags"]["odkd.sweep_key"] = sweep["key"]
                write_json(path, record | {"sweep": sweep})

    def add_known(self, tags: Sequence[str], params: Sequence[str]) -> None:
        """A finished run of an older odkd says now what its key implies and it did not say: these tags and params."""
        path = self.folder / "run.json"
        with contextlib.suppress(Timeout), self._lock:
            record = json.loads(path.read_text())
            added = record | {
                "tags": _only(self.description["tags"], tags) | record["tags"],
                "params": _only(self.description["params"], params) | record["params"],
            }
            if added != record:
                write_json(path, added)

    def resume(self) -> dict[str, Any] | None:
        """The state to go on from, or None at the start. Publishes what the last process could not.

        Raises:
            RunPruned: what has been published so far is reason enough.
        """
        state = self._checkpoint.load()
        if state is not None:
            self._publish(state["records"])
        self._judge_all(self.records())
        if state is None:
            return None
        resumed: dict[str, Any] = state["state"]
        return resumed

    def record(self, record: Record, timing: Record) -> None:
        """Keep the numbers of an iteration until they are published. NaN becomes null."""
        line = _without_nan(record)
        self._pending.append({"metrics": line, "timing": timing})
        self._verdict = self._pruner(line)

    def is_checkpoint_due(self) -> bool:
        return self._verdict is not None or self._checkpoint.is_due()

    def commit(self, state: dict[str, Any]) -> None:
        """Make the state after the newest record durable, then publish all records.

        Raises:
            RunPruned: the newest record is reason enough.
        """
        self._checkpoint.save({"state": state, "records": self._pending})
        self._publish(self._pending)
        self._pending = []
        if self._verdict is not None:
            raise RunPruned(self._verdict)

    def publish(self, records: Sequence[tuple[Record, Record]]) -> None:
        """Publish numbers and timing of iterations that a checkpoint other than ours holds. NaN becomes null.

        Raises:
            RunPruned: one of them is reason enough.
        """
        lines = [{"metrics": _without_nan(record), "timing": timing} for record, timing in records]
        self._publish(lines)
        self._judge_all([line["metrics"] for line in lines])

    def finish(self, summary: Mapping[str, float]) -> None:
        """All is computed and every artifact written: the run is finished."""
        values = {name: None if value != value else value for name, value in summary.items()}
        write_json(self.folder / "summary.json", values)
        self._set_status("finished")
        self._checkpoint.delete()

    def save_confusions(self, totals: Mapping[str, torch.Tensor]) -> None:
        """int64 [K, K] by reference, rows = reference: confusion.npz; no file where there are none."""
        if not totals:
            return
        buffer = io.BytesIO()
        arrays = {source: total_KK.numpy() for source, total_KK in totals.items()}
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        write_atomic(self.folder / "confusion.npz", buffer.getvalue())

    def records(self) -> list[Record]:
        """Published metrics, by iteration."""
        return read_lines(self.folder / "metrics.jsonl")

    def summary(self) -> dict[str, float | None]:
        """Final numbers of a finished run."""
        summary: dict[str, float | None] = json.loads((self.folder / "summary.json").read_text())
        return summary

    def _judge_all(self, lines: Sequence[Record]) -> None:
        for line in lines:
            if (reason := self._pruner(line)) is not None:
                raise RunPruned(reason)

    def _publish(self, records: list[Record]) -> None:
        for name in self._published:  # timing first: a metrics line says that both are there
            lines = [record[name] for record in records if record[name]["iteration"] > self._published[name]]
            with (self.folder / f"{name}.jsonl").open("a") as file:
                file.writelines(json.dumps(line) + "\n" for line in lines)
                file.flush()
                os.fsync(file.fileno())
            if lines:
                self._published[name] = lines[-1]["iteration"]

    def _set_status(self, status: str, tags: Mapping[str, str] | None = None) -> None:
        path = self.folder / "run.json"
        created = json.loads(path.read_text())["created"] if path.is_file() else datetime.now(UTC).isoformat()
        record = {**self.description, "status": status, "created": created, "updated": time.time()}
        write_json(path, record | {"tags": {**self.description.get("tags", {}), **(tags or {})}})


def _without_nan(record: Record) -> Record:
    metrics = {name: None if value != value else value for name, value in record["metrics"].items()}
    return {**record, "metrics": metrics}


def _only(known: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: known[name] for name in names if name in known}
