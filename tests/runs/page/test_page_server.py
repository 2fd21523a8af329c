"""The server of a live session's page: what it answers, whom, and that the session never waits for it."""

import http.client
import io
import json
import math
import re
import socket
import threading
import time
from base64 import b64decode
from collections.abc import Generator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import psutil
import pytest
from PIL import Image
from shown_views import PALETTE, scene, view

from odkd.runs.page import shown
from odkd.runs.page.server import WebPage
from odkd.runs.page.view import NoPage, Page, View

FILES = ("/", "/page.css", "/page.js")


@pytest.fixture
def page() -> Generator[WebPage]:
    with closing(WebPage(port=0, pictures_per_second=1000)) as made:
        yield made


@pytest.fixture(scope="module")
def read_only_page() -> Generator[WebPage]:
    """A page with a view, for tests that only ask."""
    with closing(WebPage(port=0, pictures_per_second=1000)) as made:
        made.show(view(5))
        yield made


def port_of(page: Page) -> int:
    port = urlsplit(page.address or "").port
    assert port is not None
    return port


def ask(
    page: Page, path: str, method: str = "GET", headers: dict[str, str] | None = None
) -> tuple[int, dict[str, str], bytes]:
    """Return status, headers in lower case, and body."""
    with closing(http.client.HTTPConnection("127.0.0.1", port_of(page), timeout=30)) as connection:
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read()


def now(page: Page, after: str = "") -> dict[str, Any]:
    status, _, body = ask(page, f"/now?after={after}")
    assert status == 200, body
    return dict(json.loads(body))


def picture(uri: str) -> Image.Image:
    return Image.open(io.BytesIO(b64decode(uri.partition(",")[2])))


def test_a_page_shows_the_newest_view_only(page: WebPage) -> None:
    assert now(page)["frame"] == 0
    for number in (20, 21, 22):
        page.show(view(number))
    assert now(page)["frame"] == 22


def test_frame_and_labels_come_back_as_they_were_given(page: WebPage) -> None:
    image_HWC, labels_HW = scene(40)
    labels_HW[:9] = 255
    labels_HW[9:12] = 200  # no class of this palette
    page.show(view(40, image_HWC=image_HWC, labels_HW=labels_HW))
    pictures = now(page)["pictures"]
    error = np.asarray(picture(pictures["image"]).convert("RGB"), float) - image_HWC
    assert np.abs(error).mean() < 8
    shown_HWC = np.asarray(picture(pictures["labels"]).convert("RGBA"))
    assert (shown_HWC[:12, :, 3] == 0).all()
    assert (shown_HWC[12:, :, 3] == 255).all()
    np.testing.assert_array_equal(shown_HWC[12:, :, :3], np.array(PALETTE)[labels_HW[12:]])


def test_before_the_first_label_and_frame_there_are_texts_in_place_of_pictures(page: WebPage) -> None:
    none = dict.fromkeys(("image_HWC", "labels_HW", "teacher_image_HWC", "teacher_labels_HW", "teacher_made_seconds"))
    page.show(view(0, **none, scores=[], palette=(), classes=()))
    answer = now(page)
    assert answer["made"] == ""
    assert set(answer["pictures"].values()) == {""}


def test_a_large_frame_is_made_small_before_it_is_sent(page: WebPage) -> None:
    page.show(view(1, image_HWC=np.zeros((2160, 3840, 3), np.uint8), labels_HW=np.zeros((90, 160), np.uint8)))
    pictures = now(page)["pictures"]
    assert picture(pictures["image"]).size == (960, 540)
    assert picture(pictures["labels"]).size == (160, 90)


def test_who_has_a_view_is_not_sent_its_pictures_again(page: WebPage) -> None:
    page.show(view(30))
    first = now(page)
    again = now(page, after=first["id"])
    assert "pictures" in first
    assert "pictures" not in again
    assert again["id"] == first["id"]


