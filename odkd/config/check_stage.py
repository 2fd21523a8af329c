"""Mistakes in the settings of losses, replay memories and stages that single values do not show."""

from typing import Any

from omegaconf import DictConfig, OmegaConf


def check_methods(cfg: DictConfig, num_classes: int) -> None:
    """Raises ValueError for the first thing that is wrong: what we got, what we expected, what to change."""
    for key in ("loss", *(f"loss.parts.{part}" for part in cfg.loss.get("parts", ()))):
        _check_class_weights(cfg, f"{key}.class_weights", num_classes)
    _check_stages(cfg)
    candidates, num_replayed = OmegaConf.select(cfg, "replay.candidates"), cfg.window.learn - cfg.window.step
    if candidates is not None and candidates <= num_replayed:
        raise ValueError(
            f"replay.candidates={candidates} leaves no choice: window.learn - window.step = {num_replayed} of them are "
            "replayed; set it to a multiple of that"
        )


def _check_class_weights(cfg: DictConfig, key: str, num_classes: int) -> None:
    weights = OmegaConf.select(cfg, key)
    if weights is None or isinstance(weights, str):  # the loss says what else it takes
        return
    if len(weights) != num_classes:
        raise ValueError(f"{key} has {len(weights)} numbers for {num_classes} classes")
    if not (all(0 <= w < float("inf") for w in weights) and sum(weights) > 0):
        raise ValueError(f"{key}={weights}; expected numbers of at least 0, some above 0")


def _check_stages(cfg: DictConfig) -> None:
    """Combinations of the settings of `odkd.stages.mckd`."""
    stage = cfg.stage
    if "num_rounds" not in stage:
        return
    if stage.num_rounds > 1 and stage.num_parts < 2:
        raise ValueError(
            "stage.num_parts=1: each student would relabel the pictures that it has learned from; set 2 or more, "
            "or stage.num_rounds=1 for plain distillation"
        )
    if stage.num_rounds < 2 and stage.run_rounds != "all":
        raise ValueError(
            f"stage.num_rounds={stage.num_rounds} has no pair stages for stage={stage.name}; set 2 or more"
        )
    if stage.plain_epochs is not None and (stage.num_rounds < 2 or stage.run_rounds == "first"):
        raise ValueError(
            f"stage.plain_epochs={stage.plain_epochs} is what stage=mckd or mckd_final is compared with; "
            f"stage={stage.name} has no final student to compare: set null"
        )
    shares = stage.shares
    is_triple = OmegaConf.is_list(shares) and len(shares) == 3 and all(type(v) in (int, float) for v in shares)
    if not is_triple or min(shares) < 0 or abs(sum(shares) - 1) > 1e-6 or shares[0] == 0:
        raise ValueError(f"stage.shares={shares}; expected three shares (train, val, test) whose sum is 1")
    _check_devices(stage.get("devices"), stage)
    share = stage.labelled_share
    if share is not None and (type(share) not in (int, float) or not 0 < share < 1):
        raise ValueError(f"stage.labelled_share={share}; expected a share between 0 and 1 (such as 0.125), or null")


def _check_devices(devices: Any, stage: DictConfig) -> None:
    if devices is None:
        return
    if not (OmegaConf.is_list(devices) and devices and all(isinstance(name, str) for name in devices)):
        raise ValueError(f"stage.devices={devices}; expected a list such as [cuda:0,cuda:1], or null for in turn")
    if stage.run_rounds == "final":
        raise ValueError(f"stage.devices is for pairs of students, and stage={stage.name} trains one; leave it out")
    if len(devices) > stage.num_parts:
        raise ValueError(
            f"stage.devices names {len(devices)} devices for the stage.num_parts={stage.num_parts} students of a pair "
            "stage; leave some out"
        )
