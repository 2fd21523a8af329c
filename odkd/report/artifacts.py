"""Artifacts of a finished run: student weights, model card, plots, results.csv, overlay video, report."""

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
from odkd.common.metric_names import metric_name
from odkd.common.names import counted
from odkd.common.progress import tracked
from odkd.data.labels import resize_nearest
from odkd.data.labels.palette import dataset_palette
from odkd.data.labels.shards import FrameArray

if TYPE_CHECKING:
    from odkd.config.parts import Parts
    from odkd.runs.cost import Cost
    from odkd.runs.lines import Record
    from odkd.runs.run import OpenRun

logger = logging.getLogger(__name__)
OVERLAY_FRAMES_PER_SECOND = 8.0
SHORT_SECONDS = 60.0  # of a sweep's job: drawing takes 2 to 3 s of a core, which shorter jobs would notice
NOT_SHOWN_ON_CARDS = ("paths.", "tracking.", "sweep.")


def write_artifacts(parts: "Parts", run: "OpenRun", summary: Mapping[str, float]) -> None:
    """Write every artifact that this run has results for."""
    records = run.records()
    if records:
        write_csv(run, records)
    if parts.traits.leaves_student and parts.cfg.evaluation.predictor == "student":
        write_student(parts, run, summary)
        if parts.learns_from == "groundtruth" and parts.traits.has_epochs:
            write_teacher(parts, run)
    if (run.folder / "predictions").is_dir() and parts.cfg.run.overlay_video:
        write_overlay_video(parts, run)


def write_report(
    parts: "Parts", run: "OpenRun", summary: Mapping[str, float | None], cost: "Cost | None" = None
) -> None:
    """Write cost.json, plots/ and report.html, as far as they are wanted.

    An error is only logged, because a report must not make a run fail.
    """
    wanted = parts.cfg.run
    has_plots = is_wanted(wanted.plots, run, cost) and has_figures(run)
    try:
        if cost is not None:
            has_stores = parts.has_teacher and not parts.traits.is_live
            cost.write(run.folder, parts.teacher_labels.folders if has_stores else [])
        if is_wanted(wanted.report, run, cost):
            from odkd.report.html_run import write_run_report

            write_run_report(run.folder, summary, plots=has_plots)
        elif has_plots:
            from odkd.report.plots import plot_run

            plot_run(run.folder, parts.classes, summary)
    except Exception as error:
        logger.error(
            "could not make the report (%s); the run is not affected. To try again:  odkd-report %s",
            *(error, run.folder),
            exc_info=not isinstance(error, OSError),  # what a disk refuses is no fault of ours
        )


def is_wanted(setting: bool | str, run: "OpenRun", cost: "Cost | None") -> bool:
    """True if plots or a page are made at the end of a run. `auto` leaves those of a sweep's short jobs to odkd-report.

    Args:
        setting: run.plots or run.report.
        run: it knows its sweep.
        cost: of this process; None if it has computed nothing.
    """
    is_short = run.description.get("sweep") is not None and (cost is None or cost.seconds < SHORT_SECONDS)
    return setting is True or (setting == "auto" and not is_short)


def has_figures(run: "OpenRun") -> bool:
    """True if a run has results that can be drawn."""
    return bool(run.records()) or (run.folder / "confusion.npz").is_file()


def write_csv(run: "OpenRun", records: "list[Record]") -> None:
    """Write results.csv with one line per iteration, or per epoch of a training.

    Accuracy and mIoU against the teacher come first, as in the reference code's file.
    """
    names = {name for record in records for name in record["metrics"]}
    first = [name for name in ("test/accuracy", "test/miou") if name in names]
    where = [key for key in ("iteration", "cell", "domain", "training", "epoch") if key in records[0]]
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
    """Write student.safetensors and MODEL_CARD.md."""
    from safetensors.torch import save

    from odkd.config.parts_student import student_arguments
    from odkd.report.card import write_card

    cfg, student = parts.cfg, parts.learner.saved
    module, _, name = cfg.student._target_.rpartition(".")
    arguments = {"num_classes": len(parts.classes)} | student_arguments(cfg.student)
    call = ", ".join(f"{key}={value!r}" for key, value in arguments.items())
    mean, std = [list(v) if v is not None else None for v in (cfg.student.mean, cfg.student.std)]
    scale = f"(pixel / 255 - {mean}) / {std}" if mean and std else "pixel / 255"
    size, statistics = "x".join(map(str, cfg.dataset.size)), cfg.student.get("statistics", "own")
    chosen = "" if statistics == "own" else f"\nuse_statistics(student, {statistics!r})  # of odkd.students.batch_norm"
    how = {"window": f"learn {cfg.window.learn}, test {cfg.window.test}, step {cfg.window.step} (in sampled frames)"}
    if parts.traits.has_epochs and "shares" in cfg.stage:
        how = {"split": f"train, val, test {list(cfg.stage.shares)}, frame names in splits/"}
    is_live, seen = parts.traits.is_live, summary.get(metric_name("cost", "frames"), 0)
    length = counted(int(seen) if is_live else len(parts.stream), "sampled frame")
    facts = {
        "student": f"{name} ({cfg.student.name})",
        "parameters": f"{sum(p.numel() for p in student.parameters()):,}",
        "classes": ", ".join(f"{i} {label}" for i, label in enumerate(parts.classes)),
        **({"teacher": f"{cfg.teacher.name} (`{cfg.teacher._target_}`)"} if parts.has_teacher else {}),
        "dataset": f"{cfg.dataset.name}, {length}, digest {parts.stream.digest[:16]}",
        **how,
        "device": run.description["tags"]["odkd.device"],
        "load": f"from {module} import {name}\n\nstudent = {name}({call}){chosen}",
        "input": f"images_BCHW, float32, RGB, {scale}; trained at {size} pixels, accepts any size.",
    }
    state = {key: tensor.contiguous().cpu() for key, tensor in student.state_dict().items()}
    write_atomic(
        run.folder / "student.safetensors", save(state, metadata={"odkd": json.dumps({"run": parts.key, **facts})})
    )
    flat = flatten(OmegaConf.to_container(cfg, resolve=True))
    settings = {key: value for key, value in flat.items() if not key.startswith(NOT_SHOWN_ON_CARDS)}
    write_card(run.folder, facts=facts, summary=summary, settings=settings)


