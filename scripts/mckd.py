"""Study of MCKD against plain distillation at equal compute: run it and write the tables of docs/mckd.md.

    python scripts/mckd.py --camvid ../shared/camvid          # runs missing experiments, then writes the tables
    python scripts/mckd.py --tables-only                      # writes the tables from existing runs

Finished runs are skipped and interrupted runs resume, so the command may be repeated as often as needed.
Equal compute: one epoch of the pair plus one of the final student costs as much as two of plain distillation.
Early stopping is off, so that every training does all its planned updates; a student of a pair has 1/(2R) of those of
plain distillation, because it has half of the images and 1/R of the epochs.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.core.tables import markdown_table
from study import cell, finished, folder_of, need_camvid, options, run_all, updates, values, write_parts

from odkd.runs.results import Run

SHARES = (4, 8, 16)  # one of n training images has a label
TABLES = ("synthetic", "camvid", "camvid imagenet", "few labels")
Command = list[str]


@dataclass(frozen=True)
class Job:
    """A run of the page: its table, row and seed, its command, and the command that trains its teacher, if any."""

    table: str
    row: str
    seed: int
    command: Command
    teacher: Command | None = None


Found = dict[str, dict[str, dict[int, Run]]]  # table -> row -> seed -> run
COLUMNS = {  # title -> key of the summary
    "the teacher": "teacher/miou_groundtruth",
    "first student of round 1": "round_1/student_0/miou_groundtruth",
    "their agreement": "round_1/agreement/miou",
    "labels of the final student": "final/labels/miou_groundtruth",
    "final student": "final/miou_groundtruth",
    "against the teacher": "final/miou",
}


def rows(epochs: int, *, rounds: Sequence[int], has_truth: bool) -> dict[str, Command]:
    """Map each row title to its overrides; each of the R rounds of MCKD has 1/R of the epochs.

    Every student that has a teacher is chosen by the same reference, the teacher's labels of the validation split.
    """
    chosen_by = "stage.best_against=teacher"
    found = {"plain distillation": ["stage=distill", chosen_by, f"stage.epochs={epochs}"]}
    for number in rounds:
        own = [] if number == 2 else [f"stage.num_rounds={number}"]
        found[f"MCKD, {number} rounds"] = ["stage=mckd", chosen_by, *own, f"stage.epochs={epochs // number}"]
    return found | ({"true labels": ["stage=supervised", f"stage.epochs={epochs}"]} if has_truth else {})


def all_jobs(wanted: Sequence[str], camvid: Path, seeds: Sequence[int], outputs: Path) -> Iterator[Job]:
    """Yield all runs, seed by seed, so that an unfinished study has every row."""
    real = ["experiment=mckd/camvid", f"dataset.root={camvid}", "dataset.size=[96,128]", "threads=1"]
    pretrained = [*real, "student=efficientnet_lite0", "precision=float32"]
    tables = {
        "synthetic": (["experiment=mckd/synthetic"], rows(40, rounds=(2, 3), has_truth=True)),
        "camvid": (real, rows(40, rounds=(2,), has_truth=True)),
        "camvid imagenet": (pretrained, rows(16, rounds=(2,), has_truth=False)),
    }
    for seed in seeds:
        shared = [
            "stage.patience=null",
            "run.plots=false",
            "run.report=false",
            f"seed={seed}",
            f"paths.outputs={outputs}",
        ]
        for table, (common, found) in tables.items():
            for row, own in found.items() if table in wanted else ():
                yield Job(table, row, seed, [*common, *own, *shared])
        for share in SHARES if "few labels" in wanted else ():
            cut = f"stage.labelled_share={1 / share}"
            own = ["stage=supervised", "student=efficientnet_lite2", "augmentation=flip_scale_crop"]
            own += [f"stage.epochs={5 * share}"]  # the same number of updates for every share of labels
            teacher = [*pretrained, cut, *own, *shared]
            given = [f"teacher.checkpoint={folder_of(teacher)}/teacher.pth", "teacher.size=[96,128]"]
            given += [f"teacher.name=fpn-1-in-{share}", "teacher.source=few labels"]
            for row, own in rows(12, rounds=(2,), has_truth=False).items():
                yield Job(
                    "few labels",
                    f"1/{share} of the labels: {row}",
                    seed,
                    [*pretrained, cut, *given, *own, *shared],
                    teacher,
                )


def read_all(jobs: Sequence[Job]) -> Found:
    """Return the finished runs by table, row and seed."""
    found: Found = {}
    for job, run in finished(jobs):
        found.setdefault(job.table, {}).setdefault(job.row, {})[job.seed] = run
    return found


def table(found: dict[str, dict[int, Run]]) -> str:
    """Return a Markdown table of mIoU on the test split in per cent: mean and sample standard deviation over seeds."""
    budgets = {"updates, a student of round 1": "round_1/student_0", "updates, final student": "final"}
    rows = [["", *COLUMNS, *budgets, "runs"]]
    for row, runs in found.items():
        cells = [cell(values(runs, key), 100, 1) for key in COLUMNS.values()]
        cells += [updates(runs, f"{name}/loss_total") for name in budgets.values()]
        rows.append([row, *cells, str(len(runs))])
    return markdown_table(rows)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__, "mckd.md", "only", TABLES)
    chosen = parser.parse_args(arguments)
    if set(chosen.only) != {"synthetic"}:
        need_camvid(chosen.camvid, "--only synthetic")
    jobs = list(all_jobs(chosen.only, chosen.camvid, chosen.seeds, chosen.outputs))
    if not chosen.tables_only:
        for seed in chosen.seeds:
            of_seed = [job for job in jobs if job.seed == seed]
            teachers = {job.row: job.teacher for job in of_seed if job.teacher is not None}
            run_all({tuple(teacher): teacher for teacher in teachers.values()}.values(), jobs=chosen.jobs)
            run_all([job.command for job in of_seed], jobs=chosen.jobs)
    write_parts(chosen.page, {f"table {name}": table(found) for name, found in read_all(jobs).items()})


if __name__ == "__main__":
    main()
