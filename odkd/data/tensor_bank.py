"""The working set: the tensors of stream positions on the compute device, each frame uploaded once."""

from collections import OrderedDict
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple, Self

import numpy as np
import torch
from torch import Tensor

from odkd.common.device import upload
from odkd.common.ignore import IGNORE
from odkd.data.labels import LabelSource, SoftSource, highest_class, resize_nearest
from odkd.data.labels.soft import SoftLabels
from odkd.data.video.frames import FrameReader


class Batch(NamedTuple):
    """Normalised images float32 [B, C, H, W] and, by source, label maps uint8 [B, H, W] and soft labels.

    `soft` holds the sources whose soft labels the bank keeps; probabilities are float32.
    """

    images_BCHW: Tensor
    labels: dict[str, Tensor]
    soft: Mapping[str, SoftLabels] = {}


class _Resident(NamedTuple):
    image_HWC: Tensor  # uint8
    labels: dict[str, Tensor]  # uint8 HW
    soft: dict[str, tuple[Tensor, Tensor]]  # uint8 and float32 khw
    num_bytes: int


@dataclass(frozen=True)
class Normalization:
    """The scaling (pixel / 255 - mean) / std, per channel in RGB order; None leaves pixels in 0..1."""

    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None


class Bank:
    """A device cache of uint8 frames and label maps of recent positions, at most `memory_bytes` of them.

    The least recently used position is evicted first. A background thread reads ahead (`prefetch`), so that the
    loop finds the next window ready; results do not depend on it.

    Args:
        soft: the sources whose soft labels are read and kept too; each has `read_soft`.
    """

    def __init__(
        self,
        frames: FrameReader,
        sources: Mapping[str, LabelSource],
        *,
        num_classes: int,
        device: torch.device,
        memory_bytes: int,
        normalization: Normalization,
        channels_last: bool,
        soft: Collection[str] = (),
    ) -> None:
        self.sources = tuple(sources)
        self.num_classes = num_classes
        self._frames, self._label_sources = frames, dict(sources)
        self._soft = tuple(soft)
        self._check_soft()
        self._device, self._memory_bytes, self._channels_last = device, memory_bytes, channels_last
        self._resident: OrderedDict[int, _Resident] = OrderedDict()
        self._num_bytes = 0
        self._reader = ThreadPoolExecutor(max_workers=1, thread_name_prefix="odkd-bank")
        self._coming: dict[int, Future[dict[int, _Resident]]] = {}
        self._normalization = normalization
        self._rows: dict[int, tuple[Tensor, Tensor]] = {}  # mean and std for a full image row, by width

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.shutdown(wait=True, cancel_futures=True)
        self._resident.clear()
        self._coming.clear()

    def use(self, name: str, source: LabelSource, *, soft: Collection[str]) -> None:
        """Replace the source of the label maps `name`, and read soft labels from the sources `soft` from now on."""
        for future in set(self._coming.values()):
            future.result()
        self._coming.clear()
        self.retain([])  # resident positions hold the old labels
        self._label_sources[name] = source
        self.sources = tuple(self._label_sources)
        self._soft = tuple(soft)
        self._check_soft()

    def prefetch(self, positions: Collection[int]) -> None:
        """Start reading the positions that are not resident yet; return at once."""
        wanted = [p for p in positions if p not in self._resident and p not in self._coming]
        if wanted:
            future = self._reader.submit(self._read, wanted)
            self._coming.update(dict.fromkeys(wanted, future))

    def retain(self, positions: Collection[int]) -> None:
        """Drop all other positions, so that memory follows the method's needs and not the length of the stream."""
        for position in set(self._resident) - set(positions):
            self._num_bytes -= self._resident.pop(position).num_bytes

    def get(self, positions: Sequence[int]) -> Batch:
        """Return the images and label maps of `positions`, in that order.

        Raises:
            ValueError: a label map holds an id that is no class (neither below K nor 255).
        """
        missing = [p for p in positions if p not in self._resident]
        for position in missing:
            if position in self._coming:
                self._admit(self._coming[position].result())
        if missing := [p for p in missing if p not in self._resident]:
            self._admit(self._read(missing))
        found = [self._resident[p] for p in positions]
        for position in positions:
            self._resident.move_to_end(position)
        self._evict(keep=set(positions))
        images_BHWC = torch.stack([resident.image_HWC for resident in found])
        labels = {s: torch.stack([resident.labels[s] for resident in found]) for s in self.sources}
        soft = {
            s: SoftLabels(*(torch.stack([resident.soft[s][part] for resident in found]) for part in (0, 1)))
            for s in self._soft
        }
        return Batch(self._normalize(images_BHWC), labels, soft)

    def _normalize(self, images_BHWC: Tensor) -> Tensor:
        images_BHWC = images_BHWC.float().div_(255)
        mean, std = self._normalization.mean, self._normalization.std
        if mean is not None and std is not None:
            mean_WC, std_WC = self._row(images_BHWC.shape[2], mean, std)
            images_BHWC.sub_(mean_WC).div_(std_WC)
        images_BCHW = images_BHWC.permute(0, 3, 1, 2)  # channels-last in memory
        return images_BCHW if self._channels_last else images_BCHW.contiguous()

    def _row(self, width: int, mean: Sequence[float], std: Sequence[float]) -> tuple[Tensor, Tensor]:
        """Return mean and std as full rows, which broadcast 25 times as fast as 3 values (720p, channels-last, CPU)."""
        if width not in self._rows:
            mean_WC, std_WC = (torch.tensor([list(v)] * width, device=self._device) for v in (mean, std))
            self._rows[width] = (mean_WC, std_WC)
        return self._rows[width]

    def _read(self, positions: list[int]) -> dict[int, _Resident]:
        images_NHWC = self._frames.read(positions)
        size = images_NHWC.shape[1:3]
        residents = {}
        for position, image_HWC in zip(positions, images_NHWC, strict=True):
            labels = {}
            for name, source in self._label_sources.items():
                label_HW = resize_nearest(source.read(position), size)
                self._check(f"{name} label map", position, label_HW)
                labels[name] = self._upload(label_HW)
            soft = {}
            for name in self._soft:
                source = self._label_sources[name]
                assert isinstance(source, SoftSource)
                ids_KHW, shares_KHW = source.read_soft(position)
                self._check(f"{name} soft labels", position, ids_KHW)
                soft[name] = (self._upload(ids_KHW), self._upload(shares_KHW))
            kept = [*labels.values(), *(part for parts in soft.values() for part in parts)]
            num_bytes = image_HWC.nbytes + sum(tensor.nbytes for tensor in kept)
            residents[position] = _Resident(self._upload(image_HWC), labels, soft, num_bytes)
        return residents

    def _check_soft(self) -> None:
        for name in self._soft:
            if not isinstance(self._label_sources.get(name), SoftSource):
                raise ValueError(f"the {name} labels have no probabilities; choose a loss that needs none")

    def _check(self, what: str, position: int, ids: np.ndarray) -> None:
        if (highest := highest_class(ids)) >= self.num_classes:
            raise ValueError(
                f"the {what} of position {position} holds class ids up to "
                f"{highest}; expected ids below {self.num_classes} or {IGNORE}"
            )

    def _upload(self, array: np.ndarray) -> Tensor:
        tensor = torch.from_numpy(np.array(array, order="C"))  # a copy: memory maps are read-only and shared
        return upload(tensor, self._device)

    def _admit(self, residents: dict[int, _Resident]) -> None:
        for position, resident in residents.items():
            self._coming.pop(position, None)
            if position not in self._resident:
                self._resident[position] = resident
                self._num_bytes += resident.num_bytes

    def _evict(self, keep: Collection[int]) -> None:
        for position in list(self._resident):
            if self._num_bytes <= self._memory_bytes:
                return
            if position not in keep:
                self._num_bytes -= self._resident.pop(position).num_bytes
