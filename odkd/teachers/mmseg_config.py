"""Configs of mmsegmentation: found by name or file, identified independently of their place, changed for inference."""

import ast
import contextlib
import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from odkd.common.names import nearest
from odkd.common.optional import optional
from odkd.common.reading import read_text

OLD_NAMES = {  # mmsegmentation 0.x, which the reference code uses -> 1.x
    "pspnet_r101b-d8_512x1024_80k_cityscapes": "pspnet_r101b-d8_4xb2-80k_cityscapes-512x1024",
    "segformer_mit-b5_8x1_1024x1024_160k_cityscapes": "segformer_mit-b5_8xb1-160k_cityscapes-1024x1024",
    "pointrend_r101_512x1024_80k_cityscapes": "pointrend_r101_4xb2-80k_cityscapes-512x1024",
    "setr_vit-large_pup_8x1_768x768_80k_cityscapes": "setr_vit-l_pup_8xb1-80k_cityscapes-768x768",
}
SHIPPED = ".mim/configs"  # below the installed package


def own_file(config: str) -> Path | None:
    """Return the user's config file that a setting names; None where it names a config that mmsegmentation ships."""
    path = Path(config)
    return path if path.is_file() and SHIPPED not in path.resolve().as_posix() else None


def shipped_name(config: str) -> str:
    """Return the 1.x name of a shipped config, given with or without folder and extension, or by its 0.x name.
    >>> shipped_name("../mmsegmentation/configs/pspnet/pspnet_r101b-d8_512x1024_80k_cityscapes.py")
    'pspnet_r101b-d8_4xb2-80k_cityscapes-512x1024'
    """
    name = Path(config).name.removesuffix(".py")
    return OLD_NAMES.get(name, name)


def config_identity(config: str, file_digest: Callable[[Path], str]) -> str | list[str]:
    """Return what identifies a config in the label store's key: the same everywhere, also without mmsegmentation.

    A shipped config is identified by its name: what differs between versions of the package does not matter for
    weights that are published once. A user's file is identified by its content and that of its base files.

    Raises:
        ValueError: the config file is not Python.
    """
    path = own_file(config)
    return shipped_name(config) if path is None else [file_digest(file) for file in _with_bases(path.resolve(), [])]


def _with_bases(path: Path, seen: list[Path]) -> list[Path]:
    """Return a config file and the files that it inherits from, in the order in which it names them."""
    if path in seen or not path.is_file():
        return seen
    seen = [*seen, path]
    if path.suffix == ".py":
        try:
            tree = ast.parse(read_text(path))
        except (SyntaxError, ValueError) as error:
            raise ValueError(f"config {path} cannot be read: {error}") from error
        for node in ast.walk(tree):
            if isinstance(node, ast.Assign) and "_base_" in (getattr(target, "id", "") for target in node.targets):
                names = [item.value for item in ast.walk(node.value) if isinstance(item, ast.Constant)]
                bases = [(path.parent / str(name)).resolve() for name in names]
            elif isinstance(node, ast.ImportFrom) and node.level:  # newer syntax: `with read_base(): from . import`
                folder = path.parents[node.level - 1]
                bases = [folder.joinpath(*(node.module or "").split(".")).with_suffix(".py")]
            else:
                continue
            for base in bases:
                seen = _with_bases(base, seen)
    return seen


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide mmsegmentation's warnings and its output about missing compiled operations."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield


def import_mmseg() -> None:
    """Import mmsegmentation; the import registers its networks and datasets.

    Raises:
        ValueError: mmsegmentation, or a system library that it needs, is not installed.
    """
    try:
        with quiet():
            for module in ("mmseg.datasets", "mmseg.models"):
                optional(module, "a teacher of mmsegmentation")
    except ValueError as error:
        if "libGL" in str(error.__cause__):
            raise ValueError(
                f"mmsegmentation's opencv-python needs a library that is not installed ({error.__cause__}); install it "
                "(Debian, Ubuntu: apt install libgl1), or replace opencv-python with opencv-python-headless"
            ) from error
        raise


def load_config(config: str, options: Mapping[str, Any]) -> Any:
    """Return the mmengine config that a setting names, with `options` merged in, changed for inference.

    Raises:
        ValueError: the config does not exist or cannot be read, or an option does not fit it.
    """
    from mmengine import Config

    path = own_file(config) or _shipped_file(config)
    try:
        with quiet():
            cfg = Config.fromfile(path)
    except Exception as error:
        raise ValueError(f"config {path} cannot be read: {error}") from error
    if "model" not in cfg:
        raise ValueError(f"config {path} describes no model")
    for key in options:
        _check_option(cfg, key, path)
    cfg.merge_from_dict(_tuples(dict(options)))
    _for_inference(cfg.model)
    for only_trained in ("train_cfg", "auxiliary_head"):
        if only_trained in cfg.model:
            cfg.model[only_trained] = None
    return cfg


def _check_option(cfg: Any, key: str, path: Path) -> None:
    """Check that all parts of an option's key but the last exist in the config: mmengine would add them silently.

    The last part may be new because arguments have defaults.
    """
    node, names = cfg, key.split(".")
    for name in names[:-1] or names:
        try:
            node = node[int(name)] if isinstance(node, list | tuple) else node[name]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            known = () if isinstance(node, list | tuple) else list(getattr(node, "keys", tuple)())
            raise ValueError(f"teacher.options: no {name} of {key} in config {path}{nearest(name, known)}") from error


def _shipped_file(config: str) -> Path:
    import mmseg

    folder = Path(mmseg.__file__).parent / SHIPPED
    known = {path.stem: path for path in folder.rglob("*.py") if "_base_" not in path.parts}
    name = shipped_name(config)
    if name not in known:
        raise ValueError(f"no file {config}, nor a config {name} in {folder}{nearest(name, known)}")
    return known[name]


def _for_inference(node: Any) -> None:
    """Remove pretrained weights to download; replace SyncBN, which needs a process group, by the equivalent BN."""
    if isinstance(node, dict):
        if isinstance(node.get("pretrained"), str):
            node["pretrained"] = None
        if isinstance(node.get("init_cfg"), dict) and str(node["init_cfg"].get("type")).startswith("Pretrained"):
            node["init_cfg"] = None
        if node.get("type") == "SyncBN":
            node["type"] = "BN"
    for item in node.values() if isinstance(node, dict) else node if isinstance(node, list | tuple) else ():
        _for_inference(item)


def _tuples(value: Any) -> Any:
    """Turn lists of numbers into tuples: YAML has no tuples, and mmcv accepts sizes only as tuples."""
    if isinstance(value, dict):
        return {key: _tuples(item) for key, item in value.items()}
    if isinstance(value, list):
        items = [_tuples(item) for item in value]
        return tuple(items) if items and all(isinstance(item, int | float) for item in items) else items
    return value
