"""Names of earlier versions of odkd, so that their runs, label stores and YAML files can still be read.

2026-11-28: the package was divided into rooms, so classes that a YAML file names have moved. The last online student
is `last/` and no longer `final/`, which is MCKD's final student; trainings over epochs leave out the name of the
teacher, as streams do; the rounds of MCKD are no longer called stages; MLflow has final scores under `summary/`.
"""

import functools
import re
from collections.abc import Mapping
from typing import Any

MOVED = {  # earlier module or package -> its present name
    "odkd.augment": "odkd.training.augment",
    "odkd.losses": "odkd.training.losses",
    "odkd.regularizers": "odkd.training.regularizers",
    "odkd.replay": "odkd.training.replay",
    "odkd.video": "odkd.data.video",
}
STAGES = {  # earlier function -> its present class
    "odkd.stages.label.label": "odkd.stages.label.Label",
    "odkd.stages.online.online": "odkd.stages.online.Online",
    "odkd.stages.mckd.mckd": "odkd.stages.mckd.Mckd",
}
SETTINGS = {  # earlier setting -> its present name
    "stage.num_stages": "stage.num_rounds",
    "stage.run_stages": "stage.run_rounds",
    "stage.seed_metric": "stage.reference_metric",
}
NEW_SETTINGS = {"stage.first_run": "None", "stage.devices": "None"}  # of every stage over epochs, with their default
# Class -> settings that it has got since, with the value that earlier runs computed with.
ADDED: dict[str, dict[str, Any]] = {
    "odkd.training.regularizers.mas.Mas": {"objective": "pixel_mean"},
    "odkd.training.losses.CrossEntropy": {"label_smoothing": 0.0},
    "odkd.training.augment.Augmentation": {"class_mix": 0.0},
    "odkd.training.losses.dice.Dice": {"absent": "left_out"},
    "odkd.students.smp.SmpStudent": {"decoder": None},
    "odkd.teachers.ensemble.Ensemble": {"mirrored": False},
    "odkd.teachers.oracle.Oracle": {"region_noise": 0.0, "region_pixels": 16},
    "odkd.teachers.transformers.TransformersTeacher": {"scores": "normalized"},
}
CLASS_TAG = "odkd.param."  # MLflow has the params that name a class as tags; earlier they were params there
SCORES = "miou|miou_per_frame|accuracy|f1_weighted|f1_macro|iou|miou_128_batches"


def current_target(target: str) -> str:
    """Return the present dotted name of a class of odkd; other names are unchanged.

    >>> current_target("odkd.replay.fifo.Fifo"), current_target("my_lab.replay.Mine")
    ('odkd.training.replay.fifo.Fifo', 'my_lab.replay.Mine')
    """
    if target in STAGES:
        return STAGES[target]
    for before, now in MOVED.items():
        if target.startswith(f"{before}."):
            return now + target.removeprefix(before)
    return target


def current_config(value: Any, prefix: str = "") -> Any:
    """Return a config (plain dictionaries and lists) with the present names of classes and settings."""
    if isinstance(value, Mapping):
        found: dict[Any, Any] = {}
        for key, item in value.items():
            now = SETTINGS.get(f"{prefix}{key}")
            is_target = key == "_target_" and isinstance(item, str)
            found[key if now is None else now.rpartition(".")[2]] = (
                current_target(item) if is_target else current_config(item, f"{prefix}{key}.")
            )
        return found
    return [current_config(item, prefix) for item in value] if isinstance(value, list) else value


def without_added(value: Any) -> Any:
    """Return a config without the settings of `ADDED` that have their earlier value, so that keys of runs stay.

    >>> without_added({"_target_": "odkd.training.losses.dice.Dice", "absent": "left_out"})
    {'_target_': 'odkd.training.losses.dice.Dice'}
    """
    if isinstance(value, Mapping):
        known = ADDED.get(str(value.get("_target_")), {})
        is_new = {key: key not in known or item != known[key] for key, item in value.items()}
        return {key: without_added(item) for key, item in value.items() if is_new[key]}
    return [without_added(item) for item in value] if isinstance(value, list) else value


def current_params(params: Mapping[str, str]) -> dict[str, str]:
    """Return the params of a run, by dotted key, with the present classes and settings."""
    found = renamed_params(params)
    for key, target in dict(found).items():
        if key.endswith("._target_"):
            before = key.removesuffix("_target_")
            found = {f"{before}{name}": str(value) for name, value in ADDED.get(target, {}).items()} | found
    # A stage over epochs has settings that earlier versions did not have.
    return (NEW_SETTINGS | found) if "stage.shares" in found else found


def renamed_params(params: Mapping[str, str]) -> dict[str, str]:
    """Return the params of a run under the present names, without settings that it did not have."""
    return {
        SETTINGS.get(key, key): current_target(value) if key.endswith("_target_") else value
        for key, value in params.items()
    }


@functools.cache  # a run has as many lines as iterations, all with the same names
def current_metric(name: str, stage: str) -> str:
    """Return the present name of a metric of a run of `stage`; present names are unchanged.

    >>> current_metric("final/miou", "online"), current_metric("stage_1/student_0/iou_teacher/car", "mckd")
    ('last/miou', 'round_1/student_0/iou/car')
    """
    if stage == "online":
        return re.sub(r"^(mean_)?final(_segment)?/", r"\1last\2/", name)
    name = re.sub(r"^stage_(?=\d+/)", "round_", name)
    return re.sub(
        rf"^((?:[^/]+/)*?(?:{SCORES}))_(teacher|previous_stage)(?=/|$)",
        lambda found: found[1] + ("" if found[2] == "teacher" else "_previous_round"),
        name,
    )


def current_reference(name: str) -> str:
    """Return the present name of a label source."""
    return "previous_round" if name == "previous_stage" else name


def current_metrics(metrics: Mapping[str, Any], stage: str) -> dict[str, Any]:
    """Return metrics under their present names."""
    return {current_metric(name, stage): value for name, value in metrics.items()}


def current_stored_names(names: list[str], stage: str) -> dict[str, str]:
    """Return the present name of each metric of a run in MLflow -> the name that it is stored under.

    Earlier versions put `final/` before the names of final scores, unless the names began with it.

    >>> current_stored_names(["test/miou", "final/total/miou", "final/miou"], "online")
    {'test/miou': 'test/miou', 'summary/total/miou': 'final/total/miou', 'summary/last/miou': 'final/miou'}
    """
    found: dict[str, str] = {}
    for name in sorted(names, key=lambda name: name.startswith("summary/")):  # today's names win
        if name.startswith("summary/"):
            found[name] = name
            continue
        rest = name.removeprefix("final/")
        if rest == name or re.match(r"(val/|loss_|learning_rate)", rest):  # a series
            found[current_metric(name, stage)] = name
            continue
        is_own = bool(re.match(rf"(?:{SCORES})(_|/|$)|labels/|best_epoch$|num_epochs$|val_best$", rest))
        found[f"summary/{current_metric(name if is_own else rest, stage)}"] = name
        if rest == "num_epochs":  # the number of all trainings and that of the last one had the same name
            found["summary/num_epochs"] = name
    return found
