"""The documentation: the site builds without a warning, loads nothing from elsewhere, and covers all of conf/."""

import ast
import html
import re
import runpy
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest
import yaml
from config_reference import COMPOSED, read_choice
from extras import need
from paths import ROOT

need("sphinx")

DOCS = ROOT / "docs"
PAGES = sorted(path.stem for path in DOCS.glob("*.md"))
MARKDOWN = [*DOCS.glob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]


def build(source: Path, target: Path) -> subprocess.CompletedProcess[str]:
    """Build the site as `make docs` does, from and into any folder."""
    options = ["--fail-on-warning", "--keep-going", "--quiet", "--conf-dir", str(DOCS)]
    return subprocess.run(
        [sys.executable, "-m", "sphinx", *options, str(source), str(target)], capture_output=True, text=True
    )


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = build(DOCS, folder)
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def reference(site: Path) -> str:
    """The text of the config reference, without tags."""
    return words((site / "config.html").read_text())


def words(page: str) -> str:
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]+>", "", page)))


def leaves(value: object, prefix: str = "") -> dict[str, object]:
    """Return the values of a YAML mapping by their dotted names."""
    if isinstance(value, dict) and value:
        parts = [leaves(below, f"{prefix}.{key}" if prefix else str(key)) for key, below in value.items()]
        return {name: leaf for part in parts for name, leaf in part.items()}
    return {prefix: value}


def test_every_page_is_in_the_navigation_once() -> None:
    listed = [name for names in runpy.run_path(str(DOCS / "conf.py"))["NAVIGATION"].values() for name in names]
    assert len(listed) == len(set(listed))
    assert set(PAGES) - set(listed) == {"index"}


@pytest.mark.slow
def test_the_site_has_every_page_and_links_to_it(site: Path) -> None:
    sidebar = (site / "index.html").read_text()
    for name in set(PAGES) - {"index"}:
        assert (site / f"{name}.html").is_file()
        assert f'href="{name}.html"' in sidebar


def test_no_page_has_the_name_of_a_page_that_sphinx_makes() -> None:
    assert not {"search", "genindex", "modindex", "py-modindex"} & set(PAGES)  # they would replace ours, unnoticed


@pytest.mark.slow
@pytest.mark.parametrize("name", PAGES)
def test_each_page_of_the_site_has_its_own_heading(name: str, site: Path) -> None:
    source = ROOT / "CONTRIBUTING.md" if name == "contributing" else DOCS / f"{name}.md"
    heading = next(line[2:] for line in source.read_text().splitlines() if line.startswith("# "))
    (shown,) = re.findall(r"<h1>(.*?)<a class", (site / f"{name}.html").read_text(), re.DOTALL)
    assert words(shown) == heading.replace("`", "")


@pytest.mark.slow
def test_the_python_interface_is_made_from_the_docstrings(site: Path) -> None:
    page = words((site / "api.html").read_text())
    assert "Load a student of a run from config.yaml and a safetensors file" in page
    assert "Return the positions to learn from now, in the order of learning" in page
    assert "*args" not in page  # a protocol has no constructor of its own
    directives = re.findall(r"^\.\. auto\w+:: (\S+)$", (DOCS / "api.md").read_text(), re.MULTILINE)
    assert len(directives) > 30
    assert all(name in page for name in directives)


@pytest.mark.slow
def test_nothing_is_loaded_from_elsewhere(site: Path) -> None:
    for path in site.glob("*.html"):
        for tag in re.findall(r"<(?:script|link|img|iframe|source|object)\b[^>]*>", path.read_text()):
            assert not re.search(r"""(?:src|href|data)\s*=\s*["'](?:https?:)?//""", tag), f"{path.name}: {tag}"
    for path in site.rglob("*.css"):
        assert not re.search(r"@import|url\(\s*[\"']?(?:https?:)?//", path.read_text()), path.name