def test_pictures_are_encoded_once_for_all_who_look_and_never_for_nobody(
    page: WebPage, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[int] = []
    from odkd.runs.page import server

    made = server.pictures
    monkeypatch.setattr(server, "pictures", lambda given: encoded.append(given.frame_number) or made(given))
    for number in range(50):
        page.show(view(number))
    assert encoded == []
    answers: list[dict[str, Any]] = []
    looking = [threading.Thread(target=lambda: answers.append(now(page))) for _ in range(10)]
    for thread in looking:
        thread.start()
    for thread in looking:
        thread.join()
    assert [answer["frame"] for answer in answers] == [49] * 10
    assert encoded == [49]


def test_pictures_are_encoded_no_more_often_than_the_settings_say() -> None:
    with closing(WebPage(port=0, pictures_per_second=0.001)) as page:
        page.show(view(20))
        assert now(page)["frame"] == 20
        page.show(view(21))
        assert now(page)["frame"] == 20


def test_a_view_that_cannot_be_drawn_is_a_message_and_the_next_one_is_shown(page: WebPage) -> None:
    page.show(view(1, image_HWC=np.zeros((4, 4, 7), np.float64)))
    status, _, body = ask(page, "/now")
    assert (status, b"cannot be shown" in body) == (500, True)
    page.show(view(2))
    assert now(page)["frame"] == 2


def test_numbers_that_are_none_are_dashes_and_no_broken_json(page: WebPage) -> None:
    page.show(view(3, numbers={"clock/label_age_seconds": math.nan}, scores=[(0.0, math.nan), (1.0, 0.5)]))
    answer = now(page)
    assert answer["numbers"][0]["text"] == "–"
    assert answer["scores"] == [[1.0, 0.5]]


def test_a_curve_of_ten_hours_is_as_small_as_a_short_one_and_keeps_its_mean() -> None:
    scores = [(float(second), (second % 7) / 7) for second in range(36_000)]
    thin = shown.thinned(scores, shown.MOST_POINTS)
    assert len(thin) <= shown.MOST_POINTS
    assert [second for second, _ in thin] == sorted(second for second, _ in thin)
    assert np.mean([score for _, score in thin]) == pytest.approx(np.mean([score for _, score in scores]), abs=1e-3)


@pytest.mark.parametrize("path", [*FILES, "/now", "/nothing"])
def test_every_answer_keeps_other_sites_out(read_only_page: WebPage, path: str) -> None:
    status, headers, body = ask(read_only_page, path, headers={"Origin": "http://evil.example"})
    assert status == (404 if path == "/nothing" else 200)
    policy = headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert not [name for name in headers if name.startswith("access-control")]
    if path == "/":
        assert not re.search(rb"<script(?![^>]*src=)|<style|\son\w+=|style=", body), "the policy forbids inline code"
        assert not re.search(rb"(src|href)=\"(https?:)?//", body), "nothing comes from elsewhere"


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8050", "127.0.0.1.evil.example", "", "@127.0.0.1", "a b"]
)
def test_a_name_that_a_stranger_may_own_gets_nothing(read_only_page: WebPage, host: str) -> None:
    for path in (*FILES, "/now"):
        status, _, body = ask(read_only_page, path, headers={"Host": host})
        assert status in (400, 421)
        assert b"street" not in body


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "localhost:8050", "LocalHost", "[::1]:9", "192.168.1.7:80", socket.gethostname()]
)
def test_names_that_nobody_else_can_own_are_served(read_only_page: WebPage, host: str) -> None:
    assert ask(read_only_page, "/now", headers={"Host": host})[0] == 200


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_what_the_browser_calls_another_site_may_open_the_page_and_read_no_data(
    read_only_page: WebPage, site: str
) -> None:
    assert ask(read_only_page, "/now", headers={"Sec-Fetch-Site": site})[0] == 403
    assert ask(read_only_page, "/", headers={"Sec-Fetch-Site": site})[0] == 200
    assert ask(read_only_page, "/now", headers={"Sec-Fetch-Site": "same-origin"})[0] == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_can_be_changed(read_only_page: WebPage, method: str) -> None:
    assert ask(read_only_page, "/now", method)[0] == 405


