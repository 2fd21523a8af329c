"""A student as ONNX, to be timed beside PyTorch."""

from __future__ import annotations

from pathlib import Path

from odkd.common.optional import how_to_install, is_installed
from odkd.config.subject import Subject
from odkd.data.tensor_bank import Normalization
from odkd.teachers.export import Export, write_export

NEEDED = ("onnx", "onnxscript", "onnxruntime")


def export_onnx(subject: Subject, folder: Path) -> tuple[Path | None, str]:
    """Return the file of the student as ONNX, or None and why there is none.

    Args:
        subject: whose student is exported, in float32.
        folder: for the file.
    """
    if missing := [library for library in NEEDED if not is_installed(library)]:
        return None, f"{missing[0]} is not installed: {how_to_install(missing[0])}"
    settings = subject.cfg.student
    normalization = Normalization(settings.mean, settings.std)
    mean, std = list(normalization.mean or [0.0] * 3), list(normalization.std or [1.0] * 3)
    path = folder / "student.onnx"
    try:
        write_export(Export(subject.learner.student, subject.classes, mean, std, subject.size), path, "onnx")
    except ValueError as error:
        return None, str(error)
    return path, ""
