"""The stream of a run: find or render its videos, sample them, decode them once, put them in order."""

from __future__ import annotations

import fnmatch
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from odkd.common.files import json_digest
from odkd.common.notes import folder_digest
from odkd.common.progress import Progress
from odkd.config import unseen
from odkd.config.construct import construct
from odkd.config.identity import groundtruth_digest
from odkd.config.image_datasets import has_images, ids_of, label_places, official_splits, pictures_of
from odkd.data.labels.video_groundtruth import ImageLabels
from odkd.data.video.order import StreamOrder, put_in_order, sequence_length

if TYPE_CHECKING:
    from odkd.data.labels.image_groundtruth import PictureLabels
    from odkd.data.video.frames import FrameReader
    from odkd.data.video.stream import Stream


logger = logging.getLogger(__name__)
CHECK_VERSION = 2  # of label maps: raise it when more is checked


@dataclass
class StreamParts:
    """Builds the stream of a run, its ground truth and its frames.

    Decoding, frame stores and label stores use `sampled`, the videos in the order of their files: another order of the
    same videos does not decode or label a frame again.

    Args:
        dataset: the config group.
        cache: folder of indices and frames.
        allowed: packages whose classes YAML may name.
        check: called with the number of positions; raises ValueError if they are too few.
    """

    dataset: DictConfig
    cache: Path
    allowed: list[str]
    check: Callable[[int], None]

    @cached_property
    def root(self) -> Path:
        """Folder of the dataset; rendered first if the dataset is a rendered one."""
        prepare = self.dataset.prepare
        if not prepare:
            return Path(self.dataset.root)
        return Path(construct(prepare, ("folder",), {"folder": Path(prepare.folder)}, self.allowed, "dataset.prepare"))

    @property
    def is_camera(self) -> bool:
        """True if the dataset has no videos: its frames come from a source of a live session."""
        return self.dataset.root is None and not self.dataset.prepare

    @cached_property
    def order(self) -> StreamOrder:
        """The order of the stream, `dataset.order`."""
        settings: Any = OmegaConf.to_container(self.dataset.order, resolve=True)
        return StreamOrder(**settings)

    @cached_property
    def sampled(self) -> Stream:
        """The sampled videos in the order of their files, including frames that turn out to be damaged."""
        from odkd.data.video.listing import list_videos
        from odkd.data.video.stream import no_stream, open_stream

        if self.is_camera:
            return no_stream()
        if has_images(self.dataset):
            return self._sampled_images()
        dataset, folder = self.dataset, self.root / "videos"
        if not folder.is_dir():
            raise ValueError(
                f"no folder {folder}: expected the videos in a folder `videos` below dataset.root={self.root}"
            )
        stems = [path.stem for path in list_videos(folder, dataset.start, dataset.stop)]
        return open_stream(
            folder,
            stride=dataset.stride,
            stride_seconds=dataset.stride_seconds,
            start=dataset.start,
            stop=dataset.stop,
            domains=self._domains(stems),
            cache=self.cache,
            library=dataset.get("decoder", "pyav"),
        )

    def _sampled_images(self) -> Stream:
        from odkd.data.video.image_stream import open_images

        dataset, pictures = self.dataset, pictures_of(self.dataset, self.root)
        found = pictures.find()
        return open_images(
            pictures.root,
            found,
            size=(int(dataset.size[0]), int(dataset.size[1])),
            fit=dataset.fit,
            stride=dataset.stride,
            start=dataset.start,
            stop=dataset.stop,
            domains=self._domains(list(found)),
            cache=self.cache,
        )

    def _domains(self, stems: list[str]) -> dict[str, str]:
        for pattern in self.dataset.domains:
            if stems and not fnmatch.filter(stems, pattern):
                logger.warning("dataset.domains: no video matches %s (%s ...)", pattern, ", ".join(stems[:3]))
        return {
            stem: str(name)
            for stem in stems
            for pattern, name in self.dataset.domains.items()
            if fnmatch.fnmatch(stem, pattern)
        }

    def truth_of(self, stream: Stream) -> ImageLabels | PictureLabels | None:
        """Return the true labels of a stream; None if the dataset has none."""
        dataset = self.dataset
        if not dataset.groundtruth:
            return None
        if not has_images(dataset):
            return ImageLabels(self.root / dataset.groundtruth, stream, list(dataset.classes), ids_of(dataset))
        from odkd.data.labels.image_groundtruth import PictureLabels

        labels = PictureLabels(stream, self.root, dataset.pictures, label_places(dataset), list(dataset.classes))
        return labels if labels.num_there else None

    def check_truth(self, stream: Stream) -> ImageLabels | PictureLabels | None:
        """Open all label maps of a stream, if there are any, once for each version of their contents; return them.

        Raises:
            ValueError: a map is damaged, or does not fit the dataset.
        """
        if (truth := self.truth_of(stream)) is not None:
            what = [CHECK_VERSION, self.truth_digest, stream.digest, list(self.dataset.classes)]
            truth.check(self.cache / "digests" / json_digest(["groundtruth is sound", what]))
        return truth

    def warn_of_truth(self, truth: ImageLabels | PictureLabels, stream: Stream) -> None:
        """Warn if a class never occurs in the ground truth of a stream and much is ignored."""
        version = [self.truth_digest, stream.digest]
        unseen.warn_of_truth(self.dataset, truth, len(stream), version=version, cache=self.cache)

    @cached_property
    def truth_digest(self) -> str | None:
        """Digest of all label maps of `sampled` and of the meaning of their ids; None without label maps."""
        dataset = self.dataset
        if self.is_camera:
            return None
        if not has_images(dataset):
            digest, ids = groundtruth_digest(self.root, dataset.groundtruth, self.sampled, self.cache), ids_of(dataset)
            return digest if ids is None or digest is None else json_digest([digest, ids])
        labels = self.truth_of(self.sampled)
        if labels is None:
            if dataset.groundtruth:
                logger.info("dataset %s has no label maps: nothing is scored against ground truth", dataset.name)
            return None
        assert not isinstance(labels, ImageLabels)
        meaning = OmegaConf.to_container(dataset.groundtruth, resolve=True)
        return json_digest([folder_digest(labels.files, self.root, self.cache), meaning])

    def official_splits_of(self, stream: Stream) -> list[str] | None:
        """Return the split (train, val, test) of each position; None if the dataset has no official splits."""
        return official_splits(self.dataset, self.root, stream)

    @cached_property
    def planned(self) -> Stream:
        """`sampled` in order, known before a frame is decoded; the run's stream unless frames are damaged."""
        planned = self.sampled if self.is_camera else put_in_order(self.sampled, self.order)[0]
        self.check(len(planned))
        return planned

    @cached_property
    def _prepared(self) -> tuple[Stream, FrameReader]:
        from odkd.data.video.frames import ReorderedFrames, prepare_frames

        _ = self.planned
        dataset = self.dataset
        counts: dict[str, int] = {}

        def told(video: str, done: int, _: int) -> None:
            counts[video] = done
            report(sum(counts.values()), len(self.sampled), f" of {video}")

        with Progress("decoded", "frames") as report:
            whole, frames = prepare_frames(
                self.sampled,
                size=(int(dataset.size[0]), int(dataset.size[1])),
                cache=self.cache,
                store=dataset.frame_store,
                progress=told,
            )
        stream, index = put_in_order(whole, self.order)
        self.check(len(stream))
        return stream, frames if stream is whole else ReorderedFrames(frames, index)

    @cached_property
    def stream(self) -> Stream:
        """The stream of the run: undamaged frames, in order."""
        return self._prepared[0]

    @cached_property
    def frames(self) -> FrameReader:
        """Frames of `stream`."""
        return self._prepared[1]

    @cached_property
    def sequence_positions(self) -> int | None:
        """Sampled frames after which the scene changes; None if that is not a single number.

        `dataset.order` states the length; otherwise it is that of the stream's segments, if all are equally long.
        """
        if (length := sequence_length(self.sampled, self.order)) is not None:
            return length
        lengths = {len(segment) for segment in self.stream.segments}
        return lengths.pop() if len(lengths) == 1 and len(self.stream.segments) > 1 else None
