"""The settings of feature distillation: `features.pairs`, read and checked."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from odkd.common.names import nearest
from odkd.data.labels.features import FeatureKind
from odkd.training.features.pair import Pair

KEYS = {"student": str, "teacher": str, "loss": str, "weight": float}
EXAMPLE = "[{student: LAYER, teacher: LAYER, loss: cwd, weight: 1}]"


def wanted_kinds(cfg: DictConfig) -> tuple[FeatureKind, ...]:
    """Return the features of the teacher that a config wants, each once; none in a config of an earlier version."""
    features = _settings(cfg)
    size = features.get("size")
    whole = None if size is None else (int(size[0]), int(size[1]))
    layers = dict.fromkeys(str(pair["teacher"]) for pair in features.get("pairs") or ())
    return tuple(FeatureKind(layer, whole) for layer in layers)


def wanted_pairs(cfg: DictConfig) -> list[Pair]:
    """Return the pairs of layers that a config compares."""
    return [Pair(**(pair | {"weight": float(pair.get("weight", 1.0))})) for pair in _settings(cfg).get("pairs") or ()]


def of_the_key(features: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return the part of a config's features that counts for a run's key; None if nothing is compared."""
    if not features.get("pairs"):
        return None
    used = {pair["loss"] for pair in features["pairs"]}
    return {**features, "losses": {name: loss for name, loss in features["losses"].items() if name in used}}


def check_features(cfg: DictConfig) -> None:
    """Check `features.pairs` and what goes with it.

    Raises:
        ValueError: the first mistake.
    """
    features = _settings(cfg)
    pairs, known = features.get("pairs"), list(features.get("losses") or {})
    if not isinstance(pairs, list) or not all(isinstance(pair, dict) for pair in pairs):
        raise ValueError(f"features.pairs={pairs}; expected {EXAMPLE}, or [] for none")
    for number, pair in enumerate(pairs):
        where = f"features.pairs[{number}]"
        if unknown := [str(key) for key in pair if key not in KEYS]:
            raise ValueError(f"{where} has no key {unknown[0]}{nearest(unknown[0], KEYS)}; expected {EXAMPLE}")
        for key in ("student", "teacher", "loss"):
            if not (isinstance(pair.get(key), str) and pair[key]):
                raise ValueError(f"{where}: {key}: {pair.get(key)}; expected a name: {EXAMPLE}")
        if pair["loss"] not in known:
            raise ValueError(
                f"{where}: there is no loss {pair['loss']}{nearest(pair['loss'], known)}; features.losses has "
                f"{', '.join(known)}"
            )
        weight = pair.get("weight", 1.0)
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not weight > 0:
            raise ValueError(f"{where}: weight: {weight}; expected a number above 0")
        if not FeatureKind(pair["teacher"]).is_storable:
            raise ValueError(f"{where}: teacher: {pair['teacher'][:40]}... is too long for the name of a folder")
    if pairs and cfg.get("compile"):
        raise ValueError(
            "features.pairs and compile=true do not go together: layers of a compiled student are not seen"
        )


def _settings(cfg: DictConfig) -> dict[str, Any]:
    found: Any = OmegaConf.to_container(cfg.features, resolve=True) if cfg.get("features") is not None else {}
    return found if isinstance(found, dict) else {}
