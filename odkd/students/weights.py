"""Weights in a file, of students and teachers, as trainers leave them: read without running code, and unwrapped."""

import logging
import pickle
import re
import warnings
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from odkd.common.reading import check_unpacked, is_file, open_file

logger = logging.getLogger(__name__)
WRAPPERS = (  # where trainers put the weights, the likeliest first; averaged ones are taken only if there are no others
    *("state_dict", "model_state_dict", "model_state", "model", "network", "net", "module", "weights", "params"),
    *("student", "teacher", "model_ema", "state_dict_ema", "ema_state_dict", "params_ema", "ema"),
)
NO_WEIGHTS = ("optim", "sched", "scaler", "rng", "random", "metric", "loss", "criterion", "callback")  # in keys
DEPTH = 3  # of dicts in dicts
FORMS = "expected .safetensors, or a state dict saved by torch.save"
STARTS = (  # first bytes of a file -> what it is
    (b"<", "is a page of the web or XML, not weights: download the file itself"),
    (b"version https://git-lfs", "is a pointer of Git LFS, not the weights themselves: fetch them with 'git lfs pull'"),
    (b"\x89HDF", "is an HDF5 file, as Keras writes it"),
    (b"\x1f\x8b", "is compressed by gzip: unpack it"),
)


class _Ignored:
    """Placeholder for an object beside the weights, such as a trainer's options or log; it stores and runs nothing."""

    def __new__(cls, *_: Any, **__: Any) -> "_Ignored":
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...

    def __setitem__(self, _: Any, __: Any) -> None: ...


def read_checkpoint(path: Path, setting: str) -> dict[str, Any]:
    """Return what a file holds, on the CPU: `state_dict` is its weights by name, the rest is what lay beside them.

    Nothing pickled in the file is run: objects other than tensors and plain values are left out.

    Args:
        path: safetensors, or a file of `torch.save`.
        setting: that names the file, for messages: student.weights or teacher.checkpoint.

    Raises:
        ValueError: there is no such file, it is damaged or something else, or it holds no weights, or several.
    """
    content = _read(path, setting)
    if isinstance(content, _Ignored):
        raise ValueError(_holds_object(path, _objects(path)))
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds a {type(content).__name__}; expected a dict with a state_dict of tensors")
    return {**_without_objects(content), "state_dict": _unwrap(content, path)}


def _without_objects(content: Mapping[Any, Any]) -> dict[Any, Any]:
    kept = {key: value for key, value in content.items() if not isinstance(value, _Ignored)}
    return {key: _without_objects(value) if isinstance(value, dict) else value for key, value in kept.items()}


def _read(path: Path, setting: str) -> Any:
    if not is_file(path):
        raise ValueError(f"no {setting.replace('.', ' ')} {path}: set {setting} to a file")
    try:
        with open_file(path) as file:
            start = file.read(64)
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({error}); change its permissions, or {setting}") from error
    if not start:
        raise ValueError(f"{path} holds no weights that load safely: it is empty; copy or download it again")
    for first, what in STARTS:
        if start.lstrip().startswith(first):
            raise ValueError(f"{path} holds no weights that load safely: it {what}; {FORMS}")
    try:
        if start[8:9] == b"{" or path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        check_unpacked(path)
        return _load(path)
    except Exception as error:
        raise ValueError(f"{path} holds no weights that load safely: {_reason(path, start, error)}; {FORMS}") from error


def part_of(path: Path) -> str:
    """Return, for the end of a message, that a file is one of several with the weights of a network; else "".

    >>> part_of(Path("model-00001-of-00002.safetensors"))
    ' (it is part 1 of 2: join them in one file)'
    """
    found = re.search(r"-(\d{5})-of-(\d{5})\.\w+$", path.name)
    return f" (it is part {int(found[1])} of {int(found[2])}: join them in one file)" if found else ""


def _load(path: Path) -> Any:
    """Return what torch has saved, with `_Ignored` for objects; files of before 2020 name these one at a time.

    Raises:
        Exception: torch's, for a file that cannot be loaded so.
    """
    names = _objects(path)
    while True:
        try:
            with torch.serialization.safe_globals([(_Ignored, name) for name in names]), warnings.catch_warnings():
                warnings.simplefilter("ignore")  # about the form of the file, which `_reason` names
                return torch.load(path, map_location="cpu", weights_only=True)
        except pickle.UnpicklingError as error:
            named = _object_in(error)
            if not named or named in names:
                raise
            names.append(named)


