"""Weights from a folder or from the Hugging Face hub: where they lie, which commit they are, what identifies them.

A hub id with a 40-digit commit as revision is pinned: nobody can change the weights under it. Otherwise (`main`, a
tag, no revision) the commit is the one that the local cache already holds, or else the newest, which then stays in
the cache; a warning says which commit that was, so that it can be written down.
"""

import json
import logging
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

logger = logging.getLogger(__name__)
WHOLE = ("model.safetensors", "pytorch_model.bin")  # the safe format first; the other is read with weights_only
SETTINGS = (  # files that may change what the weights compute
    "config.json", "preprocessor_config.json", "processor_config.json", "albumentations_config_eval.json",
    "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json", "vocab.json",
    "merges.txt",
)  # fmt: skip


def locate(model: str, revision: str | None, *, needs: tuple[str, ...]) -> Path:
    """The folder of a model that is a folder already, or a hub id; downloaded if it is not in the hub's cache.

    Args:
        model: folder with config.json and weights, or hub id such as `nvidia/segformer-b0-finetuned-ade-512-512`.
        revision: commit, branch or tag of a hub id; None is `main`. A folder has none: it is what it is.
        needs: files of which a cached copy must have at least one, or it counts as incomplete.

    Raises:
        ValueError: neither a folder nor to be had from the hub, or no weights in it.
    """
    folder = Path(model).expanduser()
    if folder.is_dir():
        what = str(folder)
    else:
        commit = commit_of(model, revision)
        what = f"{model} (commit {commit}), as it lies in the hub's cache,"
        if not is_commit(revision):
            logger.warning(
                "the weights of %s are not pinned (revision %s) and may change under you; "
                "these are commit %s: add teacher.revision=%s",
                *(model, revision or "main", commit, commit),
            )
        folder = _cached(model, commit, needs) or _download(model, commit)
    if not weight_files(folder):
        raise ValueError(f"{what} holds no whole set of weights: expected {' or '.join(WHOLE)}, or all their parts")
    return folder


def identify(model: str, revision: str | None, file_digest: Callable[[Path], str]) -> dict[str, Any]:
    """Hub id and commit, or the digests of a folder's weights and settings: the same wherever they lie.

    Raises:
        ValueError: no weights in the folder; or a hub id that is not pinned, not in the cache and not to be reached.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir():
        return {"model": model, "commit": commit_of(model, revision)}
    files = weight_files(folder)
    if not files:
        raise ValueError(f"{folder} holds no whole set of weights: expected {' or '.join(WHOLE)}, or all their parts")
    files += [folder / name for name in SETTINGS if (folder / name).is_file()]
    return {"files": {file.name: file_digest(file) for file in files}}


def is_commit(revision: str | None) -> bool:
    """Whether a revision is a full commit, which nobody can change.

    >>> is_commit("main"), is_commit("85b535928a783691eaf27467a573b26d543336ea")
    (False, True)
    """
    return re.fullmatch(r"[0-9a-f]{40}", revision or "") is not None


def commit_of(model: str, revision: str | None) -> str:
    """The commit of a hub id: `revision` if it is one, else as the local cache knows it, else as the hub says now.

    Raises:
        ValueError: no hub id, or the hub cannot be asked.
    """
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", model):
        raise ValueError(f"teacher.model={model}: no such folder, and no hub id (OWNER/NAME) either")
    if revision is not None and is_commit(revision):
        return revision
    from huggingface_hub import hf_hub_download, try_to_load_from_cache

    path = try_to_load_from_cache(model, "config.json", revision=revision)
    if not isinstance(path, str):
        try:
            path = hf_hub_download(model, "config.json", revision=revision)  # also notes the commit in the cache
        except Exception as error:
            raise ValueError(_not_here(model, revision, error)) from error
    return Path(path).parent.name


def weight_files(folder: Path) -> list[Path]:
    """The weights that a folder holds, safetensors before pickles; none if there are none or a part is missing."""
    for name in WHOLE:
        index = folder / f"{name}.index.json"
        if (folder / name).is_file():
            return [folder / name]
        if index.is_file():
            parts = [folder / part for part in sorted(set(json.loads(index.read_text())["weight_map"].values()))]
            if all(part.is_file() for part in parts):
                return [index, *parts]
    return []


def _cached(model: str, commit: str, needs: tuple[str, ...]) -> Path | None:
    """The whole copy of a commit in the hub's cache; found without asking the hub, which takes 20 s when offline."""
    from huggingface_hub import try_to_load_from_cache

    path = try_to_load_from_cache(model, "config.json", revision=commit)
    if not isinstance(path, str):
        return None
    folder = Path(path).parent
    return folder if weight_files(folder) and any((folder / name).is_file() for name in needs) else None


def _download(model: str, commit: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        for weights in ("model*.safetensors", "pytorch_model*.bin"):
            folder = Path(snapshot_download(model, revision=commit, allow_patterns=["*.json", "*.txt", weights]))
            if weight_files(folder):
                break
    except Exception as error:
        raise ValueError(_not_here(model, commit, error)) from error
    return folder


def _not_here(model: str, revision: str | None, error: Exception) -> str:
    reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
    return (
        f"{model} is no folder, and its weights (revision {revision or 'main'}) are not in the hub's cache and "
        f"cannot be downloaded ({reason}). Where there is a network, run "
        f"'hf download {model} --revision {revision or 'main'} --local-dir FOLDER'; then set teacher.model=FOLDER"
    )
