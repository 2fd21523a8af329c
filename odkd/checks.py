"""Mistakes in a config, found before anything is computed; each answered in one message."""

import difflib
import re
import traceback
from collections.abc import Iterable
from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from odkd.dotted import flatten
from odkd.imagesets import check_images, check_splits, has_images, pictures_of
from odkd.labels.sets import label_set
from odkd.method_checks import check_methods
from odkd.video.fit import FITS
from odkd.video.order import StreamOrder

ALLOWED_TARGETS = ("odkd.", "torch.optim.", "torch.nn.", "segmentation_models_pytorch.")
POSITIVE_INTEGERS = (
    "window.learn", "window.test", "window.step", "dataset.stride", "teacher.batch_size",
    "evaluation.batch_size", "stage.batch_size", "stage.epochs", "threads", "replay.capacity",
    "stage.pretrain_epochs", "evaluation.shift", "stage.num_stages", "stage.num_parts", "stage.patience",
    "stage.plain_epochs", "replay.candidates", "replay.num_positions",
)  # fmt: skip
NATURAL_NUMBERS = (
    "seed", "run.repeat", "teacher.soft.top_k", "evaluation.border_pixels", "evaluation.segment_frames",
    "stage.pretrain_positions",
)  # fmt: skip
WORDS = {"evaluation.shift": "auto", "stage.pretrain_positions": "all"}  # taken in a number's place
POSITIVE_NUMBERS = (
    "optimizer.lr", "bank.memory_gib", "tracking.seconds", "tracking.close_seconds", "tracking.system_seconds",
    "run.checkpoint_overhead", "dataset.stride_seconds",
)  # fmt: skip
BOOLEANS = (
    "channels_last",
    "compile",
    "deterministic",
    "run.restart",
    "run.overlay_video",
    "run.plots",
    "run.report",
    "sweep.fail_fast",
    "tracking.enabled",
    "teacher.allow_missing",
    "evaluation.final",
    "stage.drop_last",
    "stage.seed_metric",
    "replay.refresh",
    "regularizer.is_active",
)
CHOICES: dict[str, tuple[Any, ...]] = {
    "precision": ("float32", "bfloat16", "float16"),
    "teacher.precision": ("float32", "bfloat16", "float16"),
    "dataset.frame_store": ("disk", "none"),
    "dataset.fit": FITS,
    "evaluation.groundtruth": ("auto", True, False),
    "evaluation.predictor": ("student", "teacher"),
    "stage.order": ("stream", "shuffled", "paired"),
    "stage.learn_from": ("teacher", "groundtruth"),
    "stage.best_by": ("miou", "miou_per_frame", "accuracy", "f1_weighted", "f1_macro"),
    "stage.best_against": (None, "teacher", "groundtruth", "previous_stage"),
}
FILES = ("teacher.checkpoint", "student.weights")
URLS = ("teacher.checkpoint",)  # of the files, those that may lie on the web
OPTIONAL = (
    "threads",
    "dataset.stride_seconds",
    "student.weights",
    "evaluation.shift",
    "stage.patience",
    "stage.plain_epochs",
    "tracking.system_seconds",
)


def nearest(name: str, known: Iterable[str], cutoff: float = 0.5) -> str:
    """ "; did you mean X?" for the known name most like `name`, or nothing."""
    found = difflib.get_close_matches(name, list(known), n=1, cutoff=cutoff)
    return f"; did you mean {found[0]}?" if found else ""