def _object_in(error: pickle.UnpicklingError) -> str:
    """Return the name of the object that torch refuses; "" if it refuses something else."""
    return " ".join(str(error).split()).partition("GLOBAL ")[2].partition(" ")[0]


def _objects(path: Path) -> list[str]:
    """Return the names of the classes and functions that a file needs beyond tensors and plain values."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # torch files of before 2020; reading them says what is wrong
        return []


def _reason(path: Path, start: bytes, error: Exception) -> str:
    text = " ".join(str(error).split())
    if "TorchScript" in text:
        return "it is a TorchScript program, which teacher=exported reads"
    if path.name.endswith(".index.json"):
        return "it is an index of files with parts of the weights: join these in one file"
    if start[:2] == b"PK":
        try:
            with zipfile.ZipFile(path) as archive:
                names_inside = archive.namelist()
        except (zipfile.BadZipFile, ValueError, NotImplementedError):  # damaged, which torch says in other words
            names_inside = ["data.pkl"]
        if not any(name.endswith("data.pkl") for name in names_inside):
            return f"it is a zip archive of {', '.join(names_inside[:3])}: unpack it"
    if isinstance(error, pickle.UnpicklingError) and (
        names := list(filter(None, [_object_in(error)])) or _objects(path)
    ):
        return f"it holds an object that would run code ({', '.join(names[:3])}); save the weights alone"
    if start[8:9] == b"{" or path.suffix == ".safetensors" or start[:2] == b"PK":
        return f"it is damaged or cut off ({type(error).__name__}: {text[:120]}); copy or download it again"
    return f"it begins with {start[:12]!r}"


def _holds_object(path: Path, names: list[str]) -> str:
    shown = [name for name in names if not name.startswith(("torch.", "builtins.", "collections."))] or names
    return (
        f"{path} holds no weights that load safely: it holds a pickled object ({', '.join(shown[:3])}), "
        "such as a whole model, which would run code; save its weights alone: torch.save(model.state_dict(), FILE)"
    )


def _unwrap(content: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    """Return the weights in what a file holds: directly, or in a dict inside it."""
    if (state := as_state(content)) is not None:
        return state
    found = dict(_states(content))
    known = [place for wrapper in WRAPPERS for place in found if place.split(".")[-1] == wrapper]
    if not found:
        if any(isinstance(value, _Ignored) for value in content.values()):
            raise ValueError(_holds_object(path, _objects(path)))
        there = ", ".join(map(str, list(content)[:5])) or "nothing"
        raise ValueError(f"{path} holds {there}; expected a state_dict of tensors")
    if not known and len(found) > 1:
        raise ValueError(
            f"{path} holds weights under {', '.join(found)}; expected one of them: save it alone, "
            "torch.save(..., FILE), or call it state_dict"
        )
    chosen = (known or list(found))[0]
    if len(found) > 1:
        others = ", ".join(place for place in found if place != chosen)
        logger.warning("%s holds weights under %s and %s; those under %s are used", path, chosen, others, chosen)
    return found[chosen]


def as_state(value: Any) -> dict[str, Tensor] | None:
    """Return the tensors of a mapping if it is a state dict: names, of which most are of tensors; else None."""
    if not isinstance(value, Mapping) or not all(isinstance(name, str) for name in value):
        return None
    tensors = {name: item for name, item in value.items() if isinstance(item, Tensor)}
    is_state = bool(tensors) and (2 * len(tensors) > len(value) or any("." in name for name in tensors))
    return tensors if is_state and not any(as_state(item) for item in value.values()) else None


def _states(content: Mapping[Any, Any], place: str = "", depth: int = DEPTH) -> Iterator[tuple[str, dict[str, Tensor]]]:
    for key, value in content.items():
        if not isinstance(key, str) or any(word in key.lower() for word in NO_WEIGHTS):
            continue
        name = f"{place}{key}"
        if (state := as_state(value)) is not None:
            yield name, state
        elif isinstance(value, Mapping) and depth:
            yield from _states(value, f"{name}.", depth - 1)
