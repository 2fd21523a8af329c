"""The config of a run as it is computed: complete, checked, and with a value for each `auto` before it gets its key."""

from omegaconf import DictConfig

from odkd.common.device import choose_device
from odkd.common.numerics import best_numerics
from odkd.config.check import check_config
from odkd.config.compose import complete

NUMERICS = ("precision", "channels_last", "fast_forms")


def settle(cfg: DictConfig) -> tuple[DictConfig, str]:
    """Return the complete config with its numerics chosen, and a line for the log.

    Raises:
        ValueError: a mistake in it.
    """
    cfg = complete(cfg)
    check_config(cfg)
    return with_numerics(cfg)


def with_numerics(cfg: DictConfig) -> tuple[DictConfig, str]:
    """Return the config with a value for each `auto`, and a line for the log; "" if there was none.

    `fast_forms` goes with channels-last on a CPU: there the forms were measured, and they compute in this layout.

    Raises:
        ValueError: the device does not exist.
    """
    chosen = [key for key in NUMERICS if cfg.get(key) == "auto"]
    if not chosen:
        return cfg, ""
    cfg = cfg.copy()
    device = choose_device(cfg.device, precision="float32")
    best = best_numerics(device)
    if "precision" in chosen:
        cfg.precision = best.precision
    if "channels_last" in chosen:
        cfg.channels_last = best.channels_last
    if "fast_forms" in chosen:
        cfg.fast_forms = bool(cfg.channels_last) and device.type == "cpu"
    values = " ".join(f"{key}={str(cfg[key]).lower()}" for key in chosen)
    return cfg, f"{values}, chosen because {best.reason}; numerics=reference computes in float32 as in the papers"
