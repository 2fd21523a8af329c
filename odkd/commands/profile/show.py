"""The text of profiles: one in full, several as a table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from odkd.common.markdown import markdown_table
from odkd.common.names import counted
from odkd.runs.profiles import timing

Profile = Mapping[str, Any]
BUSY = 0.3  # cores that other programs use, from which on times mean little
HEADINGS = (
    *("student", "parameters (M)", "learned (M)", "GFLOPs", "GFLOPs to learn", "evaluate (ms), 1 thread"),
    *("evaluate (ms)", "90%", "ONNX (ms)", "update (ms)", "memory (MB)", "to learn (MB)", "frames/s"),
    *("retrained every (s)", "shortest stride"),
)


def text_of(profile: Profile) -> str:
    """Return a profile in full."""
    height, width = profile["size"]
    forms = [profile["precision"]]
    forms += [name for key, name in _FORMS.items() if profile[key]]
    parameters, flops, memory = profile["parameters"], profile["flops"], profile["memory"]
    own = machine_words(profile)
    head = f"{profile['student']}: {profile['num_classes']} classes, {height} x {width} pixels, {', '.join(forms)}"
    lines = [
        head,
        f"on {own}",
        "",
        f"parameters  {_m(parameters['all'])} M, of which {_m(parameters['learned'])} M learn; "
        f"{parameters['num_bytes'] / 1e6:.1f} MB",
        f"FLOPs       {_g(flops['evaluate'])} G to evaluate an image, {_g(flops['learn'])} G to learn from one "
        "(a multiplication with its addition counts 2)",
        f"memory      {memory['evaluate'] / 1e6:.0f} MB to evaluate, {memory['learn'] / 1e6:.0f} MB to learn, at the "
        "worst moment, beside the libraries",
        "",
        *timing_lines(profile["timings"]),
    ]
    if profile.get("onnx"):
        lines.append(f"ONNX was not measured: {profile['onnx']}")
    if profile["busy_cores"] >= BUSY:
        lines.append(busy_words(profile["busy_cores"]))
    return "\n".join([*lines, "", *real_time_lines(profile)])


_FORMS = {"channels_last": "channels-last", "fast_forms": "fast forms", "compile": "compiled"}


def busy_words(cores: float) -> str:
    """Return what it means that other programs compute."""
    return f"Other programs used {cores:.1f} cores: the times are those of a busy machine; end them, and measure again"


def machine_words(profile: Profile) -> str:
    """Return the device, the threads and torch's version."""
    own = profile["machine"]
    return f"{own['device']}, {own['threads']}; torch {own['torch']}"


