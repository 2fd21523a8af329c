"""Opening video files: what one holds may name other files, and never an address."""

from collections.abc import Mapping
from pathlib import Path

import av


def open_container(path: Path, options: Mapping[str, str] | None = None) -> av.container.InputContainer:
    """Open a video file; a playlist under the name of a video reads nothing from the network.

    The path is made absolute, as FFmpeg takes a file called `http:clip.mp4` for an address.

    Raises:
        av.error.FFmpegError, ValueError: it cannot be opened.
    """
    return av.open(str(path.absolute()), options={"protocol_whitelist": "file", **(options or {})})
