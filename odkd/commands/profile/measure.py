"""The profile of one student: its cost, memory, and times for 1, 2, 4, ... threads, or on the GPU."""

from __future__ import annotations

import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig

from odkd.commands.profile.cost import count_flops, count_parameters
from odkd.commands.profile.onnx import export_onnx
from odkd.common.arguments import version_text
from odkd.common.device import choose_device, thread_choice
from odkd.config.subject import Subject
from odkd.runs.environment import processor, versions
from odkd.runs.measuring import Call, Memory, busy_cores, summary_of, time_calls
from odkd.teachers.exported_network import open_network


def measure(cfg: DictConfig, seconds: float) -> dict[str, Any]:
    """Return what can be measured of a student on this machine; `real_time` is not yet in it.

    Args:
        cfg: complete, with its numerics chosen.
        seconds: for each timing.

    Raises:
        ValueError: a mistake in the config.
    """
    busy = busy_cores()
    memory = Memory(choose_device(cfg.device, precision=cfg.precision))  # before anything is built
    subject = Subject(cfg)
    try:
        network, num_images = subject.learner.student, len(subject.update.positions)
        peaks = {"evaluate": memory.peak(subject.evaluate), "learn": memory.peak(subject.learn)}
        timings, onnx = _timings(subject, seconds)
        return {
            "student": str(cfg.student.name),
            "size": list(subject.size),
            "num_classes": len(subject.classes),
            "precision": str(cfg.precision),
            "channels_last": bool(cfg.channels_last),
            "fast_forms": bool(cfg.fast_forms),
            "compile": bool(cfg.compile),
            "machine": machine(subject.device),
            "busy_cores": round(max(busy, busy_cores()), 2),  # before, and now
            "parameters": asdict(count_parameters(network)),
            "flops": asdict(count_flops(network, subject.size, num_images)),
            "memory": peaks,
            "timings": timings,
            "onnx": onnx,
            "measured": datetime.now(UTC).isoformat(timespec="seconds"),
        }
    finally:
        subject.close()


def _timings(subject: Subject, seconds: float) -> tuple[list[dict[str, Any]], str]:
    """Return the timings, and "" or why ONNX was not measured."""
    found: list[dict[str, Any]] = []
    usual = torch.get_num_threads()

    def add(what: str, runtime: str, call: Call, num_images: int) -> None:
        times = summary_of(time_calls(call, seconds))
        row = {"what": what, "runtime": runtime, "threads": torch.get_num_threads(), "images": num_images}
        found.append({**row, "seconds": times})

    with tempfile.TemporaryDirectory(prefix="odkd-profile-") as folder:
        path, reason = export_onnx(subject, Path(folder))
        try:
            for threads in thread_counts(usual) if subject.device.type == "cpu" else [usual]:
                torch.set_num_threads(threads)
                add("evaluate", "torch", subject.evaluate, 1)
                if path is not None:
                    run = open_network(path, subject.device)
                    add("evaluate", "onnx", partial(subject.evaluate_exported, run), 1)
                add("learn", "torch", subject.learn, len(subject.update.positions))
        finally:
            torch.set_num_threads(usual)
    return found, reason


def thread_counts(most: int) -> list[int]:
    """Return the numbers of threads to measure with: powers of 2, and the most.

    >>> thread_counts(6), thread_counts(1)
    ([1, 2, 4, 6], [1])
    """
    powers = [2**power for power in range(most.bit_length()) if 2**power < most]
    return [*powers, most]


def machine(device: torch.device) -> dict[str, str]:
    """Return what the times belong to: the device, the threads and versions; not the name of the host."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
    libraries = {"torch": versions()["odkd.version.torch"], "python": versions()["odkd.version.python"]}
    return {"device": f"{device.type}: {name}", "threads": thread_choice(), "odkd": version_text(), **libraries}