def check_config(cfg: DictConfig) -> None:
    """Types, ranges, choices, files, and combinations of groups.

    Raises:
        ValueError: the first thing that is wrong: what we got, what we expected, what to change.
    """
    missing = sorted(key for key, value in flatten(OmegaConf.to_container(cfg)).items() if value == "???")
    if missing:
        layout = f": {_layout(cfg.dataset, 'FOLDER')}" if missing[0] == "dataset.root" else ""
        raise ValueError(f"{missing[0]} is not set; add {missing[0]}=... to the command{layout}")
    for key in POSITIVE_INTEGERS:
        _check(cfg, key, lambda v: type(v) is int and v >= 1, "a whole number of at least 1")
    for key in NATURAL_NUMBERS:
        _check(cfg, key, lambda v: type(v) is int and v >= 0, "a whole number of at least 0")
    for key in POSITIVE_NUMBERS:
        _check(cfg, key, lambda v: type(v) in (int, float) and v > 0, "a number above 0")
    for key in BOOLEANS:
        _check(cfg, key, lambda v: type(v) is bool, "true or false")
    for key, choices in CHOICES.items():
        value = OmegaConf.select(cfg, key)
        names = [str(choice).lower() if isinstance(choice, bool) else choice for choice in choices]
        if _has(cfg, key) and value not in choices:
            raise ValueError(f"{key}={value}; expected one of {', '.join(names)}{nearest(str(value), names)}")
    for key in ("run.name", "teacher.name"):
        value = OmegaConf.select(cfg, key)
        if not (value is None and key == "run.name") and not re.fullmatch(r"[\w][\w .+-]*", str(value)):
            raise ValueError(f"{key}={value}; expected a plain folder name of letters, digits, . + - and _")
    for key in ("outputs", "cache", "labels", "weights"):
        if not (isinstance(cfg.paths[key], str) and cfg.paths[key]):
            raise ValueError(f"paths.{key}={cfg.paths[key]}; expected a folder")
    outputs = Path(cfg.paths.outputs).absolute()
    if cfg.tracking.enabled and not cfg.tracking.uri and {"?", "%"} & set(str(outputs)):
        raise ValueError(
            f"paths.outputs={outputs}: MLflow's SQLite file cannot lie below a name with ? or %; choose another"
        )
    _check_teacher(cfg.teacher)
    for key in FILES:
        value = OmegaConf.select(cfg, key)
        is_url = key in URLS and str(value).startswith(("http://", "https://"))
        if value is not None and not is_url and not Path(value).is_file():
            raise ValueError(f"{key}={value}: no such file{_nearest_file(Path(value))}")
    _check_dataset(cfg)
    check_methods(cfg, len(cfg.dataset.classes))


def check_targets(cfg: DictConfig, allowed: list[str]) -> None:
    """YAML may only name classes of odkd, of the libraries that it builds on, and of packages in `allow_targets`."""
    for target in targets(cfg):
        if not is_allowed(target, allowed):
            raise ValueError(
                f"_target_: {target} is not allowed; YAML may name {', '.join([*ALLOWED_TARGETS, *allowed])}... "
                f"Add its package with 'allow_targets=[{target.split('.')[0]}]' if you trust it"
            )


def targets(cfg: DictConfig) -> list[str]:
    """Every `_target_` of a config."""
    return list(_targets(OmegaConf.to_container(cfg, resolve=True)))


def is_mistake(error: BaseException) -> bool:
    """Whether it is what odkd says of a user's mistake: a ValueError of ours, not of a library below."""
    frames = traceback.extract_tb(error.__traceback__)
    is_ours = bool(frames) and Path(frames[-1].filename).resolve().is_relative_to(Path(__file__).resolve().parent)
    return is_ours and isinstance(error, ValueError)


def is_allowed(target: str, allowed: list[str]) -> bool:
    """Whether a dotted name lies in odkd, a library that it builds on, or one of the packages `allowed`."""
    return target.startswith((*ALLOWED_TARGETS, *(f"{name.rstrip('.')}." for name in allowed)))


def _check(cfg: DictConfig, key: str, is_valid: Any, expected: str) -> None:
    value = OmegaConf.select(cfg, key)
    is_absent = value is None and (
        key in OPTIONAL or OmegaConf.select(cfg, key.split(".")[0]) is None or not _has(cfg, key)
    )
    word = WORDS.get(key)
    if not is_absent and not is_valid(value) and (word is None or value != word):
        others = f", or {word}{' or null' if key in OPTIONAL else ''}" if word else ""
        raise ValueError(f"{key}={value}; expected {expected}{others}")


def _has(cfg: DictConfig, key: str) -> bool:
    group, _, name = key.rpartition(".")
    node = OmegaConf.select(cfg, group) if group else cfg
    return node is not None and name in node


