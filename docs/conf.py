"""Sphinx's settings for the site: `make docs` builds it, strictly; the pages are plain Markdown that reads without it.

When the site is built, three things are put in: the navigation, the config reference, CONTRIBUTING.md.
"""

import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "scripts")]

from config_reference import anchor, config_reference  # noqa: E402

# The sidebar: a caption, and its pages in reading order. A page that is in no list fails the build.
NAVIGATION = {
    "Start": ["install", "quickstart", "predict", "export", "profile", "doctor", "concepts", "run_folder"],
    "Your own": ["own_study", "own_video", "own_teacher", "own_student", "own_replay", "own_stage"],
    "Running": [
        "resuming",
        "sweeps",
        "optuna",
        "launchers",
        "devices",
        "gpu",
        "tracking",
        "mlflow",
        "failures",
        "reliability",
    ],
    "Data and teachers": ["streams", "images", "masks", "public_data", "teachers", "labels"],
    "Live": ["live", "several_streams", "updates", "live_studies"],
    "Methods and results": [
        "recipe",
        "continual",
        "mckd",
        "features",
        "fidelity",
        "metrics",
        "reports",
        "tables",
        "notebook",
        "reproduce",
        "precision",
        "performance",
    ],
    "Reference": ["config", "api", "contributing"],
}

project = "odkd"
copyright = "the authors of odkd, Apache-2.0"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]  # the last two: api.md, from docstrings
source_suffix = {".md": "markdown"}
myst_heading_anchors = 4  # as code hosts make them
myst_enable_extensions = ["html_image"]
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r".*")
]  # types in signatures, of torch and numpy too, lead nowhere; pages are strict
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 90
python_use_unqualified_type_names = True
default_role = "code"  # of `names` in docstrings
smartquotes = False  # pages are full of commands
html_theme = "furo"
html_title = "odkd"
html_static_path = ["static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False
highlight_language = "none"  # blocks without a language: commands and what they print
pygments_style = "friendly"
pygments_dark_style = "monokai"


def navigation(folder: Path) -> str:
    """One hidden table of contents a caption; pages that are planned and not there yet are left out."""
    blocks = []
    for caption, names in NAVIGATION.items():
        pages = [name for name in names if (folder / f"{name}.md").is_file()]
        blocks.append("\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```"]))
    return "\n\n".join(blocks)


def on_site(text: str) -> str:
    """Links that leave docs/ on a code host lead to a page of the site instead."""
    text = re.sub(r"\]\(\.\./CONTRIBUTING\.md(#[\w-]+)?\)", lambda m: f"](contributing.md{m[1] or ''})", text)

    def to_reference(match: re.Match[str]) -> str:
        group, _, choice = match[1].removesuffix(".yaml").partition("/")
        return f"](#{anchor(group, choice)})" if group != "config" else "](config.md)"

    return re.sub(r"\]\(\.\./conf/([\w/]+(?:\.yaml)?)\)", to_reference, text)


def put_in(app: Any, name: str, source: list[str]) -> None:
    """Sphinx's event `source-read`: a page's text before it is parsed."""
    text = source[0]
    if name == "index":
        text += f"\n\n{navigation(Path(app.srcdir))}\n"
    elif name == "config":
        text += f"\n{config_reference(ROOT / 'conf')}"
    elif name == "contributing":
        text = re.sub(r"\]\(docs/", "](", (ROOT / "CONTRIBUTING.md").read_text())
    source[0] = on_site(text)


def signature(_app: Any, kind: str, _name: str, found: Any, _options: Any, arguments: str, returned: str) -> Any:
    """Sphinx's event `autodoc-process-signature`: a protocol is not called; defaults made anew are left out."""
    if kind == "class" and getattr(found, "_is_protocol", False):
        return "", None
    return (arguments.replace(" = <factory>", ""), returned) if arguments else None


def setup(app: Any) -> None:
    """Called by Sphinx."""
    app.connect("autodoc-process-signature", signature)
    app.connect("source-read", put_in)
