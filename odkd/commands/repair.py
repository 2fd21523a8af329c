"""Labels made again, or taken from files, outside a run: what `odkd-labels` needs of the rest of odkd."""

import contextlib
import json
import shutil
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.data.labels.damage import find_damage, mend, mend_manifest
from odkd.data.labels.exchange import LAYOUT
from odkd.data.labels.store import LabelStore, SoftSpec


def repair(folder: Path, changes: Sequence[str]) -> int:
    """Mend a store: metadata, then the frames that are damaged or missing. Returns the number of frames labelled.

    Args:
        folder: of the store.
        changes: KEY=VALUE settings that differ from when the labels were made, such as where the video lies now.

    Raises:
        ValueError: both copies of the manifest are damaged; the video, the weights or the settings are others now.
    """
    folder = folder.absolute()
    mend_manifest(folder)
    store = LabelStore(folder)
    damage = find_damage(store)
    mend(store, damage)
    wanted = set(range(store.num_frames)) - set(damage.undecodable)
    num_labelled = 0
    for spec in [*store.soft_specs, None]:
        if wanted - store.all_stored(spec):
            num_labelled += _relabel(store, changes, spec)
    return num_labelled


def import_folder(folder: Path, settings: Sequence[str]) -> tuple[list[Path], str, str]:
    """Take a folder of label maps into stores, by the folder teacher. Returns the stores, teacher.name and .digest.

    The folder may also be one that `odkd-labels export` was given, with one teacher's maps.

    Raises:
        ValueError: a map is missing or is none; the settings do not fit.
    """
    exported = [path for path in folder.glob(f"{LAYOUT}/*") if path.is_dir()]
    cfg = compose_config(["stage=label", "tracking=none", "teacher=folder", *settings])
    if not cfg.teacher._target_.endswith(".FolderTeacher"):
        raise ValueError("an import is made by teacher=folder; leave teacher= out")
    cfg.teacher.folder = str(exported[0] if len(exported) == 1 else folder)
    parts = Parts(cfg)
    stores = parts.teacher_parts.stores(parts.sampled, parts.stream)
    try:
        parts.teacher_parts.check(stores)
        parts.teacher_parts.fill(stores, None)
    except BaseException:
        for path in stores.folders:  # nothing came in: leave nothing behind
            if (path / "manifest.json").is_file() and not LabelStore(path).all_stored():
                shutil.rmtree(path)
        raise
    return stores.folders, str(cfg.teacher.name), str(parts.teacher_identity["digest"])


def _relabel(store: LabelStore, changes: Sequence[str], soft: SoftSpec | None) -> int:
    cfg = _recipe(store, changes, soft)
    before = len(store.all_stored(soft))
    recipe_folder = Path(store.manifest["recipe"]["folder"])
    # Relative names in the recipe are those of the folder where odkd was started.
    with contextlib.chdir(recipe_folder if recipe_folder.is_dir() else Path.cwd()):
        parts = Parts(cfg)
        labels = parts.teacher_parts.stores(parts.sampled, parts.stream)
        if store.folder not in labels.folders:
            raise ValueError(_difference(store, [video.manifest for video in labels.videos]))
        parts.teacher_parts.fill(labels, parts.groundtruth, only=store.folder)
    return len(store.all_stored(soft)) - before


def _recipe(store: LabelStore, changes: Sequence[str], soft: SoftSpec | None) -> DictConfig:
    """The config that made the labels, with what has changed since."""
    recipe = store.manifest.get("recipe")
    if recipe is None:
        raise ValueError(
            f"{store.folder}: made by {store.manifest.get('made_by', 'something unknown')} of run "
            f"{store.manifest.get('run', '?')}; give that run's command again with run.restart=true"
        )
    cfg = compose_config(["stage=label", "tracking=none"])
    if wrong := [change for change in changes if "=" not in change]:
        raise ValueError(f"--set {wrong[0]}; expected KEY=VALUE")
    OmegaConf.set_struct(cfg, False)
    for group in ("dataset", "teacher"):
        cfg[group] = {key: value for key, value in recipe[group].items() if key != "order"}  # any frame may be damaged
    cfg.allow_targets = recipe["allow_targets"]
    cfg.paths.outputs = str(Path(cfg.paths.outputs).absolute())
    OmegaConf.set_struct(cfg, True)
    cfg = DictConfig(OmegaConf.merge(cfg, OmegaConf.from_dotlist(list(changes))))
    cfg.paths.labels = str(store.folder.parents[1])
    cfg.teacher.soft = {"top_k": soft.top_k, "size": list(soft.size)} if soft else {"top_k": 0, "size": None}
    return cfg


def _difference(store: LabelStore, manifests: Sequence[dict[str, object]]) -> str:
    """Why the labels cannot be made here."""
    ours = store.manifest["identity"]
    same_video = [m["identity"] for m in manifests if m["video"] == store.manifest["video"]]
    if not same_video:
        return (
            f"{store.folder}: the dataset has no video {store.manifest['video']} now; "
            "name its place with --set dataset.root=FOLDER"
        )
    (now, *_) = same_video
    assert isinstance(now, dict)
    differing = [key for key in ours if ours[key] != now.get(key)]
    details = "; ".join(f"{key} was {_brief(ours[key])}, is {_brief(now.get(key))}" for key in differing)
    return f"{store.folder}: these labels cannot be made here any more: {details}"


def _brief(value: object) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) < 200 else f"{text[:200]}..."
