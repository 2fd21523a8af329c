"""What a finished run leaves behind for people: the student, its card, plots, a CSV, an overlay video, its report."""

import csv
import io
import json
import logging
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from omegaconf import OmegaConf

from odkd.common.dotted import flatten
from odkd.common.files import write_atomic
from odkd.data.labels import resize_nearest
from odkd.data.labels.shards import FrameArray

if TYPE_CHECKING:
    from odkd.config.parts import Parts
    from odkd.runs.cost import Cost
    from odkd.runs.run import OpenRun, Record

logger = logging.getLogger(__name__)
OVERLAY_FRAMES_PER_SECOND = 8.0
NOT_SHOWN_ON_CARDS = ("paths.", "tracking.", "sweep.")


def write_artifacts(parts: "Parts", run: "OpenRun", summary: Mapping[str, float]) -> None:
    """Everything that this stage's results allow."""
    from odkd.report.plots import plot_run

    records = run.records()
    if records:
        write_csv(run, records)
    if parts.cfg.run.plots and (records or (run.folder / "confusion.npz").is_file()):
        plot_run(run.folder, parts.classes, summary)
    if parts.traits.leaves_student and parts.cfg.evaluation.predictor == "student":
        write_student(parts, run, summary)
        if parts.cfg.stage.get("learn_from") == "groundtruth" and "num_trainings" in summary:
            write_teacher(parts, run)
    if (run.folder / "predictions").is_dir() and parts.cfg.run.overlay_video:
        write_overlay_video(parts, run)


def write_report(
    parts: "Parts", run: "OpenRun", summary: Mapping[str, float | None], cost: "Cost | None" = None
) -> None:
    """cost.json and, unless run.report=false, report.html: a page about results is no reason to lose them, so
    what goes wrong here is only told."""
    try:
        if cost is not None:
            cost.write(run.folder, parts.teacher_labels.folders if parts.has_teacher else [])
        if parts.cfg.run.report:
            from odkd.report.html_run import write_run_report

            write_run_report(run.folder, summary)
    except Exception:
        logger.exception("no report was made; the run is not harmed, and  odkd-report %s  tries again", run.folder)


def write_csv(run: "OpenRun", records: "list[Record]") -> None:
    """results.csv: one line an iteration, accuracy and mIoU against the teacher first (the seed code's file); of
    trainings over epochs, one line an epoch."""
    names = {name for record in records for name in record["metrics"]}
    first = [name for name in ("test/accuracy", "test/miou") if name in names]
    where = [key for key in ("iteration", "domain", "training", "epoch") if key in records[0]]
    rest = sorted(names - set(first))
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow([*first, *where, *rest])
    for record in records:
        metrics = record["metrics"]
        row = [
            *(metrics[name] for name in first),
            *(record[key] for key in where),
            *(metrics.get(name) for name in rest),
        ]
        writer.writerow(["" if value is None else value for value in row])
    write_atomic(run.folder / "results.csv", text.getvalue().encode())


