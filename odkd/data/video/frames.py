"""The frame store: sampled frames at working size, raw uint8 on disk, shared by all runs on the machine."""

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal, Protocol

import numpy as np
from filelock import FileLock

from odkd.common.files import flush_names
from odkd.common.notes import read_note, write_note
from odkd.data.video.decode import decode_frames, decoder_of
from odkd.data.video.frame_rows import LOCK, MANIFEST, RAW, SUM, SUMS, FrameRows, damaged_frames, folder_of, write_sum
from odkd.data.video.image_index import ImageIndex, Source
from odkd.data.video.stream import Stream

logger = logging.getLogger(__name__)

NAMED = 10  # damaged images that a warning names
JOURNAL_FRAMES = 32  # frames that a killed build repeats at most


class FrameReader(Protocol):
    """A source of frames by position in the stream."""

    def read(self, positions: Sequence[int]) -> np.ndarray:
        """Return uint8 RGB [n, H, W, 3]: the frames at these positions, in this order."""


def prepare_frames(
    stream: Stream,
    *,
    size: tuple[int, int],
    cache: Path,
    store: Literal["disk", "none"] = "disk",
    progress: Callable[[str, int, int], None] | None = None,
) -> tuple[Stream, FrameReader]:
    """Decode the frames that are not in the store yet; return the stream without damaged frames, and its reader.

    Warns once per damaged video. Processes that prepare the same video wait for each other.

    Args:
        size: (height, width) in pixels.
        store: "disk" keeps the frames under `cache`/frames; "none" decodes them once to find damage, and again at each
            read.
        progress: called with (video, frames done, frames in total).

    Raises:
        ValueError: the disk is too small, or all frames are damaged.
    """
    damaged: list[tuple[int, int]] = []
    folders: list[Path] = []
    for number, video in enumerate(stream.videos):
        frames = stream.frames_of_video(number)
        folder = folder_of(video, frames, size, cache)
        folders.append(folder)
        if not len(frames):
            continue
        broken = _prepare_video(video, frames, size, folder, keep=store == "disk", progress=progress)
        damaged += [(number, frame) for frame in broken]
        if broken:
            _warn(video, broken, len(frames))
    whole = stream.without(damaged)
    if not len(whole):
        raise ValueError(f"all sampled frames are damaged ({len(stream)}); repair the files")
    if store == "none":
        return whole, _Decoder(whole, size)
    row_of = np.empty(len(whole), np.int64)
    for number in range(len(stream.videos)):
        here = whole.video_of == number
        row_of[here] = np.searchsorted(stream.frames_of_video(number), whole.frame_of[here])
    rows = [
        FrameRows(folder, video, stream.frames_of_video(number), size)
        for number, (folder, video) in enumerate(zip(folders, stream.videos, strict=True))
    ]
    return whole, _Store(rows, whole.video_of, row_of, size)


class ReorderedFrames:
    """A reader of frames in another order: position p is position `index[p]` of `frames`."""

    def __init__(self, frames: FrameReader, index: np.ndarray) -> None:
        self._frames, self._index = frames, index

    def read(self, positions: Sequence[int]) -> np.ndarray:
        """Return uint8 RGB [n, H, W, 3], as `FrameReader.read`."""
        return self._frames.read(self._index[np.asarray(positions, np.int64)].tolist())


class _Store:
    """A reader of frames in the store."""

    def __init__(
        self, rows: Sequence[FrameRows], video_of: np.ndarray, row_of: np.ndarray, size: tuple[int, int]
    ) -> None:
        self._rows, self._video_of, self._row_of, self._size = rows, video_of, row_of, size

    def read(self, positions: Sequence[int]) -> np.ndarray:
        images = np.empty((len(positions), *self._size, 3), np.uint8)
        for image, position in zip(images, positions, strict=True):
            self._rows[int(self._video_of[position])].read(int(self._row_of[position]), image)
        return images


class _Decoder:
    """A reader that decodes frames at each read; a group of pictures is decoded once for all positions of a call."""

    def __init__(self, stream: Stream, size: tuple[int, int]) -> None:
        self.stream, self.size = stream, size

    def read(self, positions: Sequence[int]) -> np.ndarray:
        asked = np.asarray(positions, np.int64)
        images = np.empty((len(asked), *self.size, 3), np.uint8)
        for video in np.unique(self.stream.video_of[asked]):
            here = np.flatnonzero(self.stream.video_of[asked] == video)
            frames = self.stream.frame_of[asked[here]]
            for frame, image in decode_frames(self.stream.videos[video], np.unique(frames), size=self.size):
                if image is None:
                    raise OSError(f"{self.stream.videos[video].path} has changed or become unreadable")
                images[here[frames == frame]] = image
        return images


