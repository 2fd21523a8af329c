"""Errors that are a user's mistakes."""

import traceback
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]  # the folder odkd/


def is_mistake(error: BaseException) -> bool:
    """True for a ValueError raised by odkd itself, which is a user's mistake."""
    frames = traceback.extract_tb(error.__traceback__)
    is_ours = bool(frames) and Path(frames[-1].filename).resolve().is_relative_to(PACKAGE)
    return is_ours and isinstance(error, ValueError)
