"""Sets of positions as lists of names, VIDEO/000000, one a line: what people and other code can read."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from odkd.files import write_atomic
from odkd.video.stream import Stream


def frame_names(stream: Stream, positions: Sequence[int]) -> list[str]:
    """VIDEO/000024 for frame 24 of a video, as ground truth and exported labels are named."""
    return [f"{stream.videos[int(stream.video_of[p])].stem}/{int(stream.frame_of[p]):06d}" for p in positions]


def write_lists(folder: Path, stream: Stream, sets: Mapping[str, Sequence[int]]) -> None:
    """FOLDER/NAME.txt for each set."""
    for name, positions in sets.items():
        write_atomic(folder / f"{name}.txt", "".join(f"{line}\n" for line in frame_names(stream, positions)).encode())
