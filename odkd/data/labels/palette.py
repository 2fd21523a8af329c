"""Colours for class ids, from the dataset or by default."""

import colorsys

from omegaconf import DictConfig


def dataset_palette(dataset: DictConfig) -> list[list[int]]:
    """Return [R, G, B] per class: the colours of the dataset, or default ones."""
    chosen = dataset.palette
    return [list(colour) for colour in chosen] if chosen else default_palette(len(dataset.classes))


def default_palette(num_classes: int) -> list[list[int]]:
    """Return distinct colours: hues a golden angle apart, in three brightnesses."""
    hues = [(0.618034 * i) % 1 for i in range(num_classes)]
    brightness = [(0.95, 0.75, 0.55)[i % 3] for i in range(num_classes)]
    return [[round(255 * v) for v in colorsys.hsv_to_rgb(h, 0.65, b)] for h, b in zip(hues, brightness, strict=True)]
