"""The page of a live session in a browser: pictures, keys, a phone's width, a session that comes and goes."""

import threading
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from chromium import Chromium, Tab
from shown_views import CLASSES, view

from odkd.runs.page.server import WebPage

pytestmark = pytest.mark.slow
HAS_PICTURES = "[...document.querySelectorAll('.frame, .labels')].every((image) => image.naturalWidth > 0)"
IS_LIVE = "document.querySelector('#status').textContent === 'live'"
EVIL = ["<img src=x onerror=\"document.title='broken'\">", "<script>document.title='broken'</script>", "a&b'\""]


@contextmanager
def producing(page: WebPage) -> Generator[None]:
    """Show a view every 20 ms until the block ends."""
    is_over = threading.Event()

    def produce() -> None:
        number = 40
        while not is_over.wait(0.02):
            page.show(view(number))
            number += 1

    thread = threading.Thread(target=produce)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Generator[Chromium]:
    with Chromium(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


def opacity(tab: Tab) -> float:
    return float(tab.value("document.querySelector('#student .labels').style.opacity"))


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_the_page_shows_both_pictures_and_goes_on_at_any_width(
    browser: Chromium, tmp_path: Path, width: int, dark: bool
) -> None:
    with closing(WebPage(port=0)) as page, producing(page):
        tab = browser.open(page.address or "", width=width, height=844, dark=dark)
        tab.wait(f"{HAS_PICTURES} && {IS_LIVE}")
        frame = int(tab.value("document.querySelector('#frame').textContent"))
        tab.wait(f"Number(document.querySelector('#frame').textContent) > {frame + 5}")
        assert tab.value("document.documentElement.scrollWidth") == width
        assert tab.value("[...document.querySelectorAll('#legend li')].map((item) => item.textContent)") == CLASSES
        assert tab.value("document.querySelector('#curve polyline').points.length") > 3
        assert "0.83" not in tab.value("document.querySelector('#numbers').textContent")
        assert "83 %teacher busy" in tab.value("document.querySelector('#numbers').textContent")
        assert tab.picture(tmp_path / "page.png").stat().st_size > 10_000
        tab.close()
    assert not browser.complaints


def test_overlay_pause_and_curve_work_by_keys_alone(browser: Chromium) -> None:
    with closing(WebPage(port=0)) as page, producing(page):
        tab = browser.open(page.address or "")
        tab.wait(f"{HAS_PICTURES} && {IS_LIVE}")
        assert opacity(tab) == 0.5
        tab.press("o")
        assert opacity(tab) == 0
        tab.press("Tab")
        assert tab.value("document.activeElement.id") == "overlay"
        tab.press("ArrowRight")
        assert opacity(tab) == 0.55
        tab.press("p")
        tab.wait("document.querySelector('#pause').textContent === 'Go on'")
        time.sleep(0.5)  # an answer that was under way has come
        frame = tab.value("document.querySelector('#frame').textContent")
        time.sleep(0.5)
        assert tab.value("document.querySelector('#frame').textContent") == frame
        for _ in range(3):
            tab.press("Tab")
        assert tab.value("document.activeElement.id") == "curve-box"
        newest = tab.value("document.querySelector('#curve-text').textContent")
        tab.press("ArrowLeft")
        assert tab.value("document.querySelector('#curve-text').textContent") != newest
        tab.press("Escape")
        assert tab.value("document.querySelector('#curve-text').textContent") == newest
        tab.press("p")
        tab.wait(f"document.querySelector('#frame').textContent !== '{frame}'")
        tab.close()


def test_names_with_markup_are_shown_and_never_run(browser: Chromium) -> None:
    with closing(WebPage(port=0)) as page:
        page.show(view(50, classes=EVIL, title=EVIL[0], state=dict.fromkeys(EVIL, EVIL[1])))
        tab = browser.open(page.address or "")
        tab.wait(HAS_PICTURES)
        assert tab.value("[...document.querySelectorAll('#legend li')].map((item) => item.textContent)") == EVIL
        assert tab.value("document.querySelector('#title').textContent") == EVIL[0]
        assert tab.value("document.querySelectorAll('img').length") == 4
        assert "broken" not in tab.value("document.title").partition("onerror")[0]
        tab.close()
    assert not browser.complaints


def test_a_page_tells_that_the_session_is_gone_and_goes_on_when_it_is_back(browser: Chromium) -> None:
    first = WebPage(port=0)
    first.show(view(60))
    tab = browser.open(first.address or "")
    tab.wait(HAS_PICTURES)
    first.close()
    tab.wait("document.querySelector('#status').textContent.startsWith('no answer')")
    assert tab.value("document.querySelector('#frame').textContent") == "60"  # the last picture stays
    with closing(WebPage(port=urlsplit(first.address or "").port or 0)) as second, producing(second):
        assert second.address == first.address
        tab.wait(f"{IS_LIVE} && document.querySelector('#frame').textContent !== '60'")
    tab.close()


def test_ten_pages_at_once_and_one_opened_again_are_all_served(browser: Chromium) -> None:
    with closing(WebPage(port=0)) as page, producing(page):
        tabs = [browser.open(page.address or "", width=600) for _ in range(10)]
        for tab in tabs:
            tab.wait(HAS_PICTURES)
        for tab in tabs:
            tab.close()
        again = browser.open(page.address or "")
        again.wait(f"{HAS_PICTURES} && {IS_LIVE}")
        again.close()