def timing_lines(timings: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return a line for each timing, under headings; milliseconds."""
    lines = [f"{'milliseconds':<34}{'threads':>8}{'50%':>9}{'90%':>9}{'99%':>9}{'images/s':>10}{'calls':>7}"]
    for row in sorted(timings, key=lambda row: (row["what"], row["runtime"] != "torch", row["threads"])):
        seconds, runtime = row["seconds"], {"torch": "PyTorch", "onnx": "ONNX float32"}[row["runtime"]]
        what = {"evaluate": "evaluate", "learn": "update"}[row["what"]]
        name = f"{what}, {counted(row['images'], 'image')}, {runtime}"
        points = "".join(f"{1e3 * seconds[point]:>9.2f}" for point in ("p50", "p90", "p99"))
        rate = row["images"] / seconds["mean"]
        lines.append(f"{name:<34}{row['threads']:>8}{points}{rate:>10.1f}{seconds['count']:>7}")
    return lines


def real_time_lines(profile: Profile) -> list[str]:
    """Return what the times mean for a video that does not wait."""
    found = profile["real_time"]
    plan = found["plan"]
    rate, learn, step, stride = (_plain(plan[key]) for key in ("rate", "learn", "step", "stride"))
    lines = [
        f"In real time, {counted(found['threads'], 'thread')}, at {rate} frames a second "
        "(the teacher labels elsewhere, or before):",
        f"  keeps up with     {found['evaluated_per_second']:.1f} frames a second, and with "
        f"{found['frames_per_second']:.1f} if it is retrained as configured:",
        f"                    on {learn} sampled frames after every {step}, one in {stride} frames sampled",
        f"  a retraining      takes {_seconds(found['retraining_seconds'])} by itself",
    ]
    if found["retrained_every_seconds"] is None:
        return [*lines, f"  too slow          for {rate} frames a second, even if it is never retrained"]
    window, shortest = found["longest_window"], found["shortest_stride"]
    fits = found["frames_per_second"] >= plan["rate"]
    lines += [
        f"  can be retrained  every {_seconds(found['retrained_every_seconds'])} beside {rate} frames a second"
        + ("" if fits else "; as configured it falls behind"),
        f"  longest window    {window if window is not None else 'none'} sampled frames at this step and stride",
        f"  shortest stride   {counted(shortest, 'frame')} with this window and step",
    ]
    return lines


def table_of(profiles: Sequence[Profile]) -> str:
    """Return a Markdown table of profiles, and below it on which machine and for what they hold."""
    lines = [markdown_table(HEADINGS, map(_cells, profiles))]
    settings = dict.fromkeys(_common(profile) for profile in profiles)
    machines = dict.fromkeys(machine_words(profile) for profile in profiles)
    plans = dict.fromkeys(_plan_words(profile) for profile in profiles)
    busy = max(profile["busy_cores"] for profile in profiles)
    notes = [*settings, *(f"On {own}" for own in machines), *plans, *([busy_words(busy)] if busy >= BUSY else [])]
    return "\n".join([*lines, "", *(f"* {note}." for note in notes)])


def _cells(profile: Profile) -> list[str]:
    real, memory, flops = profile["real_time"], profile["memory"], profile["flops"]
    first = min(
        (row for row in profile["timings"] if (row["what"], row["runtime"]) == ("evaluate", "torch")),
        key=lambda row: row["threads"],
    )
    every, stride = real["retrained_every_seconds"], real["shortest_stride"]
    return [
        profile["student"],
        _m(profile["parameters"]["all"]),
        _m(profile["parameters"]["learned"]),
        _g(flops["evaluate"]),
        _g(flops["learn"]),
        f"{1e3 * first['seconds']['p50']:.1f}",
        _milliseconds(timing(profile, "evaluate"), "p50"),
        _milliseconds(timing(profile, "evaluate"), "p90"),
        _milliseconds(timing(profile, "evaluate", "onnx"), "p50"),
        _milliseconds(timing(profile, "learn"), "p50"),
        f"{memory['evaluate'] / 1e6:.0f}",
        f"{memory['learn'] / 1e6:.0f}",
        f"{real['evaluated_per_second']:.1f}",
        "too slow" if every is None else f"{every:.2f}",
        "" if stride is None else str(stride),
    ]


def _common(profile: Profile) -> str:
    height, width = profile["size"]
    forms = [profile["precision"], *(name for key, name in _FORMS.items() if profile[key])]
    images = next(row["images"] for row in profile["timings"] if row["what"] == "learn")
    what = f"{profile['num_classes']} classes, {height} x {width} pixels, {', '.join(forms)}"
    return f"{what}; updates of {counted(images, 'image')}"


def _plan_words(profile: Profile) -> str:
    plan = profile["real_time"]["plan"]
    rate, learn, step, stride = (_plain(plan[key]) for key in ("rate", "learn", "step", "stride"))
    return (
        f"Retrained and shortest stride: at {rate} frames a second, on {learn} sampled frames after every {step} "
        f"(one in {stride} frames sampled); times are medians, frames/s is the rate that 90% of the frames keep"
    )


def _milliseconds(row: Mapping[str, Any] | None, point: str) -> str:
    return "" if row is None else f"{1e3 * row['seconds'][point]:.1f}"


def _m(number: int) -> str:
    return f"{number / 1e6:.2f}"


def _g(number: int) -> str:
    return f"{number / 1e9:.2f}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 100 else f"{seconds / 60:.1f} minutes"


def _plain(number: float) -> str:
    return f"{number:g}"