@pytest.mark.slow
def test_mistakes_in_pages_fail_the_build(tmp_path: Path) -> None:
    mistakes = {"[a page](nowhere.md)": "nowhere.md", "[a part](#no-part)": "no-part", "![](none.png)": "none.png"}
    (tmp_path / "index.md").write_text("# A page\n\n" + "\n\n".join(mistakes))
    (tmp_path / "forgotten.md").write_text("# A page that is not in the navigation\n")
    done = build(tmp_path, tmp_path / "site")
    assert done.returncode != 0
    for name in [*mistakes.values(), "forgotten.md"]:
        assert name in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("path", sorted((ROOT / "conf").rglob("*.yaml")), ids=lambda p: str(p.relative_to(ROOT)))
def test_the_config_reference_has_every_choice_key_and_comment(path: Path, reference: str) -> None:
    choice = read_choice(path, ROOT / "conf")
    assert choice.title in reference
    for row in choice.settings:
        assert words(f"{row.name} {row.value} {row.comment.replace('`', '').replace('docs/', '')}").strip() in reference
    group = choice.title.partition("=")[0] if "=" in choice.title else choice.title.partition("/")[0]
    prefix = "" if group in COMPOSED else group.replace("/", ".")
    settings = yaml.safe_load(path.read_text())
    settings.pop("defaults", None)
    expected = leaves(settings, prefix) if settings else {}
    shown = {row.name: yaml.safe_load(row.value) for row in choice.settings if row.value not in ("", "(text)")}
    flat = {name: leaf for key, value in shown.items() for name, leaf in leaves(value, key).items()}
    texts = {row.name for row in choice.settings if row.value == "(text)"}
    assert flat == {name: leaf for name, leaf in expected.items() if name not in texts}
    assert texts <= expected.keys()
    comments = re.findall(r"""^[^'"#]*\s#\s+(.+)$""", path.read_text(), re.MULTILINE)  # a # in quotes begins no comment
    assert all(words(comment.replace("`", "").replace("docs/", "")).strip() in reference for comment in comments)


def test_a_comment_of_the_config_reference_goes_on_in_lines_of_its_own(tmp_path: Path) -> None:
    text = "seed: 0  # of all\n         # choices\nname: '#'  # shown\n  # not of it\nlast: 1\n# nor this\n"
    (tmp_path / "config.yaml").write_text(text)
    settings = read_choice(tmp_path / "config.yaml", tmp_path).settings
    assert [(row.name, row.value, row.comment) for row in settings] == [
        ("seed", "0", "of all choices"),
        ("name", "'#'", "shown"),
        ("last", "1", ""),
    ]


@pytest.mark.slow
def test_every_message_in_failures_md_is_in_the_code() -> None:
    page = (DOCS / "failures.md").read_text()
    cells = [row.split(" | ")[0] for row in page.splitlines() if row.startswith("| ") and "odkd says" not in row]
    messages = [message for cell in cells for message in re.findall(r"`([^`]+)`", cell)]
    assert len(messages) > 30
    nodes = [node for path in (ROOT / "odkd").rglob("*.py") for node in ast.walk(ast.parse(path.read_text()))]
    texts = [node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)]
    said = "\n".join(texts).replace("`", "'")
    for message in messages:
        words = message.replace("...", "").split()
        pairs = [" ".join(pair).rstrip(".,;:") for pair in pairwise(words)]
        assert any(len(pair) >= 8 and pair in said for pair in pairs), message


@pytest.mark.parametrize("path", MARKDOWN, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_link_between_markdown_files_has_a_target(path: Path) -> None:
    text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r'\]\(([^)\s]+)\)|<img src="([^"]+)"', text):
        file, _, part = "".join(target).partition("#")
        if file.startswith(("http://", "https://")):
            continue
        found = path.parent / file if file else path
        assert found.exists(), f"{path.name} links to {file}"
        if part:
            titles = re.findall(r"^#+ (.+)$", found.read_text(), re.MULTILINE)
            assert part in {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}
