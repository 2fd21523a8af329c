"""Identities of runs and of a teacher's labels: digests of everything that determines their numbers."""

import importlib.metadata
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from odkd.common.dotted import (
    NOT_IN_DATASET,
    NOT_IN_STAGE,
    NOT_OF_THE_TEACHER,
    OF_THE_MAPPING,
    WHERE_AND_HOW,
    flatten,
    is_in,
)
from odkd.common.files import json_digest
from odkd.common.notes import file_digest, folder_digest
from odkd.common.optional import version_of
from odkd.common.renamed import without_added
from odkd.config.compose import default_values
from odkd.config.construct import resolve
from odkd.config.features import of_the_key
from odkd.config.image_datasets import has_images
from odkd.config.members import members_of
from odkd.config.own_code import own_digest
from odkd.config.plain import PLAIN, is_plain, knows_no_time
from odkd.config.roles import is_users, targets
from odkd.data.labels.class_tables import TABLES
from odkd.data.labels.sets import label_set
from odkd.data.video.decode import DECODER
from odkd.data.video.image_index import READER
from odkd.data.video.stream import Stream

SMP = ("segmentation-models-pytorch", "timm")  # distributions
OF_THE_AVERAGE = ("ema", "saved")
NUMBERS = 2  # raise it when odkd changes the numbers or keys of runs on purpose


def teacher_identity(
    cfg: DictConfig, allowed: list[str], cache: Path, groundtruth_digest: str | None
) -> dict[str, Any]:
    """Return what determines a teacher's labels besides frames and size: settings, weights, user-defined code."""
    return _identity_of(cfg.teacher, "teacher", list(cfg.dataset.classes), allowed, cache, groundtruth_digest)


def _identity_of(
    node: DictConfig, place: str, classes: list[str], allowed: list[str], cache: Path, groundtruth_digest: str | None
) -> dict[str, Any]:
    """Return the identity of the labels of a teacher, or of a member of one, whose settings lie at a place."""
    whole: Any = OmegaConf.to_container(node, resolve=True)
    settings = {key: value for key, value in whole.items() if key not in NOT_OF_THE_TEACHER}
    if members := members_of(node):
        # The map from a member's classes decides its votes, and the order of members ties.
        settings["members"] = [
            [
                name,
                _identity_of(member, f"{place}.members.{name}", classes, allowed, cache, groundtruth_digest),
                {key: whole["members"][name][key] for key in ("label_set", "classes")},
            ]
            for name, member in members.items()
        ]
        return {**without_added(settings), "of_classes": classes}
    teacher = resolve(node._target_, allowed, place)
    own = getattr(teacher, "identity", None)
    if own is None:
        identity: dict[str, Any] = named_by_content(without_added(settings), cache)
    else:
        identity = {"_target_": settings["_target_"]} | own(settings, lambda path: file_digest(path, cache))
    identity |= source_digests({place: node._target_}, allowed, cache)
    if not has_known_identity(node, allowed):
        identity["groundtruth"] = groundtruth_digest
    takes, is_own = inspect.signature(teacher).parameters, is_users(node._target_)
    if "classes" in takes and (own is None or is_own):  # it is passed the dataset's classes
        identity["classes"] = classes
    names = node.label_set
    if is_own and "num_classes" in takes and settings.get("num_classes") is None and names is not None:
        identity["num_classes"] = len(label_set(names).classes if isinstance(names, str) else names)  # it is passed it
    return identity


def has_known_identity(teacher: DictConfig, allowed: list[str]) -> bool:
    """Return True if the identity of a teacher's labels does not depend on the ground truth of a stream."""
    if members := members_of(teacher):
        return all(has_known_identity(member, allowed) for member in members.values())
    kind = resolve(teacher._target_, allowed, "teacher")
    return getattr(kind, "identity", None) is not None or bool(getattr(kind, "needs_images", True))


def groundtruth_digest(root: Path, folder: str | None, stream: Stream, cache: Path) -> str | None:
    """Return the digest of all label maps of a stream's videos; None without ground truth."""
    if not folder:
        return None
    if not (root / folder).is_dir():
        raise ValueError(
            f"no ground truth folder {root / folder}: set dataset.groundtruth=null if the dataset has none"
        )
    found = (path for video in stream.videos for path in (root / folder / video.stem).glob("*.png"))
    return folder_digest((path for path in found if path.is_file()), root / folder, cache)