@pytest.mark.parametrize("path", ["/../server.py", "/files/page.js", "/%2e%2e/view.py", "//etc/passwd", "/page.html"])
def test_no_other_file_is_served(read_only_page: WebPage, path: str) -> None:
    assert ask(read_only_page, path)[0] == 404


def test_a_taken_port_leads_to_the_next_one_and_is_free_after_the_end() -> None:
    first = WebPage(port=0)
    wanted = port_of(first)
    with closing(first), closing(WebPage(port=wanted)) as second:
        assert port_of(second) > wanted
        assert now(second)["frame"] == 0
    with closing(WebPage(port=wanted)) as third:
        assert port_of(third) == wanted


@pytest.mark.parametrize("host", ["192.0.2.1", "no.such.host.invalid"])
def test_a_host_that_is_not_ours_is_one_message(host: str) -> None:
    with pytest.raises(ValueError, match=f"stage.host={host}"):
        WebPage(host=host, port=0)


def test_a_page_that_others_can_reach_is_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    with closing(WebPage(host="0.0.0.0", port=0)) as page:
        assert now(page)["frame"] == 0
    assert "whoever reaches this machine" in caplog.text
    with closing(WebPage(port=0)):
        pass
    assert caplog.text.count("whoever") == 1


def hanging(page: WebPage, request: bytes) -> socket.socket:
    """Return a connection that has asked for something, and never reads."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.connect(("127.0.0.1", port_of(page)))
    client.sendall(request)
    return client


@pytest.mark.slow
def test_clients_that_hang_cost_the_session_and_the_others_nothing(page: WebPage) -> None:
    question = b"GET /now HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    page.show(view(1))
    clients = [hanging(page, text) for text in [question * 20, question, b"GET /now HT", b""] for _ in range(8)]
    try:
        now(page)
        before = psutil.Process().memory_info().rss
        for number in range(300):
            page.show(view(number % 60))
            if number % 10 == 0:
                assert now(page)["pictures"]["image"]
        assert psutil.Process().memory_info().rss - before < 60e6
    finally:
        for client in clients:
            client.close()


def test_a_connection_is_cut_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    from odkd.runs.page import server

    monkeypatch.setattr(server, "LONGEST_CONNECTION", 0.2)
    with closing(WebPage(port=0)) as page, closing(hanging(page, b"GET /now HT")) as client:
        client.settimeout(30)
        assert client.recv(1) == b""


def test_a_closed_page_can_be_closed_again_and_is_shown_views_without_an_error() -> None:
    page = WebPage(port=0)
    page.close()
    page.close()
    page.show(view(9))
    with pytest.raises(OSError, match="refused"):
        ask(page, "/now")


def test_a_page_ends_while_somebody_looks() -> None:
    before = set(threading.enumerate())
    page = WebPage(port=0)
    client = hanging(page, b"GET /now HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 50)
    page.close()
    client.close()
    assert set(threading.enumerate()) <= before


def test_no_page_is_a_page_that_does_nothing() -> None:
    page: Page = NoPage()
    page.show(View(seconds=0.0, frame_number=0))
    page.close()
    assert page.address is None


def test_the_page_has_the_colours_of_the_other_pages() -> None:
    import odkd.report.html as html
    from odkd.runs.page import server

    def colours(path: Path) -> list[str]:
        screens = path.read_text().partition("@media print")[0]
        return [colour for colour in re.findall(r"--\w+: #\w+", screens) if "--bar" not in colour]

    assert colours(server.FILES / "page.css") == colours(html.TEMPLATES / "page.css")


def test_a_view_that_is_old_says_how_old(page: WebPage) -> None:
    page.show(view(1))
    time.sleep(0.15)
    assert now(page)["age"] >= 0.1


def test_what_is_counted_is_shown_as_a_rate_of_the_last_seconds(page: WebPage) -> None:
    for second in range(31):
        counts = {"live/frames": 25.0 * second + (500 if second > 15 else 0), "live/frames_answered": 12.5 * second}
        page.show(view(1, seconds=float(second), numbers=counts))
    shown_words = {number["words"]: number["text"] for number in now(page)["numbers"]}
    assert (shown_words["frames per second"], shown_words["answers per second"]) == ("25.0", "12.5")
