"""Which errors are a user's mistakes."""

import traceback
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]  # the folder odkd/


def is_mistake(error: BaseException) -> bool:
    """Whether it is what odkd says of a user's mistake: a ValueError of ours, not of a library below."""
    frames = traceback.extract_tb(error.__traceback__)
    is_ours = bool(frames) and Path(frames[-1].filename).resolve().is_relative_to(PACKAGE)
    return is_ours and isinstance(error, ValueError)
