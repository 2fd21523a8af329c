"""Settings that depend on each other across groups, which no single value shows."""

import re
from collections.abc import Sequence

from omegaconf import DictConfig, OmegaConf

from odkd.common.dotted import flatten
from odkd.common.names import counted
from odkd.data.window import Window


def check_relations(cfg: DictConfig) -> None:
    """
    Raises:
        ValueError: the first combination that cannot be: what we got, what we expected, what to change.
    """
    for key in ("loss", *(f"loss.parts.{part}" for part in cfg.loss.get("parts", ()))):
        _check_class_weights(cfg, f"{key}.class_weights", len(cfg.dataset.classes))
    if cfg.stage.get("learn_from") == "groundtruth" and cfg.evaluation.groundtruth is False:
        raise ValueError(
            "stage.learn_from=groundtruth and evaluation.groundtruth=false contradict each other; change one"
        )


def check_references(cfg: DictConfig) -> None:
    """Check that no text has a place for another setting that is null: `${dataset.root}/../teachers`.

    Raises:
        ValueError: one has.
    """
    for key, text in flatten(OmegaConf.to_container(cfg, resolve=False)).items():
        for whole, other in re.findall(r"(\$\{([\w.]+)\})", text):
            if text != whole and OmegaConf.select(cfg, other, default="") is None:
                raise ValueError(f"{key} is made with {other}, which is not set; add {other}=VALUE, or {key}=VALUE")


def check_window(window: Window, asked: Sequence[str], num_positions: int) -> None:
    """Check that the window fits the stream, if the stage asks for one.

    Raises:
        ValueError: it does not.
    """
    if "window" in asked and max(window.learn, window.test) > num_positions:
        raise ValueError(
            f"window.learn={window.learn} and window.test={window.test} do not fit the stream "
            f"({num_positions} sampled frames); choose a smaller window or a smaller dataset.stride"
        )


def _check_class_weights(cfg: DictConfig, key: str, num_classes: int) -> None:
    weights = OmegaConf.select(cfg, key)
    if weights is None or isinstance(weights, str):  # the loss itself checks what else it takes
        return
    if len(weights) != num_classes:
        raise ValueError(f"{key} has {counted(len(weights), 'number')} for {num_classes} classes")
    if not (all(0 <= w < float("inf") for w in weights) and sum(weights) > 0):
        raise ValueError(f"{key}={weights}; expected numbers of at least 0, some above 0")
