"""Students of finished runs, loaded to segment images: network, normalization, input size, classes and colours."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor, nn

from odkd.common.device import choose_device, set_tf32
from odkd.common.numerics import is_fast_on_cpu
from odkd.config.construct import construct, resolve
from odkd.config.parts_student import student_arguments
from odkd.config.roles import is_users
from odkd.config.schema import stored_config
from odkd.data.labels.palette import dataset_palette
from odkd.data.tensor_bank import Bank, Batch, Normalization
from odkd.data.video.fit import Fit, fit_picture, placement, stretched
from odkd.data.video.image_index import read_picture
from odkd.evaluation.enlarge import classes_at_size
from odkd.evaluation.evaluate import Evaluator
from odkd.runs.run_file import verify
from odkd.students.batch_norm import use_statistics
from odkd.students.equal_forms import use_fast_forms
from odkd.students.fitting import check_size, load_weights
from odkd.students.trial import try_student
from odkd.training.trainer import student_file


@dataclass(frozen=True, eq=False)
class Segmenter:
    """A student that receives images as it did in its run.

    Args:
        network: the student.
        classes: names by class id.
        palette: [R, G, B] per class.
        size: (height, width) of its training input, in pixels.
        normalization: of pixels.
        batch_size: images in a forward pass (with some batch norms, predictions depend on it).
        precision: float32, tf32, bfloat16, float16.
        channels_last: memory layout of pictures.
        device: where the network is.
        file: of its weights.
    """

    network: nn.Module
    classes: Sequence[str]
    palette: Sequence[Sequence[int]]
    size: tuple[int, int]
    normalization: Normalization
    batch_size: int
    precision: str
    channels_last: bool
    device: torch.device
    file: Path

    def segment(self, images_NHWC: np.ndarray, size: tuple[int, int] | None = None) -> np.ndarray:
        """Return class ids, uint8 [N, H, W], of RGB images, uint8 [N, h, w, 3]; of one image [h, w, 3], [H, W].

        Images of another size than the student's are brought to it, as pictures of a dataset with fit=stretch are.
        Logits are enlarged to `size` = (H, W) before the class is chosen; None = size of the images.

        Raises:
            ValueError: no uint8 images of this shape.
        """
        if images_NHWC.ndim == 3:
            return np.asarray(self.segment(images_NHWC[None], size)[0])
        if images_NHWC.ndim != 4 or images_NHWC.shape[3] != 3 or images_NHWC.dtype != np.uint8:
            got = f"{images_NHWC.dtype} {list(images_NHWC.shape)}"
            raise ValueError(f"got images of {got}; expected RGB as uint8 [H, W, 3] or [N, H, W, 3]")
        whole = size or (int(images_NHWC.shape[1]), int(images_NHWC.shape[2]))
        images_NHWC = self._fitted(images_NHWC)
        found: list[Tensor] = []
        self._each_logits(images_NHWC, lambda _, logits_BKHW: found.append(classes_at_size(logits_BKHW, whole).cpu()))
        labels_NHW: np.ndarray = torch.cat(found).numpy()
        return labels_NHW

    def segment_picture(self, path: Path, *, fit: Fit) -> tuple[np.ndarray, np.ndarray]:
        """Return the image in a file, as far as the student sees it, and the class of each pixel, at full resolution.

        Args:
            path: of the file.
            fit: how the image is brought to `self.size`: stretch (aspect ratio changes), crop (largest central part of
                that aspect ratio), pad (black bars).

        Returns:
            RGB uint8 [H, W, 3] and class ids uint8 [H, W].

        Raises:
            ValueError: the file is not an image.
        """
        picture = read_picture(path)
        place = placement((picture.height, picture.width), shape=self.size, size=self.size, fit=fit)
        left, top, right, bottom = place.box
        width, height, x, y = (round(length) for length in (right - left, bottom - top, left, top))
        seen = picture.crop((x, y, x + width, y + height))
        found: list[Tensor] = []

        def label(_: Batch, logits_BKHW: Tensor) -> None:
            inner_BKHW = logits_BKHW[:, :, place.rows, place.columns]
            found.append(classes_at_size(inner_BKHW, (height, width)).cpu())

        self._each_logits(fit_picture(picture, place, self.size)[None], label)
        return np.array(seen), found[0][0].numpy()

    def _fitted(self, images_NHWC: np.ndarray) -> np.ndarray:
        """Return images at the student's size."""
        given = (int(images_NHWC.shape[1]), int(images_NHWC.shape[2]))
        if given == self.size or not len(images_NHWC):
            return images_NHWC
        return np.stack([stretched(Image.fromarray(image_HWC), self.size) for image_HWC in images_NHWC])

    def _each_logits(self, images_NHWC: np.ndarray, use: Callable[[Batch, Tensor], None]) -> None:
        """Call `use` with each batch and its logits [B, K, H, W]."""
        num_classes = len(self.classes)
        with Bank(
            _Images(images_NHWC),
            {},
            num_classes=num_classes,
            device=self.device,
            memory_bytes=0,
            normalization=self.normalization,
            channels_last=self.channels_last,
        ) as bank:
            evaluator = Evaluator(bank, batch_size=self.batch_size, precision=self.precision, device=self.device)
            evaluator.each_logits(self.network, range(len(images_NHWC)), use)


