"""What `odkd-predict` can run: a student of a run, an exported network, or any teacher."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from odkd.common.dotted import setting
from odkd.common.files import at_home, json_digest
from odkd.common.notes import file_digest
from odkd.config.segmenter import Segmenter, load_student
from odkd.data.labels.palette import default_palette
from odkd.data.video.fit import stretched
from odkd.teachers import SampledFrames, class_names, clip_frames_of

EXPORTED = (".onnx", ".pt", ".pt2", ".ts", ".torchscript")
CACHE = Path("outputs/cache")  # of digests and of the frames' index


@dataclass(frozen=True)
class Frames:
    """A batch of upright RGB frames of one source.

    Args:
        source: the name of the video or folder.
        numbers: of the frames.
        full_NHWC: at the size of the source, uint8.
        small_NHWC: at the size that the model asked for, uint8; None if it asked for none.
        begins_clip: the first frame begins a clip: a teacher with state forgets what it saw before.
    """

    source: str
    numbers: Sequence[int]
    full_NHWC: np.ndarray
    small_NHWC: np.ndarray | None
    begins_clip: bool = True


def single(
    image_HWC: np.ndarray, source: str, number: int, size: tuple[int, int] | None, *, begins_clip: bool = True
) -> Frames:
    """Return one image as a batch, stretched to the size that a model asks for."""
    small_NHWC = None if size is None else stretched(Image.fromarray(image_HWC), size)[None]
    return Frames(source, [number], image_HWC[None], small_NHWC, begins_clip)


@dataclass(frozen=True)
class Model:
    """Anything that gives each pixel of a frame a class.

    Args:
        classes, palette: names and RGB colours, in the order of the ids.
        size: (height, width) of its input in pixels; None: that of the source.
        batch_size: frames that it labels at once.
        identity: a digest of all that its answers depend on.
        label: returns class ids at the size of the source, uint8 [N, H, W]; 255 = none.
        clip_frames: of a teacher with state, whose state begins anew every so many frames; 0 = no state.
    """

    classes: Sequence[str]
    palette: Sequence[Sequence[int]]
    size: tuple[int, int] | None
    batch_size: int
    identity: str
    label: Callable[[Frames], np.ndarray]
    clip_frames: int = 0


def open_model(
    name: str, settings: Sequence[str], *, device: str, student: str | None, allow_targets: Sequence[str]
) -> Model:
    """Return the model that the command line names.

    Args:
        name: a run's folder, a student's file in it, an exported network, or teacher=NAME.
        settings: of a teacher, such as teacher.checkpoint=FILE.
        device: auto, cpu, cuda, ...
        student: the student of a run, as in its metrics; None = the last one.
        allow_targets: user-defined packages that may contain the student's or teacher's class.

    Raises:
        ValueError: there is no such model, or it cannot be built.
    """
    if name.startswith("teacher="):
        return _teacher([name, *settings], device=device, allow_targets=allow_targets)
    path = at_home(name)
    if path.suffix in EXPORTED:
        words = ["teacher=exported", setting("teacher.file", str(path)), *settings]
        return _teacher(words, device=device, allow_targets=allow_targets)
    if settings:
        raise ValueError(f"{settings[0]}: settings are those of a teacher, and {name} is none; leave them out")
    run = path
    if path.suffix == ".safetensors":
        run = path.parent.parent if path.parent.name == "students" else path.parent
        student = path.stem.replace("-", "/") if path.parent.name == "students" else student
        if not (run / "config.yaml").is_file():
            raise ValueError(f"{path} lies beside no config.yaml, which says what network it is; give the run's folder")
    return _student(run, load_student(run, student, device=device, allow_targets=allow_targets))


def _student(run: Path, student: Segmenter) -> Model:
    """Return a student, which sees frames as it did in its run."""

    def label(frames: Frames) -> np.ndarray:
        assert frames.small_NHWC is not None
        return student.segment(frames.small_NHWC, (frames.full_NHWC.shape[1], frames.full_NHWC.shape[2]))

    digests = [file_digest(file, CACHE) for file in (run / "config.yaml", student.file)]
    return Model(
        student.classes, student.palette, student.size, student.batch_size, json_digest(["student", *digests]), label
    )


def _teacher(words: list[str], *, device: str, allow_targets: Sequence[str]) -> Model:
    """Return the teacher of a composed config, with its own classes; without names of its own, the dataset's."""
    from omegaconf import OmegaConf

    from odkd.config.compose import compose_table_config
    from odkd.config.identity import teacher_identity
    from odkd.config.parts import Parts

    given = [f"device={device}", f"allow_targets=[{','.join(allow_targets)}]"]
    cfg = compose_table_config([*words, *given])
    parts = Parts(cfg)
    teacher = parts.teacher_parts.unmapped()
    if not teacher.needs_images:
        raise ValueError(f"{words[0]} does not look at pictures, so it cannot label new ones; choose another teacher")
    classes = class_names(teacher) or [f"class {number}" for number in range(teacher.num_classes or 0)] or parts.classes
    known = teacher_identity(parts.cfg, list(allow_targets), Path(cfg.paths.cache), None)  # no data set is looked at
    identity = json_digest(["teacher", OmegaConf.to_container(cfg.teacher, resolve=True), known])

    def label(frames: Frames) -> np.ndarray:
        numbers = list(frames.numbers)
        return teacher.label(
            SampledFrames("", numbers, frames.full_NHWC, None, frames.source, numbers, frames.begins_clip)
        )

    batch_size, clip_frames = cfg.teacher.batch_size, clip_frames_of(teacher)
    return Model(classes, default_palette(len(classes)), None, batch_size, identity, label, clip_frames)