def write_teacher(parts: "Parts", run: "OpenRun") -> None:
    """Write the student in a form that another run can use as its teacher.

    A network of segmentation-models-pytorch becomes teacher.pth (teacher=checkpoint), any other network teacher.pt
    with teacher.yaml (teacher=exported).
    """
    import torch

    from odkd.students.smp import SmpStudent
    from odkd.teachers.export import write_torchscript

    student = parts.learner.student
    student_cfg, classes = parts.cfg.student, parts.classes
    mean, std = list(student_cfg.mean or (0.0, 0.0, 0.0)), list(student_cfg.std or (1.0, 1.0, 1.0))
    if isinstance(student, SmpStudent):
        state = {key: tensor.cpu() for key, tensor in student.network.state_dict().items()}
        facts = {"arch": student_cfg.arch, "encoder_name": student_cfg.encoder, "classes": classes}
        if decoder := student_cfg.get("decoder"):
            facts["decoder"] = OmegaConf.to_container(decoder, resolve=True)
        buffer = io.BytesIO()
        torch.save({"state_dict": state, **facts, "mean": mean, "std": std}, buffer)
        write_atomic(run.folder / "teacher.pth", buffer.getvalue())
        command = f"teacher=checkpoint teacher.checkpoint={run.folder / 'teacher.pth'}"
    else:
        size = (int(parts.cfg.dataset.size[0]), int(parts.cfg.dataset.size[1]))
        write_torchscript(student, run.folder / "teacher.pt", classes=classes, mean=mean, std=std, size=size)
        command = f"teacher=exported teacher.file={run.folder / 'teacher.pt'} teacher.trust=true"
    logger.info("to use this student as a teacher:  odkd %s", command)


def write_overlay_video(parts: "Parts", run: "OpenRun") -> None:
    """Write overlay.mp4: frame, teacher, student and disagreement at every evaluated position."""
    from odkd.report.overlay import write_overlay

    logger.info("writing the overlay video")
    write_overlay(
        run.folder / "overlay.mp4",
        frames=tracked(overlay_frames(parts, run), "overlay video", "frames", num_painted(run)),
        classes=parts.classes,
        palette=dataset_palette(parts.cfg.dataset),
        frame_rate=OVERLAY_FRAMES_PER_SECOND,
    )


def num_painted(run: "OpenRun") -> int:
    """Return the number of frames in the overlay video: the tested ones."""
    predictions, records = FrameArray.open(run.folder / "predictions"), run.records()
    return predictions.num_frames - int(records[0]["position"])


def overlay_frames(parts: "Parts", run: "OpenRun") -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, str]]:
    """Yield frame, teacher's labels, student's labels and caption, by position."""
    predictions, records = FrameArray.open(run.folder / "predictions"), run.records()
    ends = [record["position"] for record in records[1:]] + [predictions.num_frames]
    for record, end in zip(records, ends, strict=True):
        miou = record["metrics"]["test/miou"]
        score = "" if miou is None else f"  mIoU {miou:.2f} against the teacher"
        caption = f"iteration {record['iteration']}  {record['domain']}{score}"
        positions = predictions.stored_among(range(record["position"], end))
        for position, image_HWC in zip(positions, parts.frames.read(positions), strict=True):
            teacher_HW = resize_nearest(parts.labels.read(position), image_HWC.shape[:2])
            yield image_HWC, teacher_HW, predictions.read(position), caption
