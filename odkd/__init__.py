"""odkd: online and multistage knowledge distillation for semantic segmentation."""

__version__ = "0.3.0"
