"""The loop over the bare network, and the time outside it, for two students, two sizes, and what a GPU offers.

Each iteration with a full window is measured between two measurements of the bare network: the same calls on tensors
that are on the device already. What is left is what odkd adds: reading, uploading, arg-max, counts, records, files.
"""

import time
from dataclasses import dataclass
from itertools import pairwise
from statistics import median
from typing import Any

from bench.job import call_online, make_parts
from bench.network import BareNetwork

from gpu.cases import speed_cases
from gpu.counting import measure_counting
from gpu.loop import Case, Watched, examples_of, settings
from gpu.place import Place
from gpu.result import Cell, Result

AT_MOST = 1.10
STUDENTS = {"TinyNet": ["student=tinynet"], "Unet ResNet-18": ["student=smp"]}
LEAST_SECONDS = 6.0  # with which a case begins
COMPILE_SECONDS = 60.0  # with which a case begins that compiles


@dataclass(frozen=True)
class Variant:
    """A way to compute.

    Args:
        mode: of torch.compile; None = no compilation.
        is_for_all: measured at both sizes; the others at the smaller one.
    """

    name: str
    settings: tuple[str, ...]
    mode: str | None = None
    is_for_all: bool = False
    needs_gpu: bool = False


EXACT, FAST = ("precision=float32", "channels_last=false"), ("precision=bfloat16", "channels_last=true")
VARIANTS = (
    Variant("float32", EXACT, is_for_all=True),
    Variant("bfloat16 + channels_last", FAST, is_for_all=True),
    Variant("tf32", ("precision=tf32", "channels_last=false"), needs_gpu=True),
    Variant("float16 + channels_last", ("precision=float16", "channels_last=true"), needs_gpu=True),
    Variant("bfloat16 + channels_last, deterministic=false", (*FAST, "deterministic=false")),
    Variant("bfloat16 + channels_last, compiled", FAST, mode="default"),
    Variant("bfloat16 + channels_last, CUDA graphs", FAST, mode="reduce-overhead"),
)


def measure(place: Place, result: Result) -> None:
    """Measure the variants in the order of VARIANTS, all students and sizes of one before the next."""
    measure_counting(place, result)
    small, large = speed_cases(is_dry=place.is_dry)
    for variant in VARIANTS:
        for case in (small, large) if variant.is_for_all else (small,):
            for student in STUDENTS:
                name = f"{student}, {case.name}, {variant.name}"
                needed = COMPILE_SECONDS if variant.mode and not place.is_dry else LEAST_SECONDS
                if variant.needs_gpu and place.is_dry:
                    result.leave_out(name, "needs a GPU")
                elif place.is_dry and student != "TinyNet" and (variant.mode or case is not small):
                    result.leave_out(name, "takes too long on a CPU")
                elif place.seconds_left < needed:
                    result.leave_out(name, f"{place.seconds_left:.0f} s were left")
                else:
                    _measure_one(place, result, name, case, variant, student)


def _measure_one(place: Place, result: Result, name: str, case: Case, variant: Variant, student: str) -> None:
    began = time.monotonic()
    try:
        row = measure_case(place, case, [*STUDENTS[student], *variant.settings], mode=variant.mode)
    except Exception as error:  # one variant that a library cannot run must not lose the others
        result.figure(f"loop over bare network, {name}", None, at_most=AT_MOST)
        result.note(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
        return
    ratio = float(row.pop("loop over bare"))  # type: ignore[arg-type]
    result.row(
        "loop and bare network",
        student=student,
        size=case.name,
        variant=variant.name,
        **{"loop over bare": ratio},
        **row,
        **{"seconds in all": time.monotonic() - began},
    )
    result.figure(f"loop over bare network, {name}", ratio, at_most=AT_MOST, needs_gpu=True)


def measure_case(place: Place, case: Case, more: list[str], *, mode: str | None = None) -> dict[str, Cell]:
    """Return the row of one case: its ratio, milliseconds, and the peak of the device's memory."""
    parts = make_parts([*settings(place, case), *more])
    backend: dict[str, Any] = {"backend": "eager"} if place.is_dry else {"mode": mode}
    examples = examples_of(parts, case.learn)
    bare = BareNetwork.of(parts.learner)
    if mode is not None:
        for network in (parts.learner.student, bare.student):
            network.compile(**backend)
    bares: list[tuple[float, float]] = []

    def measure_bare() -> None:
        place.wait()
        begun = time.perf_counter()
        bare.learn(examples)
        place.wait()
        learned = time.perf_counter()
        bare.evaluate(examples[: case.test])
        place.wait()
        bares.append((learned - begun, time.perf_counter() - learned))

    measure_bare()  # warms up
    bares.clear()
    parts.bank.retain([])
    place.forget_peak()
    window = Watched(case.learn, case.test, case.test, measure_bare, place.wait)
    parts.window = window
    call_online(parts, place.folder / "run")
    measure_bare()
    return compare(case, window.seconds, bares) | {"peak MiB": place.peak_mib}


def compare(case: Case, loops: list[float], bares: list[tuple[float, float]]) -> dict[str, Cell]:
    """Return medians over iterations; each is compared with the mean of the bare network before and after it.

    >>> row = compare(Case((2, 2), 3, 1, 1), [1.1], [(0.8, 0.1), (0.9, 0.2)])
    >>> round(row["loop over bare"], 3), round(row["outside ms a frame"], 3)
    (1.1, 25.0)
    """
    between = [tuple(sum(pair) / 2 for pair in zip(*two, strict=True)) for two in pairwise(bares)]
    totals = [sum(parts) for parts in between]
    ratios = [loop / total for loop, total in zip(loops, totals, strict=True)]
    outside = [loop - total for loop, total in zip(loops, totals, strict=True)]
    return {
        "loop over bare": median(ratios),
        "lowest": min(ratios),
        "highest": max(ratios),
        "learn ms a frame": 1000 * median(part[0] for part in between) / case.learn,
        "evaluate ms a frame": 1000 * median(part[1] for part in between) / case.test,
        "outside ms a frame": 1000 * median(outside) / (case.learn + case.test),
    }