def _check_teacher(teacher: DictConfig) -> None:
    if not OmegaConf.is_dict(teacher.soft) or set(teacher.soft) != {"top_k", "size"}:
        raise ValueError(
            f"teacher.soft={teacher.soft}; expected {{top_k: 3, size: [height, width]}}, or top_k 0 for none"
        )
    if teacher.soft.size is not None and not teacher.soft.top_k:
        raise ValueError("teacher.soft.size is set and teacher.soft.top_k is not; set top_k to the classes to keep")
    is_names = OmegaConf.is_list(teacher.label_set) and all(isinstance(name, str) for name in teacher.label_set)
    if not (teacher.label_set is None or isinstance(teacher.label_set, str) or is_names):
        raise ValueError(f"teacher.label_set={teacher.label_set}; expected the name of a label set, or a list of names")


def _check_dataset(cfg: DictConfig) -> None:
    dataset = cfg.dataset
    if has_images(dataset):
        check_images(dataset)
    check_splits(dataset)
    if dataset.prepare is None:
        if not isinstance(dataset.root, str):
            raise ValueError(f"dataset.root={dataset.root}: {_layout(dataset, 'FOLDER')}")
        root = Path(dataset.root)
        if not root.is_dir():
            layout = f": {_layout(dataset, dataset.root)}" if has_images(dataset) else ""
            raise ValueError(f"dataset.root={root}: no such folder{_nearest_file(root)}{layout}")
        if not has_images(dataset) and not (root / "videos").is_dir():
            raise ValueError(f"dataset.root={root} has no subfolder `videos`; put the videos there")
    _check_order(dataset)
    for key in ("start", "stop"):
        if type(dataset[key]) not in (int, type(None)):
            raise ValueError(f"dataset.{key}={dataset[key]}; expected a whole number or null")
    for name, lowest in {"dataset.size": 32, "teacher.size": 32, "teacher.soft.size": 1}.items():
        value = OmegaConf.select(cfg, name)
        is_size = OmegaConf.is_list(value) and len(value) == 2 and all(type(v) is int and v >= lowest for v in value)
        if not (is_size or (value is None and name != "dataset.size")):
            raise ValueError(f"{name}={value}; expected [height, width] in pixels, each at least {lowest}")
    if not (OmegaConf.is_list(dataset.classes) and all(isinstance(name, str) for name in dataset.classes)):
        raise ValueError(f"dataset.classes={dataset.classes}; expected a list of names, such as [road,car,person]")
    classes = list(dataset.classes)
    if doubled := sorted({name for name in classes if classes.count(name) > 1}):
        raise ValueError(f"dataset.classes names {', '.join(doubled)} more than once")
    if not 2 <= len(classes) <= 180:
        raise ValueError(f"dataset.classes has {len(classes)} names; expected 2 to 180")
    truth = dataset.get("groundtruth_classes")
    if dataset.groundtruth and truth is not None:
        names = list(label_set(truth).classes) if isinstance(truth, str) else list(truth)
        if names != classes:
            raise ValueError(
                f"the ground truth of dataset {dataset.name} has classes of its own ({', '.join(names[:3])}, ...), "
                f"and dataset.classes are others ({', '.join(classes[:3])}, ...); set dataset.groundtruth=null"
            )
    if dataset.palette is not None:
        colours = [OmegaConf.to_container(c) if OmegaConf.is_list(c) else c for c in dataset.palette]
        is_rgb = [isinstance(c, list) and len(c) == 3 and all(v in range(256) for v in c) for c in colours]
        if len(colours) != len(classes) or not all(is_rgb):
            raise ValueError(f"dataset.palette={colours}; expected {len(classes)} colours [R, G, B] in 0..255, or null")
    if not_names := [key for key in dataset.domains if not isinstance(key, str)]:
        raise ValueError(f"dataset.domains names a video {not_names[0]}, a number; put video names in quotes")
    for key in ("student.mean", "student.std", "teacher.mean", "teacher.std"):
        value = OmegaConf.select(cfg, key)
        is_triple = OmegaConf.is_list(value) and len(value) == 3 and all(type(v) in (int, float) for v in value)
        if value is not None and not (is_triple and (key.endswith("mean") or min(value) > 0)):
            raise ValueError(f"{key}={value}; expected three numbers, RGB in 0..1 (std above 0)")
    patterns = cfg.student.get("freeze")
    if patterns is not None and not (OmegaConf.is_list(patterns) and all(isinstance(p, str) for p in patterns)):
        raise ValueError(f"student.freeze={patterns}; expected a list of parameter names, such as ['encoder.*']")
    if (cfg.student.mean is None) != (cfg.student.std is None):
        raise ValueError("student.mean and student.std go together; set both (RGB in 0..1) or neither")
    check_truth(cfg, has_truth=bool(dataset.groundtruth))
    if cfg.stage.get("learn_from") == "groundtruth" and cfg.evaluation.groundtruth is False:
        raise ValueError(
            "stage.learn_from=groundtruth and evaluation.groundtruth=false contradict each other; change one"
        )


