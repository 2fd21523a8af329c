"""The config of a run as it is computed: complete, checked, and with a value for each `auto` before it gets its key."""

from omegaconf import DictConfig

from odkd.common.device import choose_device
from odkd.common.numerics import best_numerics, is_fast_on_cpu
from odkd.config.check import check_config
from odkd.config.compose import complete

SLOW = "precision=bfloat16 takes up to 15 times as long as float32 here: the CPU has no units for it"
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
    """Return the config with a value for each `auto`, and a line for the log; "" if there is nothing to say.

    `fast_forms` goes with channels-last on a CPU: there the forms were measured, and they compute in this layout.

    Raises:
        ValueError: the device does not exist.
    """
    chosen = [key for key in NUMERICS if cfg.get(key) == "auto"]
    if not chosen and cfg.get("precision") != "bfloat16":
        return cfg, ""
    device = choose_device(cfg.device, precision="float32")
    is_slow = cfg.get("precision") == "bfloat16" and device.type == "cpu" and not is_fast_on_cpu("bfloat16")
    if not chosen:
        return cfg, SLOW if is_slow else ""
    cfg = cfg.copy()
    best = best_numerics(device)
    if "precision" in chosen:
        cfg.precision = best.precision
    if "channels_last" in chosen:
        cfg.channels_last = best.channels_last
    if "fast_forms" in chosen:
        cfg.fast_forms = bool(cfg.channels_last) and device.type == "cpu"
    values = " ".join(f"{key}={str(cfg[key]).lower()}" for key in chosen)
    line = f"{values}, chosen because {best.reason}; numerics=reference computes in float32 as in the papers"
    return cfg, f"{line}; {SLOW}" if is_slow else line
