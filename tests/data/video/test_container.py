"""Video files of others: what is in one under the name of a video reads no address."""

import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from video_files import write_video

from odkd.data.video.container import open_container
from odkd.data.video.index import index_video
from odkd.data.video.scan import UnreadableVideoError

PLAYLIST = "#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{address}/clip.ts\n#EXT-X-ENDLIST\n"
DESCRIPTION = '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" mediaPresentationDuration="PT1S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" bandwidth="1"><BaseURL>{address}/clip.mp4</BaseURL><SegmentBase/></Representation></AdaptationSet></Period></MPD>'  # noqa: E501
FILES = "ffconcat version 1.0\nfile {address}/clip.ts\n"


@pytest.fixture
def asked() -> Iterator[tuple[str, list[str]]]:
    """The address of a server, and what it was asked for."""
    paths: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_error(404)

        def log_message(self, *_: object) -> None:
            return

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}", paths
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("content", [PLAYLIST, DESCRIPTION, FILES], ids=["hls", "dash", "concat"])
def test_a_playlist_under_the_name_of_a_video_asks_no_server(
    tmp_path: Path, asked: tuple[str, list[str]], content: str
) -> None:
    address, paths = asked
    clip = tmp_path / "clip.mp4"
    clip.write_text(content.format(address=address))
    with pytest.raises(UnreadableVideoError, match=r"clip\.mp4"):
        index_video(clip, tmp_path / "cache")
    assert paths == []


def test_a_file_that_is_called_like_an_address_is_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_video(tmp_path / "clip.mp4", num_frames=4)
    (tmp_path / "clip.mp4").rename(tmp_path / "data:clip.mp4")
    monkeypatch.chdir(tmp_path)
    with open_container(Path("data:clip.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == 4
