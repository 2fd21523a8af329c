"""odkd: online and multistage knowledge distillation for semantic segmentation."""

__version__ = "0.3.0"

from odkd.common.threads import share_the_machine

share_the_machine()  # here, because every command, child process and worker imports this first, and torch later
