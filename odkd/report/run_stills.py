"""The frames of a run that its report shows, with labels and predictions: the input of `report/stills.py`."""

import logging
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from odkd.data.labels import resize_nearest
from odkd.data.labels.palette import dataset_palette
from odkd.data.labels.shards import FrameArray

if TYPE_CHECKING:
    from odkd.config.parts import Parts
    from odkd.data.labels import LabelSource
    from odkd.runs.run import OpenRun

logger = logging.getLogger(__name__)
Still = tuple[int, str, np.ndarray, np.ndarray, np.ndarray]  # step, caption, image_HWC, reference_HW, predicted_HW


def write_run_stills(parts: "Parts", run: "OpenRun") -> None:
    """Write stills/ into the run folder; an error is only logged, because stills must not make a run fail."""
    from odkd.report.stills import write_stills

    try:
        frames, titles = _stills(parts, run)
        write_stills(
            run.folder, frames, classes=parts.classes, palette=dataset_palette(parts.cfg.dataset), titles=titles
        )
    except Exception as error:
        message = "could not make stills for the report (%s); the run is not affected"
        logger.error(message, error, exc_info=not isinstance(error, OSError))


def _stills(parts: "Parts", run: "OpenRun") -> tuple[Iterator[Still], tuple[str, str]]:
    """Return the stills, and the titles of reference and prediction."""
    if (run.folder / "predictions").is_dir():
        scored = "student" if parts.cfg.evaluation.predictor == "student" else "teacher, as scored"
        return _of_stream(parts, run), ("teacher", scored)
    if parts.traits.is_live:  # neither frames nor labels of the stream are stored
        return iter(()), ("teacher", "student")
    if not parts.traits.learns:
        return _of_labels(parts), ("ground truth", "teacher")
    references = [name for name in ("groundtruth", "teacher") if name in parts.references]
    if parts.traits.has_epochs and parts.traits.leaves_student and references:
        title = {"groundtruth": "ground truth"}.get(references[0], references[0])
        return _of_test_split(parts, run, parts.references[references[0]]), (title, "student")
    return iter(()), ("teacher", "student")


def _of_stream(parts: "Parts", run: "OpenRun") -> Iterator[Still]:
    """Yield stills of a stream, predicted by the student at that time, before it learned from them."""
    from odkd.report.stills import choose

    predictions, records = FrameArray.open(run.folder / "predictions"), run.records()
    found = [record["metrics"].get("test/miou") for record in records]
    scores = [np.nan if value is None else float(value) for value in found]
    for index, why in choose(scores).items():
        begin = records[index]["position"]
        stored = predictions.stored_among(range(begin, begin + int(parts.cfg.window.step)))
        position = stored[len(stored) // 2]
        words = [f"position {position}", records[index]["domain"], f"mIoU of its window {scores[index]:.2f}", why]
        step, caption = records[index]["iteration"], ", ".join(filter(None, words))
        yield step, *_still(parts, caption, position, parts.labels, predictions.read(position))


def _of_test_split(parts: "Parts", run: "OpenRun", reference: "LabelSource") -> Iterator[Still]:
    """Yield stills of the test split, predicted by the last student."""
    from odkd.data.splits import read_lists
    from odkd.report.stills import evenly

    names = set(read_lists(run.folder / "splits")["test"])
    test = [position for position in range(len(parts.stream)) if parts.stream.name_of(position) in names]
    for index in evenly(len(test)):
        position = test[index]
        predicted_HW = parts.evaluator.predictions(parts.learner.student, [position])[0].cpu().numpy()
        yield index, *_still(parts, parts.stream.name_of(position), position, reference, predicted_HW)


def _of_labels(parts: "Parts") -> Iterator[Still]:
    """Yield stills of the teacher's labels beside ground truth, at the size of the frames."""
    from odkd.report.stills import evenly

    for position in evenly(len(parts.stream)) if parts.groundtruth is not None else ():
        assert parts.groundtruth is not None
        caption = ", ".join(filter(None, (f"position {position}", parts.stream.domain_of(position))))
        yield position, *_still(parts, caption, position, parts.groundtruth, parts.labels.read(position))


def _still(
    parts: "Parts", caption: str, position: int, reference: "LabelSource", predicted_HW: np.ndarray
) -> tuple[str, np.ndarray, np.ndarray, np.ndarray]:
    """Return a still without its step; both maps have the size of the frame."""
    image_HWC = next(iter(parts.frames.read([position])))
    size: Sequence[int] = image_HWC.shape[:2]
    height, width = int(size[0]), int(size[1])
    maps = [resize_nearest(found, (height, width)) for found in (reference.read(position), predicted_HW)]
    return caption.strip(), image_HWC, maps[0], maps[1]
