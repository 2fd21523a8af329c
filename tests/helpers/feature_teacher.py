"""A teacher of two convolutions that names its layers, and the words of a run that learns from them."""

from collections import OrderedDict
from pathlib import Path

import numpy as np
import torch
from torch import nn

from odkd.teachers import SampledFrames

YAML = """\
defaults:
  - parts/common@_here_
  - _self_
_target_: feature_teacher.FeatureTeacher
name: features
width: 6
"""


class FeatureTeacher:
    """Labels by a network with random weights; its layers are stem, act, body and head."""

    needs_images = True

    def __init__(self, classes: list[str], device: torch.device, width: int = 6) -> None:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            layers = {
                "stem": nn.Conv2d(3, width, 3, stride=2, padding=1),
                "act": nn.ReLU(),
                "body": nn.Conv2d(width, 2 * width, 3, stride=2, padding=1),
                "head": nn.Conv2d(2 * width, len(classes), 1),
            }
        self.network = nn.Sequential(OrderedDict(layers)).to(device).eval()
        self.classes, self.num_classes, self._device = classes, len(classes), device

    @torch.inference_mode()
    def label(self, frames: SampledFrames) -> np.ndarray:
        logits_BKhw = self.network(self.seen(frames))
        size = frames.images_BHWC.shape[1:3]  # type: ignore[union-attr]
        return nn.functional.interpolate(logits_BKhw, size).argmax(1).to(torch.uint8).cpu().numpy()  # type: ignore[no-any-return]

    def seen(self, frames: SampledFrames) -> torch.Tensor:
        """Return what the network sees."""
        return torch.from_numpy(frames.images_BHWC).to(self._device).permute(0, 3, 1, 2).float() / 255


def config_dir(folder: Path) -> str:
    """Write the YAML file of the teacher; return the folder for --config-dir."""
    (folder / "teacher").mkdir(parents=True, exist_ok=True)
    (folder / "teacher" / "features.yaml").write_text(YAML)
    return str(folder)
