"""How a run retrains its student along a video: its window, its stride, and the rate of its video."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from odkd.commands.profile.real_time import Plan, real_time

if TYPE_CHECKING:
    from omegaconf import DictConfig

USUAL_RATE = 25.0  # frames per second, where no run says another


def plan_of(cfg: DictConfig, rate: float | None, run: Path | None) -> Plan:
    """Return the plan of a config.

    Args:
        cfg: complete.
        rate: of the video, in frames per second; None = that of the run's video, else USUAL_RATE.
        run: the run's folder, or None.
    """
    from odkd.config.construct import construct
    from odkd.stages import traits_of

    sampled = None if run is None else sampled_rate(run)
    dataset, stage = cfg.dataset, cfg.stage
    seconds = dataset.get("stride_seconds")
    stride = float(dataset.stride)
    if rate is None:
        rate = USUAL_RATE if sampled is None or seconds else sampled * stride
    if seconds:
        stride = max(1.0, float(seconds) * rate)
    size = int(stage.get("batch_size", 1)) * (2 if str(stage.get("order", "")).startswith("paired") else 1)
    has_epochs = traits_of(construct(stage, (), {}, list(cfg.allow_targets), "stage")).has_epochs
    epochs = 1 if has_epochs else int(stage.get("epochs", 1))  # epochs of a whole training are no retraining
    return Plan(rate, stride, int(cfg.window.learn), int(cfg.window.step), epochs, size)


def sampled_rate(run: Path) -> float | None:
    """Return the sampled frames per second of a run's stream, from its metrics; None where it follows no video."""
    from odkd.runs.records import read_lines

    found = [
        (line["position"], seconds)
        for line in read_lines(run / "metrics.jsonl")
        if "position" in line and (seconds := line.get("metrics", {}).get("stream/seconds")) is not None
    ]
    if len(found) < 2:
        return None
    (first, begin), (last, end) = found[0], found[-1]
    return round((last - first) / (end - begin), 6) if end > begin and last > first else None


def with_real_time(profile: dict[str, Any], plan: Plan) -> dict[str, Any]:
    """Return the profile with what it means for a video that does not wait."""
    from odkd.runs.profiles import timing

    evaluated, learned = timing(profile, "evaluate"), timing(profile, "learn")
    assert evaluated is not None
    assert learned is not None
    found = real_time(plan, evaluated["seconds"]["p90"], learned["seconds"]["mean"])
    return profile | {"real_time": found | {"threads": evaluated["threads"]}}
