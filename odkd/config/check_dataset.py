"""Mistakes in the dataset group, found before a frame is decoded."""

from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from odkd.common.missing_file import nearest_file
from odkd.common.names import nearest
from odkd.common.pictures import MOST_PIXELS
from odkd.config.build_teacher import needs_groundtruth
from odkd.config.check_answers import check_classes
from odkd.config.image_datasets import has_images, ids_of, pictures_of
from odkd.data.labels.pixel_values import check_ids
from odkd.data.labels.sets import label_set
from odkd.data.splits import SPLITS
from odkd.data.video.order import StreamOrder


def check_dataset(cfg: DictConfig) -> None:
    """Check the settings of the dataset.

    Raises:
        ValueError: the first one that is wrong or contradicts another.
    """
    dataset = cfg.dataset
    if has_images(dataset):
        check_images(dataset)
    check_splits(dataset)
    if dataset.prepare is None and not (dataset.root is None and cfg.stage.get("source") is not None):
        if not isinstance(dataset.root, str):
            raise ValueError(f"dataset.root={dataset.root}: {expected_layout(dataset, 'FOLDER')}")
        root = Path(dataset.root)
        if not root.is_dir():
            layout = f": {expected_layout(dataset, dataset.root)}" if has_images(dataset) else ""
            raise ValueError(f"dataset.root={root}: no such folder{nearest_file(root)}{layout}")
        if not has_images(dataset) and not (root / "videos").is_dir():
            raise ValueError(f"dataset.root={root} has no subfolder `videos`; put the videos there")
    _check_order(dataset)
    for key in ("start", "stop"):
        if type(dataset[key]) not in (int, type(None)):
            raise ValueError(f"dataset.{key}={dataset[key]}; expected a whole number or null")
    for name, lowest in {"dataset.size": 32, "teacher.size": 32, "teacher.soft.size": 1}.items():
        value = OmegaConf.select(cfg, name)
        is_size = OmegaConf.is_list(value) and len(value) == 2 and all(type(v) is int and v >= lowest for v in value)
        if is_size and value[0] * value[1] > MOST_PIXELS:
            raise ValueError(f"{name}={value}; expected at most {MOST_PIXELS} pixels in all")
        if not (is_size or (value is None and name != "dataset.size")):
            raise ValueError(f"{name}={value}; expected [height, width] in pixels, each at least {lowest}")
    _check_classes(dataset)
    _check_meaning(dataset)
    if not OmegaConf.is_dict(dataset.domains):
        raise ValueError(
            f"dataset.domains={dataset.domains}; expected {{pattern of video names: domain}}, such as "
            '{"*night*": night}, or {} for none'
        )
    if not_names := [key for key in dataset.domains if not isinstance(key, str)]:
        raise ValueError(
            f"dataset.domains has the number {not_names[0]} as the name of a video; put video names in quotes, in a "
            "command with a *, because it knows no quotes there"
        )
    check_truth(cfg, has_truth=bool(dataset.groundtruth))


def _check_classes(dataset: DictConfig) -> None:
    """Check names of classes, colours, and the names of the ground truth."""
    check_classes(dataset)
    classes = list(dataset.classes)
    truth = dataset.get("groundtruth_classes")
    if dataset.groundtruth and truth is not None:
        names = list(label_set(truth).classes) if isinstance(truth, str) else list(truth)
        if names != classes:
            raise ValueError(
                f"the ground truth of dataset {dataset.name} has the classes ({', '.join(names[:3])}, ...), "
                f"and dataset.classes are different ({', '.join(classes[:3])}, ...); set dataset.groundtruth=null"
            )


def _check_meaning(dataset: DictConfig) -> None:
    """Check `ids`, the meaning of the pixels in the ground truth."""
    if not has_images(dataset):
        places = {"dataset.ids": ids_of(dataset)}
    elif dataset.get("ids") is not None:
        raise ValueError("dataset.ids is for videos; for images set ids in dataset.groundtruth")
    else:
        places = {f"ids of {place.files} in dataset.groundtruth": ids_of(place) for place in dataset.groundtruth or ()}
    for where, ids in places.items():
        if not (ids is None or isinstance(ids, str | dict)):
            raise ValueError(f"{where}={ids}; expected null, a name, or a table such as {{0: 0, 255: 1}}")
        if ids is not None and not (has_images(dataset) and str(ids).endswith(".json")):
            try:
                check_ids(ids, list(dataset.classes))
            except ValueError as error:
                raise ValueError(f"{where}: {error}") from error


