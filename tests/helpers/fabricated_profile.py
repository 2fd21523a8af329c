"""A profile as odkd-profile makes it, with round numbers."""

from typing import Any


def fabricated_profile(student: str = "tinynet", *, threads: str = "2 threads", gflops: int = 4) -> dict[str, Any]:
    """Return a profile; its times are 10 ms for an image and 40 ms for an update, half as much with 2 threads."""

    def row(what: str, runtime: str, num_threads: int, seconds: float) -> dict[str, Any]:
        times = {"count": 9, "mean": seconds, "p50": seconds, "p90": 2 * seconds, "p99": 3 * seconds}
        return {"what": what, "runtime": runtime, "threads": num_threads, "images": 1, "seconds": times}

    plan = {"rate": 25.0, "stride": 25.0, "learn": 20, "step": 10, "epochs": 1, "batch_size": 1}
    return {
        "student": student,
        "size": [32, 48],
        "num_classes": 11,
        "precision": "float32",
        "channels_last": True,
        "fast_forms": True,
        "compile": False,
        "machine": {"device": "cpu: A processor", "threads": threads, "odkd": "odkd 1", "torch": "2", "python": "3"},
        "busy_cores": 0.1,
        "parameters": {"all": 829_207, "learned": 800_000, "num_bytes": 3_316_828},
        "flops": {"evaluate": gflops * 10**9, "learn": 3 * gflops * 10**9},
        "memory": {"evaluate": 50_000_000, "learn": 200_000_000},
        "timings": [
            row("evaluate", "torch", 1, 0.01),
            row("learn", "torch", 1, 0.04),
            row("evaluate", "torch", 2, 0.005),
            row("evaluate", "onnx", 2, 0.004),
            row("learn", "torch", 2, 0.02),
        ],
        "onnx": "",
        "real_time": {
            "plan": plan,
            "threads": 2,
            "retraining_seconds": 0.4,
            "evaluated_per_second": 100.0,
            "frames_per_second": 86.0,
            "retrained_every_seconds": 0.53,
            "longest_window": 375,
            "shortest_stride": 2,
        },
        "measured": "2026-11-29T12:00:00+00:00",
    }
