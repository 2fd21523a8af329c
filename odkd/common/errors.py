"""Errors that are a user's mistakes, or that the user can do something about."""

import traceback
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]  # the folder odkd/


def memory_message(error: BaseException) -> str | None:
    """Return the message for a device whose memory is full; None for other errors."""
    kind = type(error)
    if kind.__name__ != "OutOfMemoryError" or not kind.__module__.startswith("torch"):  # torch may not be imported
        return None
    told = " ".join(str(error).split(" Of the allocated memory")[0].split())
    return (
        f"the device's memory is full ({told:.300}); lower bank.memory_gib, set stage.batch_size and "
        "evaluation.batch_size to 1, or use precision=bfloat16 or a smaller dataset.size"
    )


def is_mistake(error: BaseException) -> bool:
    """True for a ValueError raised by odkd itself, which is a user's mistake."""
    frames = traceback.extract_tb(error.__traceback__)
    is_ours = bool(frames) and Path(frames[-1].filename).resolve().is_relative_to(PACKAGE)
    return is_ours and isinstance(error, ValueError)
