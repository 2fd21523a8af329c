"""Where a part runs: the device, its folders, and the time it has."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import torch

MEBIBYTE = 2**20


@dataclass(frozen=True)
class Place:
    """Where a part runs.

    Args:
        device: that is checked.
        folder: of the part.
        shared: of all parts: videos, decoded frames.
        seconds: after which the part is ended.
    """

    device: torch.device
    folder: Path
    shared: Path
    seconds: float
    started: float = field(default_factory=time.monotonic)

    @classmethod
    def make(cls, device: str, folder: Path, shared: Path, seconds: float) -> Self:
        """Return the place of a part on the device of this name."""
        shared.mkdir(parents=True, exist_ok=True)
        return cls(torch.device(device), folder, shared, seconds)

    @property
    def is_dry(self) -> bool:
        """True on the CPU, which shows only that everything works."""
        return self.device.type != "cuda"

    @property
    def seconds_left(self) -> float:
        return self.seconds - (time.monotonic() - self.started)

    def wait(self) -> None:
        """Wait for the device."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def forget_peak(self) -> None:
        """Begin to measure the peak of the device's memory."""
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats(self.device)

    @property
    def peak_mib(self) -> float | None:
        """The most memory that tensors had on the device at a time, in MiB; None on the CPU."""
        return torch.cuda.max_memory_allocated(self.device) / MEBIBYTE if self.device.type == "cuda" else None
