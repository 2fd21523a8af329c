"""Downloads from a local server that cuts connections, supports ranges or not, and counts the bytes it sends."""

import hashlib
import http.server
import logging
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from odkd.teachers import download as downloads
from odkd.teachers.addresses import digest_of, is_open_to_all, is_url, local_path, name_digest
from odkd.teachers.download import download

CONTENT = np.random.default_rng(0).bytes(300_000)
NAME = f"weights-{hashlib.sha256(CONTENT).hexdigest()[:8]}.pth"


class Host(http.server.ThreadingHTTPServer):
    """Serves CONTENT under any name; each number in `cuts` ends one connection after that many bytes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.knows_ranges, self.content, self.tag = True, CONTENT, '"1"'
        self.cuts: list[int] = []
        self.sent: list[int] = []  # bytes of each answer
        self.ranges: list[str | None] = []
        self.statuses: list[int] = []  # errors to answer first
        self.go = threading.Event()
        self.go.set()

    def url(self, name: str = NAME) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/some/folder/{name}"


class Handler(http.server.BaseHTTPRequestHandler):
    server: Host

    def do_GET(self) -> None:
        host = self.server
        if host.statuses:
            self.send_error(host.statuses.pop(0))
            return
        asked, content = self.headers.get("Range"), host.content
        host.ranges.append(asked)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and host.knows_ranges else 0
        if self.headers.get("If-Range", host.tag) != host.tag:
            start = 0
        if start >= len(content):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(content)}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - start))
        self.send_header("ETag", host.tag)
        self.end_headers()
        host.go.wait(10)
        rest = content[start:]
        rest = rest[: host.cuts.pop(0)] if host.cuts else rest
        self.wfile.write(rest)
        host.sent.append(len(rest))

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def host() -> Iterator[Host]:
    server = Host()
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def fetch(url: str, folder: Path) -> Path:
    return download(url, folder, attempts=3, pause_seconds=0.01)


def test_a_file_is_downloaded_once_and_then_read_from_its_folder(host: Host, tmp_path: Path) -> None:
    path = fetch(host.url(), tmp_path / "weights")
    assert path == tmp_path / "weights" / NAME
    assert path.read_bytes() == CONTENT
    assert fetch(host.url(), tmp_path / "weights") == path
    assert host.sent == [len(CONTENT)]
    assert not list(tmp_path.rglob("*.part"))


def test_an_interrupted_download_continues_where_it_ended(
    host: Host, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    host.cuts = [150_000, 100_000]
    assert fetch(host.url(), tmp_path).read_bytes() == CONTENT
    assert host.ranges == [None, "bytes=150000-", "bytes=250000-"]
    assert sum(host.sent) == len(CONTENT), "bytes were sent twice"
    assert "cut off: the connection ended after 150000 of 300000 bytes" in caplog.text


def test_a_later_run_continues_the_download_of_an_earlier_one(host: Host, tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT[:200_000])
    assert fetch(host.url(), tmp_path).read_bytes() == CONTENT
    assert host.sent == [100_000]
    (tmp_path / NAME).rename(tmp_path / f"{NAME}.part")  # as if the earlier run had been killed just before the end
    assert fetch(host.url(), tmp_path).read_bytes() == CONTENT
    assert host.sent == [100_000]
    (tmp_path / NAME).unlink()
    (tmp_path / f"{NAME}.part").write_bytes(CONTENT + b"too long")
    assert fetch(host.url(), tmp_path).read_bytes() == CONTENT
    assert host.sent == [100_000, 300_000]


def test_without_a_digest_in_the_name_a_download_never_mixes_two_versions(host: Host, tmp_path: Path) -> None:
    part = local_path(host.url("model.pth"), tmp_path)
    part.parent.mkdir()
    part.with_name("model.pth.part").write_bytes(b"of an earlier version")
    assert fetch(host.url("model.pth"), tmp_path).read_bytes() == CONTENT
    assert host.ranges == [None]
    part.unlink()
    host.cuts, host.sent, host.ranges = [150_000], [], []
    host.go.clear()
    found: list[Path] = []
    thread = threading.Thread(target=lambda: found.append(fetch(host.url("model.pth"), tmp_path)))
    thread.start()
    while not host.ranges:
        time.sleep(0.001)
    host.content, host.tag = CONTENT[::-1], '"2"'  # the file is replaced during the first answer
    host.go.set()
    thread.join()
    assert found[0].read_bytes() == CONTENT[::-1]
    assert host.sent == [150_000, 300_000]


def test_files_of_the_same_name_at_two_urls_are_two_files(host: Host, tmp_path: Path) -> None:
    first = fetch(host.url("model.pth"), tmp_path)
    second = fetch(host.url("other/model.pth"), tmp_path)
    assert first != second
    assert first.name == second.name == "model.pth"


def test_a_server_without_ranges_starts_over(host: Host, tmp_path: Path) -> None:
    host.knows_ranges, host.cuts = False, [150_000]
    assert fetch(host.url(), tmp_path).read_bytes() == CONTENT
    assert host.sent == [150_000, 300_000]


def test_busy_servers_are_asked_again_but_missing_files_are_not(host: Host, tmp_path: Path) -> None:
    host.statuses = [503, 429]
    assert fetch(host.url(), tmp_path / "a").read_bytes() == CONTENT
    host.statuses = [404, 404]
    with pytest.raises(ValueError, match="HTTP 404"):
        fetch(host.url(), tmp_path / "b")
    assert host.statuses == [404], "the server was asked twice"


def test_a_download_with_a_wrong_digest_is_removed_and_reported(host: Host, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"not what its address says \(its sha256 begins with \w{8}, not 00112233\)"):
        fetch(host.url("weights-00112233.pth"), tmp_path)
    assert [path.suffix for path in tmp_path.iterdir()] in ([], [".lock"])
    (tmp_path / "weights-00112233.pth").write_bytes(b"copied by hand and incomplete")
    with pytest.raises(ValueError, match="damaged or another file"):
        fetch(host.url("weights-00112233.pth"), tmp_path)
    assert (tmp_path / "weights-00112233.pth").exists(), "the user's file was deleted"


def test_two_processes_at_once_download_a_file_once(host: Host, tmp_path: Path) -> None:
    code = (
        "import logging, pathlib, sys; from odkd.teachers.download import download; "
        "logging.basicConfig(level='INFO'); download(sys.argv[1], pathlib.Path(sys.argv[2]))"
    )
    host.go.clear()
    logs = [tmp_path / "a.log", tmp_path / "b.log"]
    command = [sys.executable, "-c", code, host.url(), str(tmp_path)]
    with logs[0].open("w") as first, logs[1].open("w") as second:
        processes = [subprocess.Popen(command, stderr=log) for log in (first, second)]
    until = time.monotonic() + 20
    while not any("waiting for it" in log.read_text() for log in logs) and time.monotonic() < until:
        time.sleep(0.02)
    host.go.set()
    assert [process.wait(30) for process in processes] == [0, 0]
    assert host.sent == [len(CONTENT)]
    assert (tmp_path / NAME).read_bytes() == CONTENT
    assert sum("waiting for it" in log.read_text() for log in logs) == 1


def test_offline_the_message_names_the_file_and_its_place(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with http.server.HTTPServer(("127.0.0.1", 0), Handler) as closed:
        url = f"http://127.0.0.1:{closed.server_address[1]}/{NAME}"
    with caplog.at_level(logging.CRITICAL), pytest.raises(ValueError, match="could not download") as caught:
        fetch(url, tmp_path)
    message = str(caught.value)
    assert url in message
    assert str(tmp_path / NAME) in message
    assert "refused" in message
    (tmp_path / NAME).write_bytes(CONTENT)  # as the message says
    assert fetch(url, tmp_path).read_bytes() == CONTENT


def test_digests_in_names_and_urls_are_recognized() -> None:
    assert name_digest("net_20200605_003338-2966598c.pth") == "2966598c"
    assert name_digest("net-20240131.pth") is None
    assert name_digest("net-large.pth") is None
    assert is_url("https://example.org/a.pth")
    assert not is_url("file:///etc/passwd")
    assert not is_url("C:/weights/a.pth")


def test_a_whole_digest_in_the_address_is_checked(host: Host, tmp_path: Path) -> None:
    url = host.url("any.pth")
    whole = hashlib.sha256(CONTENT).hexdigest()
    assert fetch(f"{url}#sha256={whole}", tmp_path).read_bytes() == CONTENT
    with pytest.raises(ValueError, match="damaged or another file"):
        fetch(f"{url}#sha256={'0' * 64}", tmp_path)
    with pytest.raises(ValueError, match=r"is no digest; expected #sha256= and 64"):
        fetch(f"{url}#sha256=0011", tmp_path)


def test_only_this_machine_is_asked_without_encryption_without_a_word() -> None:
    assert is_open_to_all("http://example.org/a.pth")
    assert not is_open_to_all("https://example.org/a.pth")
    assert not is_open_to_all("http://127.0.0.1:80/a.pth")
    assert digest_of("https://example.org/a-00112233.pth") == "00112233"


def test_a_redirect_never_leaves_encryption() -> None:
    handler = downloads._StaysEncrypted()
    request = urllib.request.Request("https://example.org/a.pth")
    with pytest.raises(ValueError, match="which is not encrypted"):
        handler.redirect_request(request, None, 302, "Found", {}, "http://example.org/a.pth")
    followed = handler.redirect_request(request, None, 302, "Found", {}, "https://example.net/a.pth")
    assert followed.full_url == "https://example.net/a.pth"


@pytest.mark.parametrize("says_its_length", [True, False])
def test_a_download_is_bounded(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says_its_length: bool
) -> None:
    monkeypatch.setattr(downloads, "MAX_BYTES", len(CONTENT) - 1)
    if not says_its_length:
        monkeypatch.setattr(Handler, "send_header", without_length)
    with pytest.raises(ValueError, match="so it is no network; check its address"):
        fetch(host.url(), tmp_path)


def without_length(handler: Handler, name: str, value: str) -> None:
    if name != "Content-Length":
        http.server.BaseHTTPRequestHandler.send_header(handler, name, value)


def test_a_full_disk_is_noticed_before_the_download(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10))
    with pytest.raises(ValueError, match=rf"needs {len(CONTENT)} bytes in .* and 10 are free; make room"):
        fetch(host.url(), tmp_path)
