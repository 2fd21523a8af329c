"""Feature distillation of a run: the teacher's features of each batch, read from the label store, and the objective."""

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from odkd.common.device import upload
from odkd.data.labels.features import FeatureKind, FeatureSource
from odkd.students.layers import Taken
from odkd.training.features.objective import FeatureObjective


class Follows(Protocol):
    """An augmentation that moves other maps as it has moved the images of a batch."""

    def follow(self, maps_BCHW: Tensor, frame: Sequence[int], *, names: Sequence[object]) -> Tensor: ...


class FeatureDistillation:
    """Compares the student with the teacher's features; the features of recent positions stay on the device.

    Args:
        objective: on the device.
        kinds: of the teacher's features.
        source: returns where they are read, once they are stored.
        device: of the student.
        memory_bytes: of features on the device.
    """

    def __init__(
        self,
        objective: FeatureObjective,
        kinds: Sequence[FeatureKind],
        source: Callable[[], FeatureSource],
        *,
        device: torch.device,
        memory_bytes: int,
    ) -> None:
        self.objective, self._kinds, self._source = objective, tuple(kinds), source
        self._device, self._memory_bytes = device, memory_bytes
        self._resident: OrderedDict[int, dict[str, Tensor]] = OrderedDict()  # float16, by layer
        self._num_bytes = 0

    @property
    def layers(self) -> list[str]:
        """The student's layers."""
        return self.objective.student_layers

    def given(
        self, positions: Sequence[int], augment: Follows | None, frame: Sequence[int], names: Sequence[object]
    ) -> dict[str, Tensor]:
        """Return the teacher's features of a batch by layer, float32 [B, C, h, w].

        Args:
            augment: moves them as it does the images, of `frame` = (height, width), by the same names; None = not.
        """
        found = [self._features(position) for position in positions]
        batch: dict[str, Tensor] = {}
        for kind in self._kinds:
            maps = [features[kind.layer] for features in found]
            if len({one.shape for one in maps}) > 1:
                shapes = " and ".join(sorted({"x".join(map(str, one.shape)) for one in maps}))
                raise ValueError(
                    f"features of {kind.layer} are {shapes} in videos of several sizes; set teacher.size=[height,width]"
                )
            maps_BCHW = torch.stack(maps).float()
            batch[kind.layer] = maps_BCHW if augment is None else augment.follow(maps_BCHW, frame, names=names)
        return batch

    def losses(self, taken: Taken, given: Mapping[str, Tensor], sizes: Sequence[int]) -> dict[str, Tensor]:
        """Return the losses of an update by name; see `FeatureObjective`."""
        num_images = len(next(iter(given.values())))
        losses: dict[str, Tensor] = self.objective(taken.maps(num_images), given, sizes)
        return losses

    def copied(self, student: nn.Module, optimizer: Any) -> tuple[nn.Module, Any, "FeatureDistillation"]:
        """Return copies of student, optimizer and this, which belong together."""
        student, optimizer, objective = copy.deepcopy((student, optimizer, self.objective))
        other = copy.copy(self)
        other.objective = objective
        return student, optimizer, other

    def _features(self, position: int) -> dict[str, Tensor]:
        if position in self._resident:
            self._resident.move_to_end(position)
            return self._resident[position]
        source = self._source()
        found = {kind.layer: self._upload(source.read_features(position, kind)) for kind in self._kinds}
        self._resident[position] = found
        self._num_bytes += sum(one.nbytes for one in found.values())
        while self._num_bytes > self._memory_bytes and len(self._resident) > 1:
            _, old = self._resident.popitem(last=False)
            self._num_bytes -= sum(one.nbytes for one in old.values())
        return found

    def _upload(self, array_CHW: np.ndarray) -> Tensor:
        return upload(torch.from_numpy(np.array(array_CHW, order="C")), self._device)
