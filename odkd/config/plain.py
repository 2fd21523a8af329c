"""Groups that came later, and the choices under which a run is what it was before there were these groups."""

from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

PLAIN: dict[str, dict[str, Any]] = {
    "updates": {"_target_": "odkd.training.updates.all.All", "sent": None},
    "timing": {"_target_": "odkd.training.clock.timing.Instant"},
    "pace": {"_target_": "odkd.training.pace.fixed.Fixed", "every": 1},
}


TIMED = ("timing", "pace")  # groups whose choices depend on when a frame arrives


def knows_no_time(settings: Mapping[str, Any]) -> bool:
    """Return whether a run's numbers do not depend on when a frame arrives.

    Args:
        settings: a whole config.
    """
    return all(is_plain(group, settings.get(group)) for group in TIMED)


def is_plain(group: str, settings: Any) -> bool:
    """Return whether a group of a config changes nothing of a run.

    Args:
        group: of `PLAIN`.
        settings: of the group, with what its class takes; None = a config of an earlier version.
    """
    found: Any = OmegaConf.to_container(settings, resolve=True) if isinstance(settings, DictConfig) else settings
    plain = PLAIN[group]
    missing = {key: value for key, value in plain.items() if value is None}
    return found is None or missing | found == plain
