"""Study of where MCKD's second round gains: kind and size of the teacher's errors x images x student. docs/mckd.md.

    python scripts/mckd_surface.py                      # runs what is missing, then writes tables and figure
    python scripts/mckd_surface.py --only "TinyNet, 27 images" --jobs 4
    python scripts/mckd_surface.py --tables-only

A run of MCKD trains two rounds of E / 2 epochs and, to compare with, a student by plain distillation with E epochs:
as many passes over the images (the last batch of each half is rounded up, which adds a few updates to the pair). A
second run is plain distillation with E / 2 epochs. MCKD's final student has as many updates, so these two differ in
their labels alone. The other methods make as many passes as MCKD. Runs are not followed into MLflow; `odkd-sync` puts
them there.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import surface_page
from study import finished, folder_of, need_camvid, options, run_all, write_parts
from surface_page import HALF, PAIR, Runs

from odkd.report.canvas import save
from odkd.runs.results import Run

Command = list[str]
FEW_LABELS = "a network from few labels"
SHARE = 0.25  # of the training images: those that the network learned from
CONFUSED = (
    "{road: {pavement: P}, pavement: {road: P}, building: {fence: P}, vegetation: {building: P}, sky: {building: P}}"
)
ERRORS: dict[str, Command] = {  # of an oracle; name -> its overrides
    "none": [],
    "pixels, 0.3": ["teacher.label_noise=0.3"],
    "pixels, 0.6": ["teacher.label_noise=0.6"],
    "regions, 0.3": ["teacher.region_noise=0.3", "teacher.region_pixels=12"],
    "regions, 0.6": ["teacher.region_noise=0.6", "teacher.region_pixels=12"],
    "outlines, 8 pixels": ["teacher.boundary_jitter_pixels=8"],
    "classes, 0.4": [f"teacher.confusion={CONFUSED.replace('P', '0.4')}"],
}


@dataclass(frozen=True)
class Setting:
    """Data and a student, with a budget: a panel of the figure.

    Args:
        own: overrides of all its runs.
        epochs: of plain distillation; each of MCKD's R rounds has 1/R of them.
        errors: kinds of errors that are studied.
        teacher_epochs: of the network that learns from few labels.
    """

    own: Command
    epochs: int
    errors: Sequence[str]
    teacher_epochs: int = 0


RENDERED = ["experiment=mckd/synthetic", "dataset.prepare.num_periods=6", "dataset.size=[48,84]"]
FEW, MORE = "stage.shares=[0.15,0.05,0.8]", "stage.shares=[0.5,0.05,0.45]"  # of 180 images
EVERY = (*ERRORS, FEW_LABELS)
SETTINGS = {
    "TinyNet, 27 images": Setting([*RENDERED, FEW], 80, EVERY, 120),
    "TinyNet, 90 images": Setting([*RENDERED, MORE], 40, EVERY, 40),
    "EfficientNet-Lite0, 27 images": Setting([*RENDERED, FEW, "student=efficientnet_lite0"], 30, EVERY, 120),
    # labelled_share: the students learn from the other quarter of the 367 images of the official split
    "TinyNet, CamVid": Setting(
        ["experiment=mckd/camvid", "teacher=oracle", "dataset.size=[72,96]", "stage.labelled_share=0.75"],
        40,
        ("pixels, 0.6", "regions, 0.3", "outlines, 8 pixels", "classes, 0.4"),
    ),
}
METHODS: dict[str, Command] = {
    "MCKD, 3 rounds": ["stage=mckd", "stage.num_rounds=3"],
    "cross pseudo supervision": ["stage=cps"],
    "self-training": ["stage=self_training"],
    "born again": ["stage=born_again"],
    "mean teacher": ["stage=mean_teacher", "stage.num_parts=1"],  # from the labels of all images, as the others
}
CAMVID = "TinyNet, CamVid"
COMPARED = "TinyNet, 27 images"  # where all methods are
COMPARED_ERRORS = ("pixels, 0.6", "regions, 0.3", "classes, 0.4")


@dataclass(frozen=True)
class Job:
    """A run of the study, and the command that trains its teacher, if any."""

    setting: str
    error: str
    method: str
    seed: int
    command: Command
    teacher: Command | None = None


def all_jobs(settings: Sequence[str], camvid: Path, seeds: Sequence[int], outputs: Path) -> Iterator[Job]:
    """Yield all runs, seed by seed, so that an unfinished study has every cell."""
    for seed in seeds:
        for name in settings:
            setting = SETTINGS[name]
            shared = [
                *("precision=float32", "fast_forms=true", "channels_last=true", "threads=1", "tracking=none"),
                *("stage.patience=null", "run.plots=false", "run.report=false", f"seed={seed}"),
                f"paths.outputs={outputs}",
            ]
            if name == CAMVID:
                shared += [f"dataset.root={camvid}"]
            for error in setting.errors:
                teacher, given = None, ERRORS.get(error, [])
                if error == FEW_LABELS:
                    teacher, given = few_labels(setting, shared)
                elif name == CAMVID:
                    given = [part.replace("vegetation", "tree") for part in given]
                common = [*setting.own, *given, *shared, "stage.best_against=teacher"]
                half = [f"stage.epochs={setting.epochs // 2}"]
                pair = ["stage=mckd", *half, f"stage.plain_epochs={setting.epochs}"]
                yield Job(name, error, PAIR, seed, [*common, *pair], teacher)
                yield Job(name, error, HALF, seed, [*common, "stage=distill", *half], teacher)
                if name == COMPARED and error in COMPARED_ERRORS:
                    for method, own in METHODS.items():
                        epochs = [f"stage.epochs={setting.epochs // 3}"] if method == "MCKD, 3 rounds" else half
                        yield Job(name, error, method, seed, [*common, *own, *epochs])


def few_labels(setting: Setting, shared: Command) -> tuple[Command, Command]:
    """Return the command of a network that learns from a quarter of the labels, and the overrides that take it."""
    cut = f"stage.labelled_share={SHARE}"
    network = ["student=efficientnet_lite2", "augmentation=flip_scale_crop", f"stage.epochs={setting.teacher_epochs}"]
    own = [part for part in setting.own if not part.startswith("student=")]
    teacher = [*own, *shared, "stage=supervised", cut, *network]
    given = ["teacher=checkpoint", f"teacher.checkpoint={folder_of(teacher)}/teacher.pth", "teacher.name=few-labels"]
    return teacher, [*given, "teacher.source=few labels", "teacher.size=[64,96]", cut]


def gather(jobs: Sequence[Job]) -> Runs:
    """Return the finished runs by setting, error and method."""
    found: dict[tuple[str, str, str], dict[int, Run]] = {}
    for job, run in finished(jobs):
        found.setdefault((job.setting, job.error, job.method), {})[job.seed] = run
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    parser = options(__doc__, "mckd.md", "only", list(SETTINGS))
    chosen = parser.parse_args(arguments)
    if not chosen.tables_only:
        if CAMVID in chosen.only:
            need_camvid(chosen.camvid, f'--only "{COMPARED}"')
        jobs = list(all_jobs(chosen.only, chosen.camvid, chosen.seeds, chosen.outputs))
        run_all({tuple(job.teacher): job.teacher for job in jobs if job.teacher is not None}.values(), jobs=chosen.jobs)
        run_all([job.command for job in jobs], jobs=chosen.jobs)
    here = [name for name in SETTINGS if name != CAMVID or (chosen.camvid / "videos").is_dir()]
    found = gather(list(all_jobs(here, chosen.camvid, chosen.seeds, chosen.outputs)))
    if not surface_page.scores(found):
        sys.exit(f"no finished runs of the study in {chosen.outputs}; leave out --tables-only")
    write_parts(
        chosen.page, {"table surface": surface_page.surface(found), "table methods": surface_page.methods(found)}
    )
    print(f"wrote {save(surface_page.draw(found), chosen.page.parent / 'images' / 'mckd_surface.png')}")


if __name__ == "__main__":
    main()