def run_key(cfg: DictConfig, parts: list[Any], allowed: list[str], cache: Path) -> str:
    """Return the digest of settings, contents of files, user-defined code, library versions, and `parts`."""
    content = without_added(named_by_content(OmegaConf.to_container(cfg, resolve=True), cache))
    settings = {name: value for name, value in content.items() if name not in (*WHERE_AND_HOW, "run")}
    settings["dataset"] = {key: value for key, value in settings["dataset"].items() if key not in NOT_IN_DATASET}
    if settings["dataset"].get("ids") is None:
        settings["dataset"].pop("ids", None)  # runs from before there was this setting keep their key
    if settings["student"].get("ema") is None:  # as before there were averages
        settings["student"] = {key: value for key, value in settings["student"].items() if key not in OF_THE_AVERAGE}
    if not settings["student"].get("rates"):  # as before there were rates
        settings["student"].pop("rates", None)
    if settings["student"].get("statistics") == "own":  # as before there was a choice
        settings["student"].pop("statistics")
    if settings["dataset"].get("seconds_per_frame") is None or knows_no_time(settings):
        settings["dataset"].pop("seconds_per_frame", None)
    for group in PLAIN:  # as before there were these groups
        if is_plain(group, settings.get(group)):
            settings.pop(group, None)
    if settings.get("updates", {}).get("sent") is not None:
        parts = [*parts, f"numcodecs {importlib.metadata.version('numcodecs')}"]  # it compresses what is counted
    if (features := of_the_key(settings.pop("features", {}))) is not None:
        settings["features"] = features
    if not settings.get("fast_forms"):
        settings.pop("fast_forms", None)  # the same
    if settings["dataset"].get("decoder") == "pyav":
        settings["dataset"].pop("decoder")  # likewise
    left_out = (*NOT_IN_STAGE, *getattr(resolve(cfg.stage._target_, allowed, "stage"), "where_and_how", ()))
    settings["stage"] = {key: value for key, value in settings["stage"].items() if key not in left_out}
    settings["teacher"] = {
        key: settings["teacher"][key] for key in OF_THE_MAPPING
    }  # the rest is part of the teacher's identity
    if isinstance(table := settings["teacher"]["classes"], str):
        settings["teacher"]["classes"] = TABLES.get(
            table, table
        )  # a named table counts by its content, which may be corrected
    code = source_digests(targets(cfg), allowed, cache)
    versions = [NUMBERS, importlib.metadata.version("torch"), READER if has_images(cfg.dataset) else DECODER]
    versions += library_versions(cfg.student._target_, allowed) + student_facts(cfg.student, allowed)
    return json_digest([settings, cfg.run.repeat, parts, code, versions])


def library_versions(target: str, allowed: list[str]) -> list[str]:
    """Return name and version of the libraries besides torch that make a student's layers and initial weights.

    A class names them in its attribute `libraries`; odkd's own networks need none.
    """
    named = SMP if target.startswith("segmentation_models_pytorch.") else ()
    named = named or getattr(resolve(target, allowed, "student"), "libraries", ())
    return [f"{name} {version_of(name) or 'not installed'}" for name in named]


def student_facts(student: DictConfig, allowed: list[str]) -> list[str]:
    """Return what a student's class says about the numbers of its settings; most say nothing."""
    facts = getattr(resolve(student._target_, allowed, "student"), "facts", None)
    return list(facts(student)) if facts and not is_users(student._target_) else []


def run_name(cfg: DictConfig, *, learns: bool, has_teacher: bool) -> str:
    """Return the name of a run: `run.name`, or stage, dataset, student, teacher and methods.

    Replay, regularizer and updates are part of the name if they are not those of a plain `odkd`.
    """
    if cfg.run.name:
        return str(cfg.run.name)
    names = [cfg.stage.name, cfg.dataset.name, *([cfg.student.name] if learns else [])]
    names += [cfg.teacher.name] if has_teacher else []
    for group in ("replay", "regularizer", "updates", "pace", "timing") if learns else ():
        target = cfg[group]._target_
        if target != default_values()[f"{group}._target_"]:
            names.append(target.rpartition(".")[2].lower())
    return "-".join(names)


def source_digests(named: Mapping[str, str], allowed: list[str], cache: Path) -> dict[str, str]:
    """Return the digest of the source of each user-defined class (not of odkd or its libraries), by its name.

    Args:
        named: place -> class.
    """
    own = {place: target for place, target in named.items() if is_users(target) and not is_in(place, WHERE_AND_HOW)}
    return {target: own_digest(resolve(target, allowed, place), allowed, cache) for place, target in own.items()}


def named_by_content(value: Any, cache: Path) -> Any:
    """Return `value` with the name of each existing file replaced by the digest of its content."""
    if isinstance(value, Mapping):
        return {str(key): named_by_content(item, cache) for key, item in value.items()}
    if isinstance(value, list):
        return [named_by_content(item, cache) for item in value]
    if isinstance(value, str) and Path(value).suffix and Path(value).is_file():
        return f"sha256:{file_digest(Path(value), cache)}"
    return value


def digests_of_files(whole: Mapping[str, Any], cache: Path) -> dict[str, str]:
    """Return, for each setting that names files, its dotted key and its value with digests instead of names.

    Args:
        whole: a resolved config.
        cache: folder in which digests are kept.
    """
    settings = {name: value for name, value in whole.items() if name not in WHERE_AND_HOW}
    named, known = flatten(settings), flatten(named_by_content(settings, cache))
    return {key: value for key, value in known.items() if value != named[key]}
