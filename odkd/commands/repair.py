"""Labelling outside a run: repair of a label store, and import of label maps from files."""

import contextlib
import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from odkd.common.dotted import split_override
from odkd.common.files import check_no_links
from odkd.config.compose import compose_config
from odkd.config.construct import resolve
from odkd.config.parts import Parts
from odkd.config.permissions import without_permissions
from odkd.data.labels.damage import find_damage, mend, mend_manifest
from odkd.data.labels.exchange import LAYOUT
from odkd.data.labels.features import FeatureKind
from odkd.data.labels.own_classes import is_folder
from odkd.data.labels.store import LabelStore, SoftSpec
from odkd.teachers.folder import FolderTeacher


def repair(folder: Path, changes: Sequence[str]) -> int:
    """Repair a store's metadata, then label damaged and missing frames; return the number of frames labelled.

    Args:
        folder: of the store.
        changes: KEY=VALUE settings that have changed since the labels were made, such as the folder of the video.

    Raises:
        ValueError: both copies of the manifest are damaged; or the video, the weights or the settings have changed.
    """
    folder = folder.absolute()
    check_no_links(folder)
    mend_manifest(folder)
    store = LabelStore(folder)
    damage = find_damage(store)
    mend(store, damage)
    wanted = set(range(store.num_frames)) - set(damage.undecodable)
    num_labelled = 0
    for spec in [*store.soft_specs, None]:
        if wanted - store.all_stored(spec):
            num_labelled += _relabel(store, changes, spec)
    for kind in store.features.kinds:
        if wanted - store.all_stored(None, [kind]):
            num_labelled += _relabel(store, changes, None, [kind])
    return num_labelled


def import_folder(folder: Path, settings: Sequence[str]) -> tuple[list[Path], dict[str, str]]:
    """Copy a folder of label maps into stores with the folder teacher; return the stores and the settings to use them.

    The folder may also be the target of `odkd-labels export`, if it contains the maps of one teacher. The maps are
    stored with their own ids; what these mean is said when labels are used.

    Raises:
        ValueError: a map is missing or not a label map; the settings do not fit.
    """
    exported = [path for path in folder.glob(f"{LAYOUT}/*") if path.is_dir()]
    cfg = compose_config(["stage=label", "tracking=none", "teacher=folder", *settings])
    if resolve(cfg.teacher._target_, [], "teacher") is not FolderTeacher:
        raise ValueError("an import uses teacher=folder; remove teacher= from the settings")
    cfg.teacher.folder = str(exported[0] if len(exported) == 1 else folder)
    if cfg.teacher.label_set is None and any(split_override(given)[0] == "dataset.classes" for given in settings):
        cfg.teacher.label_set = cfg.dataset.classes
    parts = Parts(cfg)
    teacher_parts = replace(parts.teacher_parts, is_mapped=False)  # the dataset's classes may be the default ones
    stores = teacher_parts.stores(parts.sampled, parts.stream)
    try:
        teacher_parts.check(stores)
        teacher_parts.fill(stores, None)
    except BaseException:
        for path in stores.folders:  # delete the stores that are incomplete
            if (path / "manifest.json").is_file() and not LabelStore(path).num_stored():
                shutil.rmtree(path)
        raise
    use = {"name": str(cfg.teacher.name), "digest": str(parts.teacher_identity["digest"])}
    if (names := cfg.teacher.label_set) is not None:  # what the ids mean is no part of the store
        use["label_set"] = names if isinstance(names, str) else f"[{','.join(names)}]"
    return stores.folders, use


def _relabel(
    store: LabelStore, changes: Sequence[str], soft: SoftSpec | None, features: Sequence[FeatureKind] = ()
) -> int:
    """Label the frames that lack labels, soft labels of a kind or features; return how many were labelled."""
    cfg = read_recipe(store, changes, soft)
    before = store.num_stored(soft, features)
    recipe_folder = Path(store.manifest["recipe"]["folder"])
    # Relative paths in the recipe start from the folder where odkd was run.
    with contextlib.chdir(recipe_folder if recipe_folder.is_dir() else Path.cwd()):
        parts = Parts(cfg)
        teacher_parts = replace(parts.teacher_parts, is_mapped=False, features=features)  # its mapping may be a slip
        labels = teacher_parts.stores(parts.sampled, parts.stream)
        if store.folder not in labels.folders:
            raise ValueError(_difference(store, [video.manifest for video in labels.videos]))
        teacher_parts.fill(labels, parts.groundtruth, only=store.folder)
    return store.num_stored(soft, features) - before


def read_recipe(store: LabelStore, changes: Sequence[str], soft: SoftSpec | None) -> DictConfig:
    """Return the config that made the labels, with `changes` applied."""
    recipe = store.manifest.get("recipe")
    if recipe is None:
        raise ValueError(
            f"{store.folder}: made by {store.manifest.get('made_by', 'something unknown')} of run "
            f"{store.manifest.get('run', '?')}; repeat that run's command with run.restart=true"
        )
    cfg = compose_config(["stage=label", "tracking=none"])
    if wrong := [change for change in changes if "=" not in change]:
        raise ValueError(f"--set {wrong[0]}; expected KEY=VALUE")
    OmegaConf.set_struct(cfg, False)
    for group in ("dataset", "teacher"):
        # Without the order of the stream, which may not contain the damaged frames, and without permissions: the store
        # may be somebody else's.
        kept = {key: value for key, value in recipe[group].items() if key != "order"}
        cfg[group] = without_permissions(kept, group)
    cfg.paths.outputs = str(Path(cfg.paths.outputs).absolute())
    if cfg.dataset.get("prepare"):
        cfg.dataset.prepare.folder = f"{cfg.paths.cache}/synthetic"  # rendered anew, the same, wherever it was
    OmegaConf.set_struct(cfg, True)
    cfg = DictConfig(OmegaConf.merge(cfg, OmegaConf.from_dotlist(list(changes))))
    cfg.paths.labels = str(store.folder.parents[1])
    if is_folder(cfg.teacher):
        cfg.teacher.label_set = None
    cfg.teacher.soft = {"top_k": soft.top_k, "size": list(soft.size)} if soft else {"top_k": 0, "size": None}
    return cfg


def _difference(store: LabelStore, manifests: Sequence[dict[str, object]]) -> str:
    """Return the message that says why the labels cannot be made here."""
    ours = store.manifest["identity"]
    same_video = [m["identity"] for m in manifests if m["video"] == store.manifest["video"]]
    if not same_video:
        return (
            f"{store.folder}: the dataset has no video {store.manifest['video']} now; "
            "set its folder with --set dataset.root=FOLDER"
        )
    (now, *_) = same_video
    assert isinstance(now, dict)
    differing = [key for key in ours if ours[key] != now.get(key)]
    details = "; ".join(f"{key} was {_brief(ours[key])}, is {_brief(now.get(key))}" for key in differing)
    return f"{store.folder}: these labels can no longer be made here: {details}"


def _brief(value: object) -> str:
    text = json.dumps(value, sort_keys=True)
    return text if len(text) < 200 else f"{text[:200]}..."
