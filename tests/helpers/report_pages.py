"""report.html as a test reads it, and the checks that every page must pass."""

import base64
import hashlib
import re
from html.parser import HTMLParser
from pathlib import Path

HOSTILE = "<script>alert(1)</script>\"'&{{7*7}} $x$ $\\frac$"


class Page(HTMLParser):
    """The tags of a page with their attributes, its text and its scripts."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text, self.scripts = "", []
        self._inside = ""
        self.source = path.read_text()
        self.feed(self.source)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._inside = tag

    def handle_endtag(self, _tag: str) -> None:
        self._inside = ""

    def handle_data(self, data: str) -> None:
        if self._inside == "script":
            self.scripts.append(data)
        elif self._inside != "style":
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]


def check_page(page: Page) -> None:
    """Check that a page is complete, small, accessible, and loads and runs nothing from elsewhere."""
    assert len(page.source.encode()) < 5_000_000
    for image in page.all("img"):
        assert image["src"].startswith("data:image/")
        assert image["alt"]
    for name in ("link", "iframe", "object", "embed", "video", "base", "form"):
        assert not page.all(name)
    for link in page.all("a"):
        assert link["href"].startswith(("#", "./"))
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    assert {link["href"][1:] for link in page.all("a") if link["href"].startswith("#")} <= set(ids)
    assert all(head["scope"] in ("col", "row") for head in page.all("th"))
    assert len(page.all("table")) == page.source.count("<thead>")
    assert not [key for _, attributes in page.tags for key in attributes if key.startswith("on")]
    outside = re.sub(r"data:image/[^\"]*", "", page.source)
    assert not re.search(r"https?://|url\(", outside)
    (script,) = page.scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    policy = next(meta["content"] for meta in page.all("meta") if "http-equiv" in meta)
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