def _prepare_video(
    video: Source,
    frames: np.ndarray,
    size: tuple[int, int],
    folder: Path,
    *,
    keep: bool,
    progress: Callable[[str, int, int], None] | None,
) -> list[int]:
    """Fill `folder` unless it is complete; return the numbers of damaged frames."""
    row_bytes = size[0] * size[1] * 3 if keep else 0
    folder.mkdir(parents=True, exist_ok=True)
    damaged = damaged_frames(folder, len(frames), row_bytes)
    if damaged is None:
        with FileLock(folder / LOCK):
            damaged = damaged_frames(folder, len(frames), row_bytes)  # another process may have built it
            if damaged is None:
                damaged = _build(video, frames, size, folder, row_bytes, progress=progress)
    return damaged


def _build(
    video: Source,
    frames: np.ndarray,
    size: tuple[int, int],
    folder: Path,
    row_bytes: int,
    *,
    progress: Callable[[str, int, int], None] | None,
) -> list[int]:
    """Decode all frames, and return the numbers of damaged ones; a killed build is continued."""
    work = "frames" if row_bytes else "scan"
    partial, sums, journal = (folder / f"{work}.{ending}" for ending in ("partial", "sums", "journal"))
    num_bytes = len(frames) * row_bytes
    done, damaged = 0, []
    is_begun = sums.exists() and partial.exists() and partial.stat().st_size == num_bytes
    if is_begun and (state := read_note(journal)):
        done, damaged = state[0]["done"], state[0]["damaged"]
    else:
        journal.unlink(missing_ok=True)  # it belongs to another file
        sums.write_bytes(b"")
    with partial.open("r+b" if partial.exists() else "w+b") as file, sums.open("r+b") as sums_file:
        if row_bytes:
            _reserve(file.fileno(), num_bytes, folder)
        for number, image in decode_frames(video, frames[done:], size=size):
            if image is None:
                damaged.append(number)
            elif row_bytes:
                file.seek(done * row_bytes)
                file.write(image.data)
                write_sum(sums_file.fileno(), done, image)
            done += 1
            if done % JOURNAL_FRAMES == 0 or done == len(frames):
                file.flush()
                os.fsync(file.fileno())
                os.fsync(sums_file.fileno())
                write_note(journal, {"done": done, "damaged": damaged})
                if progress is not None:
                    progress(video.stem, done, len(frames))
        os.ftruncate(sums_file.fileno(), len(frames) * SUM.itemsize)  # damaged frames at the end have none
    facts = {"video": str(video.path), "digest": video.digest, "decoder": decoder_of(video), "size": list(size)}
    facts |= {"checksums": "crc32c"} if row_bytes else {}
    write_note(folder / MANIFEST, {**facts, "num_frames": len(frames), "damaged": damaged})
    if row_bytes:
        sums.replace(folder / SUMS)
        partial.replace(folder / RAW)  # the store is complete from here on
        flush_names(folder)
    else:
        sums.unlink()
        partial.unlink()
    journal.unlink()
    return [int(frame) for frame in damaged]


def _reserve(descriptor: int, num_bytes: int, folder: Path) -> None:
    """Reserve the disk space before decoding, so that a full disk is noticed now and not hours later."""
    if not hasattr(os, "posix_fallocate"):  # macOS
        os.ftruncate(descriptor, num_bytes)
        return
    try:
        os.posix_fallocate(descriptor, 0, num_bytes)
    except OSError as error:
        free = shutil.disk_usage(folder).free
        os.ftruncate(descriptor, 0)
        raise ValueError(
            f"the frame store in {folder} needs {num_bytes / 1e9:.2f} GB and {free / 1e9:.2f} GB are free "
            f"({error.strerror}); set dataset.frame_store=none to decode each time, "
            "or paths.cache= to a folder on a larger disk"
        ) from error


def _warn(video: Source, damaged: list[int], num_sampled: int) -> None:
    if isinstance(video, ImageIndex):
        names = ", ".join(map(str, map(video.file_of, damaged[:NAMED])))
        rest = f" and {len(damaged) - NAMED} more" if len(damaged) > NAMED else ""
        logger.warning(
            "%d of %d images of %s are damaged and left out: %s%s", len(damaged), num_sampled, video.stem, names, rest
        )
        return
    first, last = video.seconds[damaged[0]], video.seconds[damaged[-1]]
    logger.warning(
        "%s is damaged between %.2f s and %.2f s: %d of its %d sampled frames are left out",
        video.path,
        first,
        last,
        len(damaged),
        num_sampled,
    )