@dataclass(frozen=True, eq=False)
class _Images:
    """Images in memory, with the interface of a stream's frames."""

    images_NHWC: np.ndarray

    def read(self, positions: Sequence[int]) -> np.ndarray:
        return self.images_NHWC[list(positions)]


def load_student(
    run: Path, name: str | None = None, *, device: str = "auto", allow_targets: Sequence[str] = ()
) -> Segmenter:
    """Load a student of a run from config.yaml and a safetensors file; nothing is unpickled or downloaded.

    Args:
        run: the run's folder.
        name: as in the metrics: round_1/student_0, ..., final; None = the last student of the run.
        device: auto, cpu, cuda, ... On a CPU, a run in float16 or tf32 is continued in float32, and so is one in
            bfloat16 where the CPU has no units for it: it would take fifteen times as long.
        allow_targets: user-defined packages that may contain the student's class. Those that config.yaml allows do not
            count, because a run's folder may come from anywhere.

    Raises:
        ValueError: no run, an unknown student, a class that is not allowed, weights that do not fit, or a
            file that was changed since the run finished.
    """
    cfg = stored_config(run, allow_targets)
    path = run / "student.safetensors" if name is None else student_file(run, name)
    if not path.is_file():
        there = sorted(file.stem.replace("-", "/") for file in (run / "students").glob("*.safetensors"))
        raise ValueError(f"there is no {path}; {run} has {', '.join(there) or 'no finished student'}")
    verify(run, [path.relative_to(run).as_posix()])
    allowed, chosen_device = list(allow_targets), choose_device(device, precision="float32")
    node = OmegaConf.create({"_target_": cfg.student._target_, **student_arguments(cfg.student)})
    target = resolve(node._target_, allowed, "student")
    if not (isinstance(target, type) and issubclass(target, nn.Module)):
        raise ValueError(f"student._target_={cfg.student._target_} of {run} is no torch.nn.Module")
    classes = list(cfg.dataset.classes)
    offered = {"num_classes": len(classes), "classes": classes, "device": chosen_device, "seed": int(cfg.seed)}
    if not is_users(node._target_):
        check_size(lambda: construct(node, (), offered, allowed, "student"), [path], run / "config.yaml")
    network = construct(node, (), offered, allowed, "student")
    use_fast_forms(network, bool(cfg.get("fast_forms")))  # runs from before 2026-11-29 have no such setting
    use_statistics(network, cfg.student.get("statistics", "own"))
    load_weights(network, path)
    network.to(chosen_device)
    if chosen_device.type == "cuda":
        set_tf32(cfg.precision == "tf32")
    size = (int(cfg.dataset.size[0]), int(cfg.dataset.size[1]))
    try_student(network, len(classes), size, device=chosen_device, batch_size=None)
    layout = torch.channels_last if cfg.channels_last else torch.contiguous_format
    can_compute = chosen_device.type != "cpu" or is_fast_on_cpu(cfg.precision)
    return Segmenter(
        network.to(device=chosen_device, memory_format=layout),
        classes,
        dataset_palette(cfg.dataset),
        size,
        Normalization(cfg.student.mean, cfg.student.std),
        batch_size=cfg.evaluation.batch_size,
        precision=cfg.precision if can_compute else "float32",
        channels_last=cfg.channels_last,
        device=chosen_device,
        file=path,
    )
