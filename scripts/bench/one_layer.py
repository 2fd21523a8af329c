"""A student of one 1x1 convolution: next to nothing is the network's, so that all else can be seen."""

from torch import Tensor, nn

SETTINGS = ["student._target_=bench.one_layer.OneLayer", "student.name=one_layer", "allow_targets=[bench]"]


class OneLayer(nn.Module):
    """A network from images [B, 3, H, W] to logits [B, K, H, W].

    Args:
        num_classes: K.
        dropout: not used; a setting of the student that it stands in for.
    """

    def __init__(self, num_classes: int, dropout: float = 0.0) -> None:  # noqa: ARG002
        super().__init__()
        self.layer = nn.Conv2d(3, num_classes, 1)

    def forward(self, images_BCHW: Tensor) -> Tensor:
        return self.layer(images_BCHW)  # type: ignore[no-any-return]