def check_truth(cfg: DictConfig, *, has_truth: bool) -> None:
    """Raises ValueError where a setting needs ground truth and there is none."""
    wants_truth = {"evaluation.groundtruth=true": cfg.evaluation.groundtruth is True}
    wants_truth["stage.learn_from=groundtruth"] = cfg.stage.get("learn_from") == "groundtruth"
    wants_truth["teacher=oracle"] = cfg.teacher._target_.endswith(".Oracle")
    change = "set dataset.groundtruth to its folder"
    if has_images(cfg.dataset):
        places = [str(place.files) for place in cfg.dataset.groundtruth or ()]
        change = f"expected label maps {' or '.join(places)} below its folder" if places else "set dataset.groundtruth"
        change += f". {cfg.dataset.download}" if places and cfg.dataset.get("download") else ""
    for setting, is_set in wants_truth.items():
        if is_set and not has_truth:
            raise ValueError(f"{setting} needs ground truth and dataset {cfg.dataset.name} has none; {change}")


def _layout(dataset: DictConfig, root: str) -> str:
    """What is expected below dataset.root, and where to get it."""
    if has_images(dataset):
        return pictures_of(dataset, Path(root)).expected()
    return "expected a folder that has a subfolder `videos`"


def _check_order(dataset: DictConfig) -> None:
    order: Any = OmegaConf.to_container(dataset.order, resolve=True) if OmegaConf.is_dict(dataset.order) else None
    known = [part.name for part in fields(StreamOrder)]
    if order is None or not isinstance(order.get("skip_minutes", {}), dict):
        raise ValueError(f"dataset.order={dataset.order}; expected settings {', '.join(known)}, such as {{by: video}}")
    if unknown := sorted(set(order) - set(known)):
        raise ValueError(f"there is no setting dataset.order.{unknown[0]}{nearest(unknown[0], known)}")
    StreamOrder(**order)


def _nearest_file(path: Path) -> str:
    """A name beside it that is all but the same: of files, strangers are alike by chance (nope.pth, opt)."""
    if not path.parent.is_dir():
        return f" (nor a folder {path.parent})"
    return nearest(path.name, (entry.name for entry in path.parent.iterdir()), cutoff=0.75)


def _targets(value: Any) -> Iterable[str]:
    if isinstance(value, dict):
        if "_target_" in value:
            yield str(value["_target_"])
        for item in value.values():
            yield from _targets(item)
    elif isinstance(value, list):
        for item in value:
            yield from _targets(item)


def explain(error: Exception, keys: Iterable[str], groups: dict[str, list[str]]) -> str | None:
    """Hydra's complaint about a command in one line with the nearest valid name, or None if it is another error."""
    text = str(error)
    if found := re.search(r"Could not override '(?:.*@)?([\w./]+)'", text):
        name = found[1]
        known = set(keys) | set(groups)
        return f"there is no setting or group {name}{nearest(name, known)}"
    if found := re.search(r"Could not find '([\w./-]+)'", text):
        group, _, name = found[1].rpartition("/")
        choices = groups.get(group, [])
        return f"there is no {group}={name}{nearest(name, choices)} (known: {', '.join(choices)})"
    if found := re.search(r"Key '(\w+)' is not in struct", text):
        return f"there is no setting {found[1]}{nearest(found[1], keys)}"
    if "mismatched input" in text or "Error parsing override" in text or "LexerNoViableAlt" in text:
        return text.splitlines()[0] + " (quote values that hold = , brackets or spaces, inside the quotes of the shell)"
    return None
