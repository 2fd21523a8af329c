"""Names of positions, VIDEO/000024, for lists that people and other code can read."""

from collections.abc import Sequence

from odkd.video.stream import Stream


def frame_names(stream: Stream, positions: Sequence[int]) -> list[str]:
    """VIDEO/000024 for frame 24 of a video, as ground truth and exported labels are named."""
    return [f"{stream.videos[int(stream.video_of[p])].stem}/{int(stream.frame_of[p]):06d}" for p in positions]
