"""Whether a run selects or sends what its iterations change of the weights (the group `updates`)."""

from typing import Any

from omegaconf import DictConfig, OmegaConf

PLAIN = {"_target_": "odkd.training.updates.all.All", "sent": None}  # as runs were before there was this group


def is_plain(updates: Any) -> bool:
    """True if every iteration changes all weights, and nothing is sent and counted.

    Args:
        updates: the group's settings, with what its class takes; None = a config of an earlier version.
    """
    settings: Any = OmegaConf.to_container(updates, resolve=True) if isinstance(updates, DictConfig) else updates
    return settings is None or {"sent": None, **settings} == PLAIN
