"""Weights from a folder or the Hugging Face hub: their place, their commit, and what identifies them.

A hub id with a 40-digit commit as revision is pinned: its weights cannot change. Otherwise (`main`, a tag, no revision)
the commit is the one in the local cache or else the newest, which is then kept in the cache. A warning names the
commit, so that the user can pin it.
"""

import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from odkd.common.files import at_home
from odkd.common.optional import optional
from odkd.common.reading import read_json

logger = logging.getLogger(__name__)
COMPLETE = ("model.safetensors", "pytorch_model.bin")  # the safe format first; the other is read with weights_only
SETTINGS = (  # files that may change what the weights compute
    "config.json",
    "preprocessor_config.json",
    "processor_config.json",
    "albumentations_config_eval.json",
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
)


def locate(model: str, revision: str | None, *, needs: tuple[str, ...]) -> Path:
    """Return the folder of a model, given as a folder or a hub id; download a hub id that is not in the hub's cache.

    Args:
        model: folder with config.json and weights, or hub id such as `nvidia/segformer-b0-finetuned-ade-512-512`.
        revision: commit, branch or tag of a hub id; None means `main`. It does not apply to a folder.
        needs: files of which a cached copy must have at least one, or it counts as incomplete.

    Raises:
        ValueError: the model is no folder and cannot be loaded from the hub, or it has no weights.
    """
    folder = at_home(model)
    if folder.is_dir():
        name = str(folder)
    else:
        commit = commit_of(model, revision)
        name = f"the copy of {model} (commit {commit}) in the hub's cache"
        if not is_commit(revision):
            logger.warning(
                "the weights of %s are not pinned (revision %s) and may change; "
                "these are commit %s: add teacher.revision=%s",
                *(model, revision or "main", commit, commit),
            )
        folder = _cached(model, commit, needs) or _download(model, commit)
    if not weight_files(folder):
        raise ValueError(_incomplete(name))
    return folder


def identify(
    model: str, revision: str | None, file_digest: Callable[[Path], str], more: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Return hub id and commit, or the digests of a folder's weights and settings; the place does not count.

    Args:
        more: further files of settings, for networks that have them.

    Raises:
        ValueError: the folder has no weights; or the hub id is not pinned, not in the cache and cannot be reached.
    """
    folder = at_home(model)
    if not folder.is_dir():
        return {"model": model, "commit": commit_of(model, revision)}
    files = weight_files(folder)
    if not files:
        raise ValueError(_incomplete(str(folder)))
    files += [folder / name for name in (*SETTINGS, *more) if (folder / name).is_file()]
    return {"files": {file.name: file_digest(file) for file in files}}


def is_commit(revision: str | None) -> bool:
    """True for a revision that is a complete commit, which cannot change.
    >>> is_commit("main"), is_commit("85b535928a783691eaf27467a573b26d543336ea")
    (False, True)
    """
    return re.fullmatch(r"[0-9a-f]{40}", revision or "") is not None


def commit_of(model: str, revision: str | None) -> str:
    """Return the commit of a hub id: `revision` if it is one, else from the local cache, else from the hub.

    Raises:
        ValueError: `model` is no hub id, or the hub cannot be reached.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        raise ValueError(f"teacher.model={model}: no such folder, and no hub id (OWNER/NAME) either")
    if revision is not None and is_commit(revision):
        return revision
    hub = optional("huggingface_hub", f"teacher.model={model}")
    path = hub.try_to_load_from_cache(model, "config.json", revision=revision)
    if not isinstance(path, str):
        try:
            path = hub.hf_hub_download(model, "config.json", revision=revision)  # also stores the commit in the cache
        except Exception as error:
            raise ValueError(_not_here(model, revision, error)) from error
    return Path(path).parent.name


def weight_files(folder: Path) -> list[Path]:
    """Return the weight files of a folder, safetensors before pickles; none if a part is missing.

    Raises:
        ValueError: its index names a file elsewhere.
    """
    for name in COMPLETE:
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            names = read_json(index, {"weight_map": dict[str, str]}, advice="download it again")["weight_map"].values()
            if strange := [name for name in names if name != Path(name).name or name in ("", ".", "..")]:
                raise ValueError(f"{index} names {strange[0]!r}, which is no file beside it; download it again")
            parts = [folder / name for name in sorted(set(names))]
            if all(part.is_file() for part in parts):
                return [index, *parts]
    return []


def _cached(model: str, commit: str, needs: tuple[str, ...]) -> Path | None:
    """Return a complete copy of a commit in the hub's cache, or None; asking the hub takes 20 s when offline."""
    hub = optional("huggingface_hub", f"teacher.model={model}")
    path = hub.try_to_load_from_cache(model, "config.json", revision=commit)
    if not isinstance(path, str):
        return None
    folder = Path(path).parent
    return folder if weight_files(folder) and any((folder / name).is_file() for name in needs) else None


def _download(model: str, commit: str) -> Path:
    hub = optional("huggingface_hub", f"teacher.model={model}")
    try:
        for weights in ("model*.safetensors", "pytorch_model*.bin"):
            folder = Path(hub.snapshot_download(model, revision=commit, allow_patterns=["*.json", "*.txt", weights]))
            if weight_files(folder):
                break
    except Exception as error:
        raise ValueError(_not_here(model, commit, error)) from error
    return folder


def _incomplete(name: str) -> str:
    return f"{name} has no complete set of weights: expected {' or '.join(COMPLETE)}, or all their parts"


def _not_here(model: str, revision: str | None, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"{model} is no folder, and its weights (revision {revision or 'main'}) are not in the hub's cache and "
        f"cannot be downloaded ({reason}). On a machine with internet access, run "
        f"'hf download {model} --revision {revision or 'main'} --local-dir FOLDER'; then set teacher.model=FOLDER"
    )
