"""The commands that the crash harness disturbs, and what they find in their folder when they begin."""

from dataclasses import dataclass
from pathlib import Path

from tiny_settings import TINY

STUDENT = "from torch import nn\n\n\nclass OneLayer(nn.Conv2d):\n    def __init__(self, num_classes):\n"
STUDENT += "        super().__init__(3, num_classes, 1)\n"
CHOICE = "_target_: one_layer.OneLayer\nname: one_layer\nweights: null\nfreeze: []\n"
CHOICE += "mean: [0.485, 0.456, 0.406]\nstd: [0.229, 0.224, 0.225]\n"
OWN = ["--config-dir", "conf", "student=one_layer", "allow_targets=[one_layer]"]
SMALL = [*OWN, *TINY, "run.overlay_video=false", "run.checkpoint_overhead=1e9", "teacher.label_noise=0.1"]
FEW = [
    "window={learn: 4, test: 4, step: 6}",
    "evaluation.batch_size=4",
    "evaluation.shift=null",
    "evaluation.final=false",
]
TRACKED = ["tracking=mlflow", "tracking.seconds=0.2"]
PAGES = ["run.plots=true", "run.report=true", "run.overlay_video=true"]
PAIRS = [  # each replay once and each regularizer once, at least
    ("fifo", "none"),
    ("first", "ace"),
    ("memoryless", "lwf"),
    ("mir", "mas"),
    ("nothing", "ewc"),
    ("prioritized", "derpp"),
    ("reservoir", "rwalk"),
    ("uniform", "ewc"),
]
SLOW = [  # frames come every half second, so the teacher is late, and drops some
    *("timing=simulated", "timing.teacher_seconds=0.75", "timing.train_seconds=0.3", "timing.student_seconds=0.6"),
    *("timing.down_seconds=0.25", "timing.most_waiting=1"),
]
PACES = {  # each pace once, and a student to which only differences are sent
    "fixed": ("pace.every=2", "updates=random", "updates.sent=float16"),
    "jitnet": ("pace=jitnet", "pace.min_stride=1", "pace.max_stride=4", "pace.max_updates=2", "replay=memoryless"),
    "ams": ("pace=ams", "pace.first_seconds=3", "pace.train_seconds=2", "pace.max_updates=3", "pace.rate_seconds=2"),
    "drift": ("pace=drift", "pace.num_frames=5", "pace.threshold=0.001", "pace.tolerance=0"),
}
MCKD = ["stage=mckd", "stage.epochs=1", "optimizer.lr=1e-3"]
BASELINES = ("born_again", "cps", "mean_teacher", "self_training")


@dataclass(frozen=True)
class Stage:
    """A command under attack.

    Args:
        name: of its row in the table.
        words: program and arguments.
        before: commands that have run in the folder, undisturbed, before each trial.
        has_mlflow: MLflow holds its runs in the end.
        is_job: a single job of odkd: it writes nothing before `perform`, so that forks can begin there.
        repeats: most of its points are those of single jobs, which other stages have.
    """

    name: str
    words: tuple[str, ...]
    before: tuple[tuple[str, ...], ...] = ()
    has_mlflow: bool = False
    is_job: bool = True
    repeats: bool = False


LABEL = ("odkd", *SMALL, "stage=label")
LABELLED = (*LABEL, "run.name=before")
ONLINE = ("odkd", *SMALL, *FEW)
SWEEP = ("odkd", "-m", *ONLINE[1:], *TRACKED)
SENT = (LABELLED, ("odkd-sync", "outputs"))  # MLflow's tables exist

STAGES = [
    Stage("label", LABEL),
    *(
        Stage(
            f"online, {replay}, {regularizer}", (*ONLINE, f"replay={replay}", f"regularizer={regularizer}"), (LABELLED,)
        )
        for replay, regularizer in PAIRS
    ),
    *(Stage(f"clock, {pace}", (*ONLINE, *SLOW, *words), (LABELLED,)) for pace, words in PACES.items()),
    Stage("several streams", (*ONLINE, *SLOW, "stage=online_streams", "stage.teacher=drift"), (LABELLED,)),
    Stage("mckd", ("odkd", *SMALL, *MCKD), (LABELLED,)),
    *(Stage(f"baseline, {name}", ("odkd", *SMALL, *MCKD, f"stage={name}"), (LABELLED,)) for name in BASELINES),
    Stage("online with pages", (*ONLINE, *PAGES), (LABELLED,), repeats=True),
    Stage("online with MLflow", (*ONLINE, *TRACKED), SENT, has_mlflow=True),
    Stage("sync", ("odkd-sync", "outputs"), (ONLINE,), has_mlflow=True, is_job=False, repeats=True),
    Stage("sweep", (*SWEEP, "seed=0,1"), SENT, has_mlflow=True, is_job=False, repeats=True),
]


def write_student(folder: Path) -> None:
    """Write a student of one layer, and the YAML file that chooses it, for the commands in this folder."""
    (folder / "one_layer.py").write_text(STUDENT)
    (folder / "conf" / "student").mkdir(parents=True)
    (folder / "conf" / "student" / "one_layer.yaml").write_text(CHOICE)
