"""Run every continual-learning method on the cyclic streams and write the tables and plots of docs/continual.md.

    python scripts/continual.py --camvid ../shared/camvid          # runs what is missing, then writes
    python scripts/continual.py --tables-only                      # writes from the runs that are there

Finished runs are not run again, a run that was cut off goes on, so the command may be given as often as needed.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from continual_tables import Method, Results, write_page

from odkd.build import Parts
from odkd.compose import compose_config
from odkd.results import read_run

ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class StreamSettings:
    """A stream of the page: what its runs have in common, and how large the memories are on it."""

    experiment: str
    capacity: int
    overrides: tuple[str, ...] = ()


REPLAYS = ("memoryless", "fifo", "uniform", "reservoir", "prioritized", "mir")
COMBINED = {
    "memoryless": ("mas", "lwf", "rwalk"),
    "uniform": ("ace", "rwalk", "mas", "lwf", "ewc", "derpp"),
    "mir": ("ace", "rwalk"),
}
ONE_TIME_FRAMES = 60  # the first two stretches of CamVid, the first of the drawn stream


def methods(stream: StreamSettings) -> list[Method]:
    """The rows of a table, top to bottom, with the settings that make them."""
    sizes = {name: [f"replay.capacity={stream.capacity}"] for name in ("uniform", "reservoir", "prioritized", "mir")}
    sizes["mir"] = [*sizes["mir"], "replay.candidates=30"]  # three times as many as are replayed
    rows = [
        Method("teacher itself", ["baseline=teacher"], is_random=False),
        Method("trained on everything", ["baseline=everything"]),
        Method("frozen", ["baseline=frozen"]),
        Method("trained once", ["baseline=one_time", f"replay.num_positions={ONE_TIME_FRAMES}"]),
    ]
    rows += [Method(name, [f"replay={name}", *sizes.get(name, [])]) for name in REPLAYS]
    return rows + [
        Method(f"{name} + {other}", [f"replay={name}", f"regularizer={other}", *sizes.get(name, [])])
        for name, others in COMBINED.items()
        for other in others
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--camvid", type=Path, default=ROOT / "../shared/camvid", help="folder of CamVid")
    parser.add_argument("--streams", nargs="+", choices=("synthetic", "camvid"), default=["synthetic", "camvid"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, a core each")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="where the runs are")
    parser.add_argument("--page", type=Path, default=ROOT / "docs" / "continual.md")
    parser.add_argument("--tables-only", action="store_true", help="run nothing")
    chosen = parser.parse_args(arguments)
    streams = {
        "synthetic": StreamSettings("continual/synthetic", capacity=60),
        "camvid": StreamSettings("continual/camvid", capacity=40, overrides=(f"dataset.root={chosen.camvid}",)),
    }
    if "camvid" in chosen.streams and not (chosen.camvid / "videos").is_dir():
        sys.exit(f"no {chosen.camvid}/videos: give the folder of CamVid with --camvid, or --streams synthetic")
    jobs = list(all_jobs({name: streams[name] for name in chosen.streams}, chosen.seeds, chosen.outputs))
    if not chosen.tables_only:
        # One run of each stream first: it decodes, labels, and the others find it done.
        first = {stream: command for stream, _, _, command in reversed(jobs)}
        with ThreadPoolExecutor(chosen.jobs) as pool:
            failures = list(filter(None, pool.map(run, first.values())))
            failures += filter(None, pool.map(run, [command for *_, command in jobs]))
        if failures:
            sys.exit("\n".join(failures))
    found: Results = {}
    for stream, method, seed, command in jobs:
        folder = Parts(compose_config(command)).folder
        if (folder / "summary.json").is_file():
            found.setdefault(stream, {}).setdefault(method.name, {})[seed] = read_run(folder)
    write_page(chosen.page, found)


def all_jobs(
    streams: dict[str, StreamSettings], seeds: Sequence[int], outputs: Path
) -> Iterator[tuple[str, Method, int, list[str]]]:
    """Stream, method, seed, overrides; seed by seed, so that an unfinished study has every method."""
    for number, seed in enumerate(seeds):
        for name, stream in streams.items():
            for method in methods(stream):
                if method.is_random or number == 0:
                    settings = [f"experiment={stream.experiment}", *stream.overrides, *method.overrides, f"seed={seed}"]
                    yield name, method, seed, [*settings, f"paths.outputs={outputs}"]


def run(command: list[str]) -> str | None:
    """Run odkd; what to tell the user if that failed."""
    done = subprocess.run([sys.executable, "-m", "odkd", *command], capture_output=True, text=True, check=False)
    shown = " ".join(setting for setting in command if not setting.startswith("paths."))
    if done.returncode:
        return f"odkd {shown} failed:\n{done.stderr[-2000:]}"
    score = next((line.split()[-2:] for line in done.stdout.splitlines() if line.startswith("mIoU, mean over")), ["?"])
    print(f"{shown}  mIoU {score[0]}", flush=True)
    return None


if __name__ == "__main__":
    main()