def write_student(parts: "Parts", run: "OpenRun", summary: Mapping[str, float]) -> None:
    """student.safetensors and MODEL_CARD.md."""
    from safetensors.torch import save

    from odkd.config.parts_student import student_arguments
    from odkd.report.card import write_card

    cfg, student = parts.cfg, parts.learner.student
    module, _, name = cfg.student._target_.rpartition(".")
    arguments = {"num_classes": len(parts.classes)} | student_arguments(cfg.student)
    call = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    mean, std = [list(v) if v is not None else None for v in (cfg.student.mean, cfg.student.std)]
    scale = f"(pixel / 255 - {mean}) / {std}" if mean and std else "pixel / 255"
    size = "x".join(map(str, cfg.dataset.size))
    how = {"window": f"learn {cfg.window.learn}, test {cfg.window.test}, step {cfg.window.step} sampled frames"}
    if "shares" in cfg.stage:
        how = {"split": f"train, val, test {list(cfg.stage.shares)}, the names are in splits/"}
    facts = {
        "student": f"{name} ({cfg.student.name})",
        "parameters": f"{sum(p.numel() for p in student.parameters()):,}",
        "classes": ", ".join(f"{i} {label}" for i, label in enumerate(parts.classes)),
        **(
            {"teacher": f"{cfg.teacher.name} (`{cfg.teacher._target_}`)"} if cfg.stage.get("uses_teacher", True) else {}
        ),
        "dataset": f"{cfg.dataset.name}, {len(parts.stream)} sampled frames, digest {parts.stream.digest[:16]}",
        **how,
        "device": run.description["tags"]["odkd.device"],
        "load": f"from {module} import {name}\n\nstudent = {name}({call})",
        "input": f"images_BCHW, float32, RGB, {scale}; made for {size} pixels, works at any size.",
    }
    state = {key: tensor.contiguous().cpu() for key, tensor in student.state_dict().items()}
    write_atomic(
        run.folder / "student.safetensors", save(state, metadata={"odkd": json.dumps({"run": parts.key, **facts})})
    )
    whole = flatten(OmegaConf.to_container(cfg, resolve=True))
    settings = {key: value for key, value in whole.items() if not key.startswith(NOT_SHOWN_ON_CARDS)}
    write_card(run.folder, facts=facts, summary=summary, settings=settings)


def write_teacher(parts: "Parts", run: "OpenRun") -> None:
    """The student in a form that another run takes as its teacher: teacher.pth (teacher=checkpoint), where it is a
    network of segmentation-models-pytorch; else teacher.pt with teacher.yaml (teacher=exported)."""
    import torch

    from odkd.students.smp import SmpStudent
    from odkd.teachers.export import write_torchscript

    student = parts.learner.student
    student_cfg, classes = parts.cfg.student, parts.classes
    mean, std = list(student_cfg.mean or (0.0, 0.0, 0.0)), list(student_cfg.std or (1.0, 1.0, 1.0))
    if isinstance(student, SmpStudent):
        state = {key: tensor.cpu() for key, tensor in student.network.state_dict().items()}
        said = {"arch": student_cfg.arch, "encoder_name": student_cfg.encoder, "classes": classes}
        buffer = io.BytesIO()
        torch.save({"state_dict": state, **said, "mean": mean, "std": std}, buffer)
        write_atomic(run.folder / "teacher.pth", buffer.getvalue())
        command = f"teacher=checkpoint teacher.checkpoint={run.folder / 'teacher.pth'}"
    else:
        size = (int(parts.cfg.dataset.size[0]), int(parts.cfg.dataset.size[1]))
        write_torchscript(student, run.folder / "teacher.pt", classes=classes, mean=mean, std=std, size=size)
        command = f"teacher=exported teacher.file={run.folder / 'teacher.pt'}"
    logger.info("this student as a teacher:  odkd %s", command)


def write_overlay_video(parts: "Parts", run: "OpenRun") -> None:
    """overlay.mp4: frame, teacher, student and disagreement at every position that was evaluated."""
    from odkd.report.overlay import write_overlay

    logger.info("writing the overlay video")
    write_overlay(
        run.folder / "overlay.mp4",
        frames=overlay_frames(parts, run),
        classes=parts.classes,
        palette=parts.palette,
        frame_rate=OVERLAY_FRAMES_PER_SECOND,
    )


def overlay_frames(parts: "Parts", run: "OpenRun") -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, str]]:
    """Frame, teacher's labels, student's labels, caption; by position."""
    predictions, records = FrameArray.open(run.folder / "predictions"), run.records()
    for shard in range(predictions.num_shards):
        record = records[min(shard, len(records) - 1)]  # the last iteration's window may reach over several shards
        miou = record["metrics"]["test/miou"]
        score = "" if miou is None else f"  mIoU {miou:.2f} against the teacher"
        caption = f"iteration {record['iteration']}  {record['domain']}{score}"
        positions = sorted(predictions.stored(shard))
        for position, image_HWC in zip(positions, parts.frames.read(positions), strict=True):
            taught_HW = resize_nearest(parts.labels.read(position), image_HWC.shape[:2])
            yield image_HWC, taught_HW, predictions.read(position), caption
