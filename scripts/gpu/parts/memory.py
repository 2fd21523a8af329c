"""Peak memory of the device on a stream and on one four times as long: it must follow the method, not the stream."""

from bench.job import call_online, make_parts

from gpu.cases import memory_case
from gpu.loop import Watched, settings
from gpu.place import Place
from gpu.result import Result

LONGER, AT_MOST = 4, 1.02
METHODS = {"fifo": [], "uniform": ["replay=uniform", "replay.capacity=40"]}


def measure(place: Place, result: Result) -> None:
    """Measure each method on both streams."""
    case = memory_case(is_dry=place.is_dry)
    for name, more in METHODS.items():
        peaks: list[float | None] = []
        for times in (1, LONGER):
            parts = make_parts([*settings(place, case, num_frames=times * case.num_frames), *more])
            parts.window = Watched(case.learn, case.test, case.test)
            place.forget_peak()
            call_online(parts, place.folder / "run")
            peaks.append(place.peak_mib)
            result.row("peak memory", method=name, frames=len(parts.stream), **{"peak MiB": peaks[-1]})
            del parts
        first, second = peaks
        ratio = None if first is None or second is None else second / first
        result.figure(f"peak on {LONGER} times the stream, {name}", ratio, at_most=AT_MOST, needs_gpu=True)
