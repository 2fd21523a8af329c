"""`make bench`: the overhead of odkd, measured on this machine. About 20 minutes on 2 CPU cores.

    .venv/bin/python scripts/benchmark.py [part ...]     # all by default

loop       wall time of the loop over the bare network time (same calls on resident tensors)
plain      milliseconds per frame outside the network, compared with scripts/plain_baseline.py
memory     peak memory on a stream and on a stream ten times as long, also with replay and regularizers
precision  bfloat16, channels_last, compile, and the allocator setting
labels     the label store compared with one .npz file per frame: size, write time, read time
pipeline   wall time of labelling over that of its slowest step alone
mir        time of MIR's selection over that of its virtual step and the evaluation of its candidates alone
regularizers  time of a training pass with each over one without, and its memory
epochs     an epoch over the bare network time, and compared with running the teacher in each epoch
outage     a sweep whose MLflow server is down for two minutes over a sweep without an outage

Tables are printed and written to outputs/benchmark.json, with machine, versions and date; a part that is not run
keeps its earlier results there. Videos are rendered on first use, under outputs/cache/benchmark.
"""

import argparse
import importlib
import json
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from odkd.common.files import write_json
from odkd.runs.environment import environment

PARTS = ("loop", "plain", "memory", "precision", "labels", "pipeline", "mir", "regularizers", "epochs", "outage")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the selected parts, all by default."""
    plain_text = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain_text)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; default: all")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"unknown part {', '.join(sorted(unknown))}; expected {', '.join(PARTS)}")

    report_file = chosen.outputs / "benchmark.json"
    report = json.loads(report_file.read_text()) if report_file.is_file() else {}
    folder = (chosen.outputs / "cache" / "benchmark").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    for part in chosen.parts or PARTS:
        started = time.monotonic()
        rows = importlib.import_module(f"bench.{part}").measure(folder)
        report[part] = {
            "date": datetime.now(UTC).isoformat(timespec="seconds"),
            "machine": environment(torch.device("cpu")),
            "rows": rows,
        }
        write_json(report_file, report)
        print(f"\n{part} ({time.monotonic() - started:.0f} s)\n{table(rows)}", flush=True)
    print(f"\n{environment(torch.device('cpu'))['odkd.device']}; written to {report_file}")


def table(rows: Sequence[dict[str, object]]) -> str:
    """Return the rows as aligned columns of text; floats have three decimals below 10, otherwise one."""
    lines = [list(rows[0]), *([_show(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows_of_text = [[cell.rjust(width) for cell, width in zip(line, widths, strict=True)] for line in lines]
    return "\n".join("  ".join(cells) for cells in rows_of_text)


def _show(value: object) -> str:
    if not isinstance(value, float):
        return str(value)
    return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"


if __name__ == "__main__":
    main()
