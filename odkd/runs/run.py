"""The writer of a run folder: its lock, status, checkpoint and published metrics.

A metrics line is published only after the checkpoint that contains it is on disk. So a published line is never
withdrawn or computed again, whenever a process is killed, and readers of the file (such as MLflow) can rely on it.
"""

import contextlib
import io
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from filelock import FileLock, Timeout

from odkd.common.files import check_no_links, write_atomic, write_json
from odkd.common.temporary import remove, remove_left_behind
from odkd.runs.behind import Behind
from odkd.runs.checkpoint import Checkpoint
from odkd.runs.lines import PublishedLines, Record, without_nan
from odkd.runs.outcome import RunPruned, is_ending
from odkd.runs.run_file import RunFile, digests_of, read_summary

BUSY_SECONDS = 1.0  # a process that checks whether a run is still alive holds the run's lock for a moment


class RunIsBusyError(ValueError):
    """Another process is working on this run."""


class RunIsFinishedError(ValueError):
    """Another process has finished this run in the meantime."""


class OpenRun:
    """The writer of a run folder; the reader is `odkd.runs.results.Run`.

    A context manager: it holds the run's lock from `open` to its exit. An error marks the run failed, killed or pruned.

    Args:
        folder: the run folder.
        description: the content of run.json except status and times: key, name, stage, params, tags.
        checkpoint_overhead: share of the wall time that checkpoints may take.
        pruner: called with each metrics line; returns a reason to end the run once the line is published, or None.
    """

    def __init__(
        self,
        folder: Path,
        description: Mapping[str, Any],
        *,
        checkpoint_overhead: float,
        pruner: Callable[[Mapping[str, Any]], str | None] | None = None,
    ) -> None:
        self.folder, self.description, self.checkpoint_overhead = folder, dict(description), checkpoint_overhead
        self._file = RunFile(folder, self.description)
        self._lock = FileLock(folder / "run.lock", timeout=BUSY_SECONDS)
        self._checkpoint = Checkpoint(folder / "checkpoint.pt", overhead=checkpoint_overhead)
        self._pending: list[Record] = []
        self._has_pruner, self._pruner = pruner is not None, pruner or (lambda _: None)
        self._prune_reason: str | None = None
        self._published = PublishedLines(folder)
        self.behind = Behind()  # writes of the loop, in their order

    @property
    def status(self) -> str | None:
        """running, finished, failed, killed or pruned; None if the run does not exist yet.

        Raises:
            ValueError: the folder belongs to another run; its name contains only the first digits of the key.
        """
        return self._file.status()

    def open(self, files: Mapping[str, str], *, restart: bool, again: bool = True) -> Self:
        """Take the lock, write run.json and `files`, and repair files that a killed process left incomplete.

        Args:
            files: name -> text.
            restart: empty the folder first.
            again: open the run even if it has finished.

        Raises:
            RunIsBusyError: another process has the run open.
            RunIsFinishedError: the run has finished, and neither `restart` nor `again` is set.
            ValueError: the folder belongs to another run, or run.json or metrics.jsonl is damaged.
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
            status = self._file.status(if_damaged="damaged" if restart else None)
            if status == "finished" and not (restart or again):
                raise RunIsFinishedError(f"{self.folder} has finished")
            if restart:
                (self.folder / "run.json").unlink(missing_ok=True)  # first: without it the other files have no meaning
            for path in self.folder.iterdir() if restart or status is None else ():
                if path.name != "run.lock":
                    remove(path)
            remove_left_behind(self.folder, unchanged_seconds=0)  # nobody else writes here, but `odkd-sync`
            check_no_links(self.folder)
            for name, text in files.items():
                write_atomic(self.folder / name, text.encode())
            self._published.repair()
        except BaseException:
            self._lock.release()
            raise
        try:
            (self.folder / "error.txt").unlink(missing_ok=True)
            self._file.set_status("running")
        except BaseException as error:  # Ctrl-C may come when "running" is written
            self.__exit__(type(error), error, None)
            raise
        return self

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        try:
            self.behind.close()  # an error of the loop may have come between two writes
            if isinstance(error, RunPruned):
                self._file.set_status("pruned", {"odkd.pruned": str(error)})
            elif error is not None:
                with contextlib.suppress(OSError):  # on a full disk the user must see the original error
                    self._file.set_status("killed" if is_ending(error) else "failed")
                    write_atomic(self.folder / "error.txt", "".join(traceback.format_exception(error)).encode())
        finally:
            self._lock.release()

    @property
    def has_checkpoint(self) -> bool:
        """True if there is a state to resume from."""
        return (self.folder / "checkpoint.pt").is_file()

    def wait(self) -> None:
        """Wait until no other process works on this run, however its work ended."""
        with FileLock(self.folder / "run.lock"):
            return

    def adopt(self, sweep: Mapping[str, str]) -> None:
        """Make a finished run without a sweep a run of this sweep."""
        with contextlib.suppress(Timeout), self._lock:  # a process that holds the lock now does the same
            self._file.adopt(sweep)

    def bring_up_to_date(self, tags: Sequence[str], params: Sequence[str]) -> None:
        """Add what an older odkd did not write to a finished run; its key implies it. Remove what killed ones left."""
        with contextlib.suppress(Timeout), self._lock:
            remove_left_behind(self.folder)
            self._file.add_known(tags, params)

    def resume(self) -> dict[str, Any] | None:
        """Return the state to resume from, or None at the start; publish the records that the last process could not.

        Raises:
            RunPruned: the pruner ends the run at one of the lines published so far.
            ValueError: the checkpoint is damaged, or metrics.jsonl has not the lines that the checkpoint vouches for.
        """
        state = self._checkpoint.load()
        if state is not None:
            self._published.check(self._checkpoint.note)
            self._published.append(state["records"])
        if self._has_pruner:
            self._prune_at_any(self.records())
        return None if state is None else dict(state["state"])

    def record(self, record: Record, timing: Record) -> None:
        """Keep the numbers of an iteration until `commit` publishes them. NaN becomes null."""
        line = without_nan(record)
        self._pending.append({"metrics": line, "timing": timing})
        self._prune_reason = self._pruner(line)

    def is_checkpoint_due(self) -> bool:
        """True if enough time has passed since the last checkpoint and it is on disk, or if the pruner ends the run."""
        return self._prune_reason is not None or self._checkpoint.is_due()

    def commit(self, state: dict[str, Any]) -> None:
        """Save the state after the newest record to disk, then publish all records; return when all is on disk.

        Raises:
            RunPruned: the pruner ends the run at the newest record.
        """
        self.commit_behind(state)
        self.behind.wait()

    def commit_behind(self, state: dict[str, Any]) -> None:
        """Do what `commit` does, and raises, behind the loop and all that was given to `behind`; `state` may change."""
        content, records = self._checkpoint.packed({"state": state, "records": self._pending}), self._pending
        self._pending = []

        def save() -> None:
            self._checkpoint.write(content, self._published.vouched())
            self._published.append(records)

        self.behind.do(save)
        if self._prune_reason is not None:
            self.behind.wait()
            raise RunPruned(self._prune_reason)

    def forget_unwritten(self) -> None:
        """After a disk has refused a write: forget records that are not published, which the caller records again."""
        self.behind.close()
        self._pending = []
        self._published.take_up()

    def publish(self, records: Sequence[tuple[Record, Record]]) -> None:
        """Publish numbers and timing of iterations that are in a checkpoint of the caller, unless they are. NaN = null.

        Raises:
            RunPruned: the pruner ends the run at one of them.
            ValueError: metrics.jsonl has another line for one of them.
        """
        lines = [{"metrics": without_nan(record), "timing": timing} for record, timing in records]
        self._prune_at_any(self._published.append(lines))

    def finish(self, summary: Mapping[str, float], *, keeps_checkpoint: bool = False) -> None:
        """Write the summary and mark the run finished, after every artifact; if it may go on, keep its checkpoint."""
        self.behind.wait()
        self._published.check_end()
        write_json(self.folder / "summary.json", {name: None if v != v else v for name, v in summary.items()})
        self._file.set_status("finished", files=digests_of(self.folder))
        if not keeps_checkpoint:
            self._checkpoint.delete()

    def save_confusions(self, totals: Mapping[str, torch.Tensor]) -> None:
        """Write confusion matrices to confusion.npz, by reference: int64 [K, K], rows = reference; no file if empty."""
        buffer, arrays = io.BytesIO(), {source: total.numpy() for source, total in totals.items()}
        np.savez_compressed(buffer, allow_pickle=False, **arrays)
        if totals:
            write_atomic(self.folder / "confusion.npz", buffer.getvalue())

    def records(self) -> list[Record]:
        """Return the published metrics, one record for each iteration, after all writes of the loop."""
        self.behind.wait()
        return self._published.metrics()

    def summary(self) -> dict[str, float | None]:
        """Return the final numbers of a finished run. Raises as `read_summary`."""
        return read_summary(self.folder)

    def _prune_at_any(self, lines: Sequence[Record]) -> None:
        for line in lines:
            if (reason := self._pruner(line)) is not None:
                raise RunPruned(reason)
