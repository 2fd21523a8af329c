"""Teachers of random weights, which take as long as trained ones, as files for `teacher=checkpoint`."""

from pathlib import Path

import torch


def write_teacher(path: Path, encoder: str, *, num_classes: int) -> None:
    """Save a SegFormer with this encoder (mit_b0 ... mit_b5)."""
    import segmentation_models_pytorch as smp

    torch.manual_seed(0)
    network = smp.Segformer(encoder, encoder_weights=None, classes=num_classes)
    content = {"state_dict": network.state_dict(), "arch": "Segformer", "encoder_name": encoder, "classes": num_classes}
    torch.save(content | {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}, path)
