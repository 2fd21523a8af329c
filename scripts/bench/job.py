"""Jobs for the benchmarks: parts built by odkd from its config, in a temporary run folder."""

import shutil
from collections.abc import Sequence
from pathlib import Path

from odkd.common.device import set_up
from odkd.common.numerics import is_fast_on_cpu
from odkd.config.call_stage import call_stage
from odkd.config.compose import compose_config
from odkd.config.parts import Parts
from odkd.runs.run import OpenRun
from odkd.teachers import Precision


def overrides(folder: Path, root: Path, *, size: tuple[int, int], stride: int, learn: int, test: int) -> list[str]:
    """Return the overrides shared by all benchmarks: oracle teacher, TinyNet, no MLflow."""
    return [
        "dataset=videos",
        f"dataset.root={root}",
        f"dataset.size=[{size[0]},{size[1]}]",
        f"dataset.stride={stride}",
        "dataset.groundtruth=groundtruth",
        "evaluation.groundtruth=false",  # score against the teacher only, as the plain baseline does
        f"window={{learn: {learn}, test: {test}, step: {test}}}",
        "tracking=none",
        f"paths.outputs={folder / 'outputs'}",
    ]


SIZES = ((360, 480), (720, 1280), (1080, 1920))
SMALL = (90, 160)  # of quick runs
REFERENCE = ["precision=float32", "channels_last=false"]  # as the reference code computes
# A CPU without units for bfloat16 imitates it, fifteen times as slow: there the fast settings are float32 too.
FAST_PRECISION: Precision = "bfloat16" if is_fast_on_cpu("bfloat16") else "float32"
FAST = [f"precision={FAST_PRECISION}", "channels_last=true"]
PRECISIONS: dict[str, list[str]] = {"float32": REFERENCE, f"{FAST_PRECISION} + channels-last": FAST}
ONLY_TEST_WINDOWS = ["evaluation.shift=null", "evaluation.segment_frames=0", "evaluation.final=false"]


def make_parts(job: Sequence[str]) -> Parts:
    """Build the parts of a job; decode and label its stream."""
    parts = Parts(compose_config(list(job)))
    cfg = parts.cfg
    set_up(parts.device, threads=cfg.threads, deterministic=cfg.deterministic, precision=cfg.precision)
    parts.label_stream()
    _ = parts.stream, parts.learner
    return parts


def call_online(parts: Parts, folder: Path) -> OpenRun:
    """Call the stage as `odkd` does, in an empty run folder, and close the parts."""
    shutil.rmtree(folder, ignore_errors=True)
    run = OpenRun(folder, {"key": parts.key}, checkpoint_overhead=parts.cfg.run.checkpoint_overhead)
    try:
        with run.open({}, restart=False):
            call_stage(parts, run)
    finally:
        parts.close()
    return run
