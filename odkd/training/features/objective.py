"""The feature losses of a run: which layers are compared, by which loss, and the projections between them."""

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from odkd.training.features import FeatureLoss, projection_of
from odkd.training.features.pair import Pair


class FeatureObjective(nn.Module):
    """The weighted losses of pairs of layers; its parameters are those of the projections.

    Args:
        pairs: of layers.
        losses: by name; those that the pairs name are used.
        student_channels, teacher_channels: of each layer.
    """

    def __init__(
        self,
        pairs: Sequence[Pair],
        losses: Mapping[str, FeatureLoss],
        student_channels: Mapping[str, int],
        teacher_channels: Mapping[str, int],
    ) -> None:
        super().__init__()
        self.pairs = tuple(pairs)
        self._losses = {pair.loss: losses[pair.loss] for pair in pairs}
        self._modules_of_losses = nn.ModuleList(one for one in self._losses.values() if isinstance(one, nn.Module))
        self.projections = nn.ModuleList()
        for pair in pairs:
            ours, theirs = student_channels[pair.student], teacher_channels[pair.teacher]
            wish = projection_of(self._losses[pair.loss])
            needs = wish == "always" or (wish == "if_needed" and ours != theirs)
            self.projections.append(nn.Conv2d(ours, theirs, 1) if needs else nn.Identity())

    @property
    def student_layers(self) -> list[str]:
        """The layers of the student, each once."""
        return list(dict.fromkeys(pair.student for pair in self.pairs))

    def forward(
        self, student: Mapping[str, Tensor], teacher: Mapping[str, Tensor], sizes: Sequence[int] = ()
    ) -> dict[str, Tensor]:
        """Return the weighted losses, by name: features_cwd, ... Those of pairs with the same loss are added.

        Args:
            student, teacher: maps [B, C, h, w] of each layer.
            sizes: numbers of frames that have a loss of their own, which are added; () = all frames together.
        """
        values: dict[str, list[Tensor]] = {}
        for pair, projection in zip(self.pairs, self.projections, strict=True):
            ours_BCHW = projection(student[pair.student].float())
            theirs_BCHW = at_size(teacher[pair.teacher].float(), (ours_BCHW.shape[2], ours_BCHW.shape[3]))
            parts = [ours_BCHW, theirs_BCHW]
            split = zip(*(torch.split(part, list(sizes) or len(part)) for part in parts), strict=True)
            loss = self._losses[pair.loss]
            values.setdefault(f"features_{pair.loss}", []).extend(pair.weight * loss(*both) for both in split)
        return {name: torch.stack(found).sum() for name, found in values.items()}


def at_size(map_BCHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Return a map at `size` = (height, width): bilinear, averaged where it becomes smaller."""
    if tuple(map_BCHW.shape[2:]) == size:
        return map_BCHW
    return F.interpolate(map_BCHW, size, mode="bilinear", antialias=True)
