"""What a view is in the browser: one JSON value with its texts, its curve and, at most so often, its pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from odkd.common.ignore import IGNORE
from odkd.data.labels.palette import default_palette
from odkd.runs.page.pictures import jpeg_uri, labels_uri
from odkd.runs.page.view import View

MOST_POINTS = 400  # of the curve: more are averaged, so that a page of ten hours is as large as one of ten minutes
KNOWN = {  # names of metrics -> words, where the name alone does not say it
    "clock/seconds": "time of the session",
    "clock/weights_age_seconds": "age of the weights",
    "clock/label_age_seconds": "age of the newest label",
    "clock/frames_dropped": "frames dropped before the teacher",
    "clock/frames_missed": "sampled frames not answered",
    "clock/trainings_left_out": "trainings left out",
    "clock/up_utilisation": "uplink busy",
    "clock/down_utilisation": "downlink busy",
    "clock/teacher_utilisation": "teacher busy",
    "clock/trainer_utilisation": "trainer busy",
    "cost/frames": "frames",
    "cost/teacher_frames": "frames labelled by the teacher",
    "cost/learned_frames": "frames learned from",
    "cost/bytes_up": "sent up",
    "cost/bytes_down": "sent down",
    "learn/loss_total": "loss",
    "live/frames": "frames of the source",
    "live/frames_skipped": "frames not answered",
    "live/latency_seconds": "latency of an answer",
    "live/latency_most_seconds": "longest latency",
    "live/memory_bytes": "memory of all processes",
    "test/miou": "mIoU against the teacher",
}
RATES = {"live/frames": "frames per second", "live/frames_answered": "answers per second"}  # of what is counted
SHARES = ("_utilisation", "_share", "_utilization")
UNITS = (("B", 1.0), ("kB", 1e3), ("MB", 1e6), ("GB", 1e9), ("TB", 1e12))


def plain(view: View, before: View | None = None) -> dict[str, Any]:
    """Return everything of a view except its pictures, ready for JSON: no NaN, all texts as they are to be read.

    Args:
        before: a view of some seconds ago, for rates; None = none is known.
    """
    made, seen = view.teacher_made_seconds, _seen(view.labels_HW)
    return {
        "title": view.title,
        "time": duration(view.seconds),
        "seconds": _finite(view.seconds),
        "frame": view.frame_number,
        "made": "" if made is None else f"made at {duration(made)}, {duration(view.seconds - made)} ago",
        "scores": thinned(view.scores, MOST_POINTS),
        "numbers": [*rates(view, before), *numbers(view)],
        "state": [{"part": part, "text": said} for part, said in view.state.items()],
        "legend": [
            {"name": name, "colour": "#{:02x}{:02x}{:02x}".format(*colour), "seen": number in seen}
            for number, (name, colour) in enumerate(zip(view.classes, palette_of(view), strict=False))
        ],
    }


def numbers(view: View) -> list[dict[str, str]]:
    """Return name, words and value of each number of a view."""
    return [{"name": name, "words": words(name), "text": text(name, value)} for name, value in view.numbers.items()]


def rates(view: View, before: View | None) -> list[dict[str, str]]:
    """Return what is counted in both views as a rate, per second of the session."""
    lasted = 0.0 if before is None else view.seconds - before.seconds
    if before is None or lasted <= 0:
        return []
    counted = [name for name in RATES if name in view.numbers and name in before.numbers]
    found = {name: (view.numbers[name] - before.numbers[name]) / lasted for name in counted}
    return [{"name": name, "words": RATES[name], "text": f"{rate:.1f}"} for name, rate in found.items()]


def pictures(view: View) -> dict[str, str]:
    """Return the pictures of a view as data URIs; "" for one that is not there."""
    palette = palette_of(view)
    return {
        "image": jpeg_uri(view.image_HWC),
        "labels": labels_uri(view.labels_HW, palette),
        "teacher_image": jpeg_uri(view.teacher_image_HWC),
        "teacher_labels": labels_uri(view.teacher_labels_HW, palette),
    }


def palette_of(view: View) -> list[list[int]]:
    """Return [R, G, B] per class: those of the view, or default ones."""
    chosen = [[int(value) for value in colour] for colour in view.palette]
    return chosen or default_palette(len(view.classes))


def thinned(scores: Sequence[tuple[float, float]], most: int) -> list[list[float]]:
    """Return at most `most` points: means of the finite points in equal parts of the time.

    >>> thinned([(0.0, 0.25), (1.0, 0.75), (9.0, 0.5), (10.0, float("nan"))], 2)
    [[0.5, 0.5], [9.0, 0.5]]
    """
    points_N2 = np.asarray(scores, np.float64).reshape(-1, 2)
    points_N2 = points_N2[np.isfinite(points_N2).all(1)]
    if len(points_N2) > most:
        seconds = points_N2[:, 0]
        span = max(float(np.ptp(seconds)), 1e-9)
        part_of = np.minimum(((seconds - seconds.min()) / span * most).astype(int), most - 1)
        counts = np.bincount(part_of, minlength=most)
        sums = np.stack([np.bincount(part_of, points_N2[:, axis], most) for axis in (0, 1)], 1)
        points_N2 = sums[counts > 0] / counts[counts > 0, None]
    else:
        points_N2 = points_N2[np.argsort(points_N2[:, 0], kind="stable")]
    return [[round(float(second), 3), round(float(score), 5)] for second, score in points_N2]


def words(name: str) -> str:
    """Return the name of a metric in words.

    >>> words("clock/weights_age_seconds"), words("system/process_memory_megabytes"), words("live/frames_per_second")
    ('age of the weights', 'process memory', 'frames per second')
    """
    if name in KNOWN:
        return KNOWN[name]
    score = name.partition("/")[2] or name
    for unit in ("_megabytes", "_percentage") + (() if score.endswith("per_second") else ("_seconds",)):
        score = score.removesuffix(unit)
    return score.replace("_", " ").replace("miou", "mIoU").replace("/", ": ")


def text(name: str, value: float) -> str:
    """Return a value with the unit that the name of its metric states.

    >>> text("clock/label_age_seconds", 2.3), text("clock/teacher_utilisation", 0.5), text("cost/bytes_up", 1.5e6)
    ('2.3 s', '50 %', '1.5 MB')
    >>> text("clock/frames_dropped", 12.0), text("test/miou", 0.25), text("live/frames_per_second", 24.98)
    ('12', '0.250', '25.0')
    """
    if not math.isfinite(value):
        return "–"
    if name.endswith("per_second"):
        return f"{value:.1f}"
    if name.endswith("_seconds") or name.endswith("/seconds"):
        return duration(value)
    if name.endswith("_megabytes"):
        return _bytes(value * 1e6)
    if "bytes" in name:
        return _bytes(value)
    if name.endswith("_percentage"):
        return f"{value:.0f} %"
    if name.endswith(SHARES):
        return f"{100 * value:.0f} %"
    return f"{value:.0f}" if float(value).is_integer() and "iou" not in name else f"{value:.3f}"


def duration(seconds: float) -> str:
    """Return a time as short as a glance needs it.

    >>> duration(0.02), duration(9.96), duration(75.2), duration(7260.0)
    ('0.02 s', '10 s', '1 min 15 s', '2 h 1 min')
    """
    if not math.isfinite(seconds):
        return "–"
    if abs(seconds) < 0.995:
        return f"{seconds:.2f} s"
    if abs(seconds) < 9.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _bytes(value: float) -> str:
    unit, size = next(((unit, size) for unit, size in reversed(UNITS) if abs(value) >= size), UNITS[0])
    return f"{value / size:.1f} {unit}" if size > 1 else f"{value:.0f} B"


def _seen(labels_HW: np.ndarray | None) -> set[int]:
    if labels_HW is None:
        return set()
    return set(np.flatnonzero(np.bincount(labels_HW.ravel(), minlength=IGNORE + 1)).tolist())


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def no_view() -> Mapping[str, Any]:
    """Return what is shown before the first view."""
    return plain(View(seconds=0.0, frame_number=0, state={"source": "waiting for the first frame"}))
