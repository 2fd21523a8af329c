"""The table of formats in the documentation is what FFmpeg's containers and codecs give."""

from pathlib import Path

import av
import pytest
from video_formats import table

PAGE = Path(__file__).parents[3] / "docs" / "own_video.md"


@pytest.mark.slow
def test_the_documented_table_of_formats_is_true(tmp_path: Path) -> None:
    av.logging.set_level(None)
    made = table(tmp_path)
    assert "WRONG" not in made
    assert made in PAGE.read_text(), f"put this table into {PAGE.name}:\n{made}"
