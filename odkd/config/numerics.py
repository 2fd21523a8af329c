"""`precision`, `channels_last` and `fast_forms` of a run: each `auto` becomes a value before the run gets its key."""

from omegaconf import DictConfig

from odkd.common.device import choose_device
from odkd.common.numerics import best_numerics

NUMERICS = ("precision", "channels_last", "fast_forms")


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
