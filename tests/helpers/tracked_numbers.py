"""The numbers of runs as trackers hold them, read back with the readers of their libraries: {(key, step): value}."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from extras import need
from fabricated_run import metric_rows

Numbers = dict[tuple[str, int], float]
BLOCK, HEADER = 2**15, 7  # bytes of a block, and of a record's header, in W&B's file


def of_mlflow(database: Path, run_id: str | None = None) -> Numbers:
    """Return what an MLflow database holds of its only run, or of one."""
    rows = [row for row in metric_rows(database) if run_id in (None, row[0])]
    found = {(key, step): value for _, key, step, _, value in rows}
    assert len(found) == len(rows), "a step is there twice"
    return found


def of_tensorboard(folder: Path) -> Numbers:
    """Return the scalars of the only event file in a folder."""
    accumulator = need("tensorboard.backend.event_processing.event_accumulator")
    (path,) = folder.glob("events.out.tfevents.*")
    reader = accumulator.EventAccumulator(str(path), size_guidance={accumulator.SCALARS: 0})
    reader.Reload()
    found: Numbers = {}
    for tag in reader.Tags()["scalars"]:
        for event in reader.Scalars(tag):
            assert (tag, event.step) not in found, "a step is there twice"
            found[tag, event.step] = event.value
    return found


def of_wandb(folder: Path) -> Numbers:
    """Return history and final scores of the only run below FOLDER/wandb; the scores at step 0, as MLflow has them."""
    (path,) = folder.glob("wandb/offline-run-*/run-*.wandb")
    found: Numbers = {}
    summary: dict[str, Any] = {}
    for record in wandb_records(path):
        if record.HasField("history"):
            row = {item.key or "/".join(item.nested_key): item.value_json for item in record.history.item}
            step = int(row["_step"])
            for key, value in row.items():
                if not key.startswith(("_", "overlay")):
                    assert (key, step) not in found, "a step is there twice"
                    found[key, step] = float(value)
        if record.HasField("summary"):
            summary |= {item.key or "/".join(item.nested_key): item.value_json for item in record.summary.update}
    scores = {key: float(value) for key, value in summary.items() if key.startswith("summary/")}
    return found | {(key, 0): value for key, value in scores.items()}


def wandb_records(path: Path) -> Iterator[Any]:
    """Yield the records of W&B's file: its library writes, and no longer reads, LevelDB's format of logs."""
    record_type = need("wandb.proto.wandb_internal_pb2").Record
    content, place, parts = path.read_bytes(), HEADER, b""  # the file begins with a header of seven bytes
    while place + HEADER <= len(content):
        room = BLOCK - place % BLOCK
        if room < HEADER:
            place += room
            continue
        _, length, kind = struct.unpack_from("<IHB", content, place)
        parts += content[place + HEADER : place + HEADER + length]
        place += HEADER + length
        if kind in (1, 4):  # whole, or the last part
            record = record_type()
            record.ParseFromString(parts)
            parts = b""
            yield record
