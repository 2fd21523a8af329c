"""Initial weights from a model hub: on a machine without internet access, one message says what to fetch where."""

import os
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import NamedTuple

from odkd.common.optional import optional

TIMEOUT_SECONDS = 5.0  # for the hub to answer at all


class HubWeights(NamedTuple):
    """Files of a hub id, of which a library needs `files` all; each may have several names, the first is preferred."""

    model: str
    revision: str | None
    files: tuple[tuple[str, ...], ...]


def of_smp(encoder: str, weights: str) -> HubWeights | None:
    """Return where segmentation-models-pytorch takes an encoder's weights from; None if it has none on the hub."""
    smp = optional("segmentation_models_pytorch", f"encoder {encoder}")
    if encoder.startswith("tu-"):
        return of_timm(encoder.removeprefix("tu-"))
    found = smp.encoders.encoders.get(encoder, {}).get("pretrained_settings", {}).get(weights, {})
    if "repo_id" not in found:
        return None
    return HubWeights(found["repo_id"], found.get("revision"), (("config.json",), ("model.safetensors",)))


def of_timm(name: str) -> HubWeights | None:
    """Return where timm takes a network's weights from; None if it has none on the hub."""
    timm = optional("timm", f"encoder {name}")
    try:
        cfg = timm.get_pretrained_cfg(name)
    except Exception:  # an unknown name, of which the library itself says more
        return None
    if cfg is None or not cfg.hf_hub_id:
        return None
    model, _, revision = cfg.hf_hub_id.partition("@")
    kinds = (cfg.hf_hub_filename,) if cfg.hf_hub_filename else ("model.safetensors", "pytorch_model.bin")
    return HubWeights(model, revision or None, (kinds,))


def check_hub(weights: HubWeights, setting: str, then: str | None = None) -> None:
    """Check that weights are in the hub's cache, or that the hub answers, before a library tries for minutes.

    Args:
        setting: that asks for the weights, with its value, for the message.
        then: what to do with the fetched files in FOLDER; None = the hub's cache is the only place.

    Raises:
        ValueError: they are not there, and the hub does not answer.
    """
    hub = optional("huggingface_hub", setting)
    model, revision, files = weights
    if all(_is_cached(hub, model, names, revision) for names in files):
        return
    reason = _no_answer(hub)
    if reason is None:
        return
    wanted = " ".join(names[0] for names in files)
    command = f"hf download {model} {wanted}" + (f" --revision {revision}" if revision else "")
    cache = Path(hub.constants.HF_HUB_CACHE)
    folder = cache / f"models--{model.replace('/', '--')}"
    place = (
        f"run '{command} --local-dir FOLDER'; then {then}"
        if then
        else f"run '{command}' and copy the folder {folder.name} of its cache to {cache}"
    )
    raise ValueError(
        f"{setting}: the weights {model} are not in {cache} and cannot be downloaded ({reason}). On a machine with "
        f"internet access, {place}; or set {setting.partition('=')[0]}=null for a random start"
    )


def _is_cached(hub: object, model: str, names: tuple[str, ...], revision: str | None) -> bool:
    find = hub.try_to_load_from_cache  # type: ignore[attr-defined]
    return any(isinstance(find(model, name, revision=revision), str) for name in names)


def _no_answer(hub: object) -> str | None:
    """Return why the hub cannot be asked; None if it answers, or if only its own library can tell."""
    constants = hub.constants  # type: ignore[attr-defined]
    if constants.HF_HUB_OFFLINE:
        variable = "HF_HUB_OFFLINE" if os.environ.get("HF_HUB_OFFLINE") else "TRANSFORMERS_OFFLINE"
        return f"{variable} is set"
    try:
        request = urllib.request.Request(constants.ENDPOINT, method="HEAD", headers={"User-Agent": "odkd"})
        urllib.request.urlopen(request, timeout=TIMEOUT_SECONDS).close()
    except urllib.error.HTTPError:
        return None
    except (OSError, ValueError) as error:
        cause = getattr(error, "reason", error)
        if isinstance(cause, ssl.SSLError):  # certificates of a company, which the library may know
            return None
        return f"{constants.ENDPOINT} does not answer: {cause}"
    return None