def check_truth(cfg: DictConfig, *, has_truth: bool) -> None:
    """Check that a dataset has ground truth if a setting needs it.

    Raises:
        ValueError: it has none.
    """
    wants_truth = {"evaluation.groundtruth=true": cfg.evaluation.groundtruth is True}
    wants_truth["stage.learn_from=groundtruth"] = cfg.stage.get("learn_from") == "groundtruth"
    wants_truth[f"teacher={cfg.teacher.name}"] = needs_groundtruth(cfg.teacher, list(cfg.allow_targets))
    change = "set dataset.groundtruth to its folder"
    if has_images(cfg.dataset):
        places = [str(place.files) for place in cfg.dataset.groundtruth or ()]
        change = f"expected label maps {' or '.join(places)} below its folder" if places else "set dataset.groundtruth"
        change += f". {cfg.dataset.download}" if places and cfg.dataset.get("download") else ""
    for setting, is_set in wants_truth.items():
        if is_set and not has_truth:
            raise ValueError(f"{setting} needs ground truth and dataset {cfg.dataset.name} has none; {change}")


def expected_layout(dataset: DictConfig, root: str) -> str:
    """Return the layout that is expected below dataset.root, and where to get the files."""
    if has_images(dataset):
        return pictures_of(dataset, Path(root)).expected()
    return "expected a folder that has a subfolder `videos`"


def _check_order(dataset: DictConfig) -> None:
    order: Any = OmegaConf.to_container(dataset.order, resolve=True) if OmegaConf.is_dict(dataset.order) else None
    known = [part.name for part in fields(StreamOrder)]
    if order is None or not isinstance(order.get("skip_minutes", {}), dict):
        raise ValueError(f"dataset.order={dataset.order}; expected settings {', '.join(known)}, such as {{by: video}}")
    if unknown := sorted(map(str, set(order) - set(known))):
        raise ValueError(f"there is no setting dataset.order.{unknown[0]}{nearest(unknown[0], known)}")
    StreamOrder(**order)


def check_images(dataset: DictConfig) -> None:
    """Check the types of the settings that only image datasets have.

    Raises:
        ValueError: the first one that is wrong.
    """
    if not isinstance(dataset.pictures, str):
        raise ValueError(f"dataset.pictures={dataset.pictures}; expected a pattern such as 'images/{{image}}.*'")
    if not (dataset.collections is None or (OmegaConf.is_list(dataset.collections) and len(dataset.collections))):
        raise ValueError(f"dataset.collections={dataset.collections}; expected a list such as [train,val], or null")
    truth: Any = dataset.groundtruth
    places = list(truth) if OmegaConf.is_list(truth) else None
    is_places = places is not None and all(OmegaConf.is_dict(p) and set(p) == {"files", "ids"} for p in places)
    if not (truth is None or is_places):
        raise ValueError(
            f"dataset.groundtruth={truth}; expected [{{files: labels/{{image}}.png, ids: null}}] for images, or null"
        )
    if dataset.get("stride_seconds") is not None:
        raise ValueError("dataset.stride_seconds is for videos; images have no time: set dataset.stride")


def check_splits(dataset: DictConfig) -> None:
    """Check that `dataset.splits` is null, a name, or {collection: split}.

    Raises:
        ValueError: it is something else.
    """
    splits = dataset.get("splits")
    is_table = OmegaConf.is_dict(splits) and all(split in SPLITS for split in splits.values())
    if not (splits is None or isinstance(splits, str) or is_table):
        raise ValueError(
            f"dataset.splits={splits}; expected {{collection: {' | '.join(SPLITS)}}}, a file or folder below "
            "dataset.root, or null"
        )
