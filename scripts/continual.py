"""Run every continual-learning method on the cyclic streams and write the tables and plots of docs/continual.md.

    python scripts/continual.py --camvid ../shared/camvid          # runs missing experiments, then writes the tables
    python scripts/continual.py --tables-only                      # writes the tables from existing runs

Finished runs are skipped and interrupted runs resume, so the command may be repeated as often as needed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from continual_tables import AS_MANY_UPDATES, MAS_RELEASED, Method, Results, write_page
from study import finished_run, need_camvid, options, run_all


@dataclass(frozen=True)
class StreamSettings:
    """A stream of the page: the settings that its runs share, the capacity of the memories, and FIFO's budget.

    `passes` of a memoryless student make as many updates as one of FIFO (window.learn / window.step).
    """

    experiment: str
    capacity: int
    passes: int
    overrides: tuple[str, ...] = ()


REPLAYS = ("memoryless", "fifo", "uniform", "reservoir", "prioritized", "mir")
COMBINED = {
    "memoryless": ("mas", "lwf", "rwalk"),
    "uniform": ("ace", "rwalk", "mas", "lwf", "ewc", "derpp"),
    "mir": ("ace", "rwalk"),
}
MAS_AS_RELEASED = [  # as experiment=houyon2023_released/memoryless_mas
    *("regularizer=mas", "regularizer.objective=map_norm"),
    *("regularizer.first_importance=decayed", "regularizer.warmup_passes=11"),
]
ONE_TIME_FRAMES = 60  # the first two stretches of CamVid, the first stretch of the rendered stream


def methods(stream: StreamSettings) -> list[Method]:
    """Return the rows of a table, top to bottom, with their settings."""
    sizes = {name: [f"replay.capacity={stream.capacity}"] for name in ("uniform", "reservoir", "prioritized", "mir")}
    sizes["mir"] = [*sizes["mir"], "replay.candidates=30"]  # three times the number of replayed frames
    rows = [
        Method("teacher itself", ["baseline=teacher"], is_random=False),
        Method("trained on everything", ["baseline=everything"]),
        Method("frozen", ["baseline=frozen"]),
        Method("trained once", ["baseline=one_time", f"replay.num_positions={ONE_TIME_FRAMES}"]),
    ]
    rows += [Method(name, [f"replay={name}", *sizes.get(name, [])]) for name in REPLAYS]
    rows.append(Method(AS_MANY_UPDATES, ["replay=memoryless", f"stage.epochs={stream.passes}"]))
    rows += [
        Method(f"{name}{MAS_RELEASED}", [f"replay={name}", *MAS_AS_RELEASED, *sizes.get(name, [])])
        for name in ("memoryless", "uniform")
    ]
    return rows + [
        Method(f"{name} + {other}", [f"replay={name}", f"regularizer={other}", *sizes.get(name, [])])
        for name, others in COMBINED.items()
        for other in others
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__, "continual.md", "streams", ("synthetic", "camvid"))
    chosen = parser.parse_args(arguments)
    streams = {
        "synthetic": StreamSettings("continual/synthetic", capacity=60, passes=2),
        "camvid": StreamSettings(
            "continual/camvid", capacity=40, passes=3, overrides=(f"dataset.root={chosen.camvid}",)
        ),
    }
    if "camvid" in chosen.streams:
        need_camvid(chosen.camvid, "--streams synthetic")
    jobs = list(all_jobs({name: streams[name] for name in chosen.streams}, chosen.seeds, chosen.outputs))
    if not chosen.tables_only:
        # Run one job of each stream first, so that the others reuse its decoded frames and labels.
        first = {stream: command for stream, _, _, command in reversed(jobs)}
        run_all(first.values(), jobs=chosen.jobs)
        run_all([command for *_, command in jobs], jobs=chosen.jobs)
    found: Results = {}
    for stream, method, seed, command in jobs:
        if (run := finished_run(command)) is not None:
            found.setdefault(stream, {}).setdefault(method.name, {})[seed] = run
    write_page(chosen.page, found)


def all_jobs(
    streams: dict[str, StreamSettings], seeds: Sequence[int], outputs: Path
) -> Iterator[tuple[str, Method, int, list[str]]]:
    """Yield stream, method, seed and overrides, seed by seed, so that an unfinished study has every method."""
    for number, seed in enumerate(seeds):
        for name, stream in streams.items():
            for method in methods(stream):
                if method.is_random or number == 0:
                    settings = [f"experiment={stream.experiment}", *stream.overrides, *method.overrides, f"seed={seed}"]
                    yield name, method, seed, [*settings, f"paths.outputs={outputs}"]


if __name__ == "__main__":
    main()
