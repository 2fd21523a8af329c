"""The clock of a run, and the durations that are measured for it: once for all runs of a cache, kept with each run."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from odkd.common.files import json_digest, write_json
from odkd.common.reading import read_json
from odkd.training.clock.plan import ClockPlan
from odkd.training.clock.timing import MEASURABLE, Timing
from odkd.training.pace import Pace
from odkd.training.recorded import RecordedPace

if TYPE_CHECKING:
    from odkd.data.video.image_index import Source
    from odkd.teachers import Teacher

logger = logging.getLogger(__name__)
FILE = "durations.json"  # in the folder of a run
SECONDS = 1.0  # for which each part is measured
GROUPS = ("student", "teacher", "optimizer", "loss", "regularizer", "augmentation", "features")
KEYS = ("precision", "channels_last", "fast_forms", "compile", "threads", "deterministic", "device")


@dataclass
class TimingParts:
    """Builds the clock of a run.

    Args:
        cfg: complete, with its numerics chosen.
        timing: the settings of the clock.
        teacher: builds the teacher.
    """

    cfg: DictConfig
    timing: Timing
    teacher: Callable[[], Teacher]

    def clock(self, video: Source, folder: Path) -> ClockPlan:
        """Return the clock; what is to be measured is, unless it was for this run or one like it.

        Args:
            video: that the frames are from.
            folder: of the run, where the durations are kept.
        """
        size = self.cfg.teacher.size
        seen = (int(size[0]), int(size[1])) if size else (video.height, video.width)
        clock = self.timing.plan(
            3 * seen[0] * seen[1], self._measured(seen, folder) if self.timing.to_measure() else {}
        )
        clock = replace(clock, seconds_per_frame=self.cfg.dataset.seconds_per_frame)
        if not clock.is_instant and folder.is_dir():
            write_json(folder / FILE, clock.record())
        return clock

    def _measured(self, seen: tuple[int, int], folder: Path) -> Mapping[str, float]:
        """Return the measured seconds: those of the run, if it has some, else of a run like it, else of now."""
        kept = Path(self.cfg.paths.cache) / "durations" / f"{self._digest(seen)}.json"
        for path in (folder / FILE, kept):
            if path.is_file():
                return _read(path)
        found = self._measure(seen)
        logger.info("measured: %s", ", ".join(f"{name} {value:.4g}" for name, value in found.items()))
        kept.parent.mkdir(parents=True, exist_ok=True)
        write_json(kept, found)
        return found

    def _digest(self, seen: tuple[int, int]) -> str:
        """Return a digest of all that a duration depends on, the machine included."""
        import torch

        from odkd.common.device import choose_device
        from odkd.runs.environment import processor

        whole: Any = OmegaConf.to_container(self.cfg, resolve=True)
        settings = [whole.get(name) for name in (*GROUPS, *KEYS)]
        settings += [whole["stage"].get(name) for name in ("batch_size", "order")]
        device = choose_device(self.cfg.device, precision=self.cfg.precision)
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor()
        classes = len(self.cfg.dataset.classes)
        machine = [device.type, name, torch.get_num_threads(), torch.__version__]
        return json_digest([settings, whole["dataset"]["size"], classes, seen, machine])

    def _measure(self, seen: tuple[int, int]) -> dict[str, float]:
        """Measure student, trainer and teacher, one after the other, on frames of noise."""
        import torch

        from odkd.config.subject import Subject
        from odkd.runs.measuring import summary_of, time_calls

        logger.info("measuring how long teacher, training and student take on this machine")
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices):  # the numbers of a run do not depend on whether it measures
            subject = Subject(self.cfg)
            try:
                student = summary_of(time_calls(subject.evaluate, SECONDS))["mean"]
                update = summary_of(time_calls(subject.learn, SECONDS))["mean"] / len(subject.update.positions)
            finally:
                subject.close()
            teacher = self._of_teacher(seen)
        return dict(zip(MEASURABLE, (teacher, update, student), strict=True))

    def _of_teacher(self, seen: tuple[int, int]) -> float:
        """Return the seconds of the teacher for a frame, in batches of one; 0 for one that only reads labels."""
        from odkd.data.noise import NoiseFrames
        from odkd.runs.measuring import summary_of, time_calls
        from odkd.teachers import SampledFrames

        teacher = self.teacher()
        if not teacher.needs_images:
            logger.warning(
                "teacher=%s reads labels and computes nothing, which is measured as 0 s; "
                "set timing.teacher_seconds to those of the teacher that it stands for",
                self.cfg.teacher.name,
            )
            return 0.0
        images_BHWC = NoiseFrames(seen).read([0])

        def label(number: int) -> None:
            teacher.label(SampledFrames("noise", [number], images_BHWC, None, sample_numbers=[number]))

        return summary_of(time_calls(label, SECONDS))["mean"]


def _read(path: Path) -> dict[str, float]:
    """Return durations as they were written.

    Raises:
        ValueError: the file is damaged.
    """
    found = read_json(path, dict[str, Any], advice="delete it, and durations are measured again")
    return {name: float(found[name]) for name in MEASURABLE}


def paced(pace: Pace, dataset: DictConfig) -> Pace:
    """Return the pace of a run; along a recorded session, the frames for the teacher were chosen then."""
    return RecordedPace(pace) if dataset.get("recorded") else pace
