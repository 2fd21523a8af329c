"""`make bench`: what odkd's loop costs, measured on this machine. About 20 minutes on 2 CPU cores.

    .venv/bin/python scripts/benchmark.py [part ...]     # all by default

loop       wall time of the loop over the bare network time (same calls on resident tensors)
plain      milliseconds a frame outside the network, against scripts/plain_baseline.py
memory     peak memory on a stream and on one ten times as long, also with replay and regularizers
precision  bfloat16, channels_last, compile, and the allocator setting
labels     the label store against an .npz file a frame: size, time to write and to read
pipeline   labelling's wall time over that of its slowest step alone
mir        MIR's choice over its virtual step and its candidates' evaluation alone
regularizers  a learning pass with each over one without, and what it remembers
epochs     an epoch over the bare network time, and against one that asks the teacher again
outage     a sweep whose MLflow server is killed for two minutes over one whose server lives

Tables go to the console and, with machine, versions and date, to outputs/benchmark.json; a part that is not
run keeps its earlier numbers there. Videos are made on first use, under outputs/cache/benchmark.
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
    """Run the chosen parts, all by default."""
    plain_text = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain_text)
    parser.add_argument("parts", nargs="*", metavar="part", help=f"{', '.join(PARTS)}; all if none is named")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"))
    chosen = parser.parse_args(arguments)
    if unknown := set(chosen.parts) - set(PARTS):
        parser.error(f"there is no part {', '.join(sorted(unknown))}; choose among {', '.join(PARTS)}")

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
    """Columns of plain text, three decimals below 10, one below 1000."""
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
