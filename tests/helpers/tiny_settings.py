"""Overrides of the smallest run that tests start with the `odkd` command or in this process."""

from compute import NAME

# debug=smoke in even smaller: 30 sampled frames in 3 periods (the renderer's order: city, night, city).
TINY = [
    "debug=smoke",
    "dataset.prepare.height=32",
    "dataset.prepare.width=48",
    "dataset.size=[32,48]",
    "dataset.prepare.period_seconds=5",
    "window.learn=6",
    "window.test=4",
    "window.step=4",
    "precision=float32",
    "channels_last=false",
    "tracking=none",
    "run.plots=false",
    "run.report=false",
    *([] if NAME == "cpu" else [f"device={NAME}"]),
]
