"""Prediction on a video: decoding, network and encoding side by side, in pieces that are not repeated after a kill."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from odkd.commands.predict.models import Frames, Model
from odkd.commands.predict.outputs import NOTES, Painter, Wanted, confusion_with, write_maps
from odkd.common.files import json_digest, write_json
from odkd.common.progress import Progress
from odkd.data.video.decoder import PairDecoder
from odkd.data.video.index import VideoIndex
from odkd.data.video.run_ahead import run_ahead
from odkd.data.video.segments import SegmentWriter, join

logger = logging.getLogger(__name__)
PIECE_FRAMES = 250  # what a killed process repeats at most
HELD_FRAMES = 16  # decoded ahead of the network
CRF = 23
COUNTED = ("num_frames", "num_scored", "confusion")  # of each piece
Pair = tuple[np.ndarray, np.ndarray | None]


@dataclass(frozen=True)
class VideoResult:
    """What was made of a video: counted pixels [K, K] of the scored frames, and the damaged frames."""

    confusion_KK: np.ndarray
    num_scored: int
    num_damaged: int


def predict_video(model: Model, index: VideoIndex, name: str, wanted: Wanted, progress: Progress) -> VideoResult:
    """Predict each frame of a video and write what is wanted; a later call goes on after the last complete piece.

    Args:
        model: predicts.
        index: of the video.
        name: of the video, in the names of all files.
        wanted: what is written, and where.
        progress: is told of each frame.

    Raises:
        ValueError: no frame can be decoded, or the ground truth does not fit.
    """
    work, shown = work_folder(wanted.folder, name), wanted.folder / f"{name}.mp4"
    plan = {"model": model.identity, "video": index.digest, "kinds": sorted(wanted.kinds), "truth": str(wanted.truth)}
    if (work / "plan.json").is_file() and (work / "plan.json").read_text() != json_digest(plan):
        shutil.rmtree(work)
    work.mkdir(parents=True, exist_ok=True)
    (work / "plan.json").write_text(json_digest(plan))
    if not (work / "done.json").is_file() or ("overlay" in wanted.kinds and not shown.is_file()):
        records = _predict_pieces(model, index, name, wanted, work, progress)
        if not any(record["num_frames"] for record in records):
            raise ValueError(f"{index.path}: none of its {index.num_frames} frames can be decoded")
        if "overlay" in wanted.kinds:
            segments = [work / f"{number:06d}.nut" for number, record in enumerate(records) if record["num_frames"]]
            begin = float(index.pts[0] * index.time_base)
            shown.parent.mkdir(parents=True, exist_ok=True)
            join(segments, shown, audio=index.path if index.packets is None else None, begin_seconds=begin)
        write_json(
            work / "done.json", {key: np.sum([record[key] for record in records], 0).tolist() for key in COUNTED}
        )
        for path in work.glob("0*.*"):
            path.unlink()
    done = json.loads((work / "done.json").read_text())
    return VideoResult(
        np.asarray(done["confusion"], np.int64), done["num_scored"], index.num_frames - done["num_frames"]
    )


def work_folder(folder: Path, name: str) -> Path:
    """Return where the pieces of a video lie: beside its overlay, so that no two videos share it.

    >>> str(work_folder(Path("to"), "drive")), str(work_folder(Path("to"), "a/b"))
    ('to/.drive.predict', 'to/a/.b.predict')
    """
    made = folder / name
    work = made.with_name(f".{made.name}.predict")
    return work / ".video" if work == folder / NOTES else work  # a video may be called pictures


def _predict_pieces(
    model: Model, index: VideoIndex, name: str, wanted: Wanted, work: Path, progress: Progress
) -> list[dict[str, Any]]:
    """Predict the pieces that have no record yet; return the records of all."""
    pieces = np.array_split(np.arange(index.num_frames), range(PIECE_FRAMES, index.num_frames, PIECE_FRAMES))
    records = [work / f"{number:06d}.json" for number in range(len(pieces))]
    rest = [number for number, record in enumerate(records) if not record.is_file()]
    progress.skip(index.num_frames - sum(len(pieces[number]) for number in rest))
    with closing(_decode(index, [pieces[number] for number in rest], model.size)) as decoded:
        for number in rest:
            piece = _Piece(model, index, name, wanted, work / f"{number:06d}.nut")
            write_json(records[number], piece.run(decoded, pieces[number], progress.advance))
    return [json.loads(record.read_text()) for record in records]


def _decode(
    index: VideoIndex, pieces: Sequence[np.ndarray], size: tuple[int, int] | None
) -> Generator[tuple[int, Pair | None]]:
    """Yield (frame number, pair of images) of all pieces, decoded ahead by a thread; None where the file is damaged."""

    @contextmanager
    def open_worker() -> Iterator[Callable[[np.ndarray], Iterator[tuple[int, Any]]]]:
        with closing(PairDecoder(index, size)) as decoder:
            yield decoder.frames

    yield from run_ahead(pieces, open_worker, num_threads=1, num_held=HELD_FRAMES)


@dataclass(frozen=True)
class _Piece:
    """A piece of a video: what its frames are written to."""

    model: Model
    index: VideoIndex
    name: str
    wanted: Wanted
    segment: Path

    def run(
        self, decoded: Iterator[tuple[int, Pair | None]], numbers: np.ndarray, progress: Callable[[int], object]
    ) -> dict[str, Any]:
        """Predict and write these frames; return the record of them."""
        num_classes = len(self.model.classes)
        confusion_KK, num_frames, num_scored = np.zeros((num_classes, num_classes), np.int64), 0, 0
        with ExitStack() as stack:
            writer: SegmentWriter | None = None
            encoder = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="odkd-encode"))
            written: Future[None] | None = None
            for batch in self._batches(decoded, len(numbers)):
                labels_NHW = self.model.label(batch)
                if written is not None:
                    written.result()
                if "overlay" in self.wanted.kinds and writer is None:
                    height, width = labels_NHW.shape[1:]
                    writer = stack.enter_context(self._open(height, width))
                written = encoder.submit(self._write, writer, batch, labels_NHW)
                for number, labels_HW in zip(batch.numbers, labels_NHW, strict=True):
                    counted = confusion_with(self.wanted, f"{self.name}/{number:06d}", labels_HW, num_classes)
                    if counted is not None:
                        confusion_KK, num_scored = confusion_KK + counted, num_scored + 1
                num_frames += len(labels_NHW)
                progress(len(labels_NHW))
            if written is not None:
                written.result()
        return {"num_frames": num_frames, "num_scored": num_scored, "confusion": confusion_KK.tolist()}

    def _batches(self, decoded: Iterator[tuple[int, Pair | None]], num_frames: int) -> Iterator[Frames]:
        """Yield the undamaged ones of the next frames in batches; a piece begins a clip, so that it can be resumed."""
        batch: list[tuple[int, Pair]] = []
        clip_frames, begins_clip = self.model.clip_frames or num_frames, True
        for done in range(1, num_frames + 1):
            number, pair = next(decoded)
            if pair is not None:
                batch.append((number, pair))
            ends_clip = done % clip_frames == 0 or done == num_frames
            if batch and (len(batch) == self.model.batch_size or ends_clip):
                full_NHWC = np.stack([full_HWC for _, (full_HWC, _) in batch])
                small = [small_HWC for _, (_, small_HWC) in batch if small_HWC is not None]
                numbers = [number for number, _ in batch]
                yield Frames(self.index.stem, numbers, full_NHWC, np.stack(small) if small else None, begins_clip)
                batch, begins_clip = [], False
            begins_clip |= ends_clip

    def _open(self, height: int, width: int) -> SegmentWriter:
        base, duration = self.index.time_base, self.index.duration_seconds
        rate = Fraction(self.index.num_frames / duration if duration else 25.0).limit_denominator(1000)
        return SegmentWriter(self.segment, height=height, width=width, frame_rate=rate, time_base=base, crf=CRF)

    def _write(self, writer: SegmentWriter | None, batch: Frames, labels_NHW: np.ndarray) -> None:
        painter, first = Painter(self.model.palette), int(self.index.pts[0])
        for number, image_HWC, labels_HW in zip(batch.numbers, batch.full_NHWC, labels_NHW, strict=True):
            write_maps(self.wanted, f"{self.name}/{number:06d}", labels_HW, self.model.palette)
            if writer is not None:
                writer.write(painter.paint(image_HWC, labels_HW), int(self.index.pts[number]) - first)
