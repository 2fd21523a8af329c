"""A stream of image collections (train, val, test, ... of a dataset), each of which serves as a video."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from odkd.data.video.fit import Fit
from odkd.data.video.image_index import IMAGE_SUFFIXES, index_images
from odkd.data.video.listing import natural
from odkd.data.video.patterns import fill, find_files
from odkd.data.video.stream import Stream, make_stream, sample


@dataclass(frozen=True)
class Pictures:
    """The location of a dataset's images.

    Args:
        root: the dataset's folder.
        pattern: of the files below it (`patterns.py`); `{split}` stands for the collection.
        collections: the collections to use, in this order; None = all that exist, in natural order.
        name: of the only collection, if the pattern has no `{split}`.
        hint: what to download; part of the error about missing files.
    """

    root: Path
    pattern: str
    collections: tuple[str, ...] | None
    name: str
    hint: str

    def find(self) -> dict[str, list[str]]:
        """Return the names of the files below root, by collection.

        Raises:
            ValueError: there are no files, or a collection has none; the message says what to download and the layout.
        """
        found: dict[str, list[str]] = {}
        patterns = [fill(self.pattern, {"split": name}) for name in self.collections or ()] or [self.pattern]
        for number, pattern in enumerate(patterns):
            for name, words in find_files(self.root, pattern):
                if Path(name).suffix.lower() in IMAGE_SUFFIXES:
                    collection = self.collections[number] if self.collections else words.get("split", self.name)
                    found.setdefault(collection, []).append(name)
        wanted = list(self.collections or sorted(found, key=natural))
        if missing := [name for name in wanted if name not in found]:
            there = [name for name in wanted if name in found]
            change = f", or set dataset.collections=[{','.join(there)}]" if there else ""
            raise ValueError(f"{self.root} has no images of {', '.join(missing)}: {self.expected()}{change}")
        if not found:
            raise ValueError(f"{self.root} has no images: {self.expected()}")
        return {name: found[name] for name in wanted}

    def expected(self) -> str:
        """Return a text with the expected layout and where to get the data."""
        names = f" with {{split}} = {', '.join(self.collections)}" if self.collections else ""
        return f"expected {self.root}/{self.pattern}{names}{f'. {self.hint}' if self.hint else ''}"


def open_images(
    root: Path,
    found: Mapping[str, Sequence[str]],
    *,
    size: tuple[int, int],
    fit: Fit,
    stride: int,
    start: int | None,
    stop: int | None,
    domains: Mapping[str, str],
    cache: Path,
) -> Stream:
    """Index the collections `[start:stop]` of those found (`Pictures.find`) and sample one of every `stride` images.

    Raises:
        ValueError: no collection or no image remains.
    """
    chosen: Sequence[str] = list(found)[start:stop]
    if not chosen:
        raise ValueError(
            f"dataset.start={start}, dataset.stop={stop} select none of the collections {', '.join(found)}; change them"
        )
    indices = [index_images(root, name, found[name], size=size, fit=fit, cache=cache) for name in chosen]
    sampled = [sample(index, stride=stride, stride_seconds=None) for index in indices]
    video_of = np.repeat(np.arange(len(indices)), [len(frames) for frames in sampled])
    if not len(video_of):
        raise ValueError(f"dataset.stride={stride} exceeds the length of every collection of images; lower it")
    return make_stream(
        tuple(indices), tuple(domains.get(name, "") for name in chosen), video_of, np.concatenate(sampled)
    )
