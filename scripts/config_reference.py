"""Generator of the config reference: every group, choice and key of conf/ with default and comment, as Markdown.

It reads the YAML files without composing them, so the page includes a new choice as soon as its file exists.
`docs/conf.py` appends the result to docs/config.md when the site is built.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

COMPOSED = ("experiment", "baseline", "sweep", "debug")  # groups that set others; keys start at the root
OBVIOUS = {"_target_": "the class or function that receives these keys"}  # keys that need no comment in the YAML


@dataclass(frozen=True)
class Setting:
    """One key of a YAML file: its dotted name as on the command line, its value as written, its comment."""

    name: str
    value: str
    comment: str


@dataclass(frozen=True)
class Choice:
    """One YAML file: its title on the command line (dataset=camvid), head comment, defaults list and keys."""

    title: str
    head: list[str]
    defaults: list[Setting]
    settings: list[Setting]


def read_choice(path: Path, conf: Path) -> Choice:
    """Return the title, comments, defaults and settings of a YAML file in the folder `conf`.

    Raises:
        ValueError: the file is not a mapping.
    """
    text = path.read_text()
    node = yaml.compose(text)
    if not isinstance(node, yaml.MappingNode):
        raise ValueError(f"{path} holds no settings; expected a YAML mapping")
    comments = _comments(text)
    group, *folders = path.relative_to(conf).with_suffix("").parts
    is_root = not folders
    prefix = "" if is_root or group in COMPOSED else f"{group}."
    if group == "hydra" and len(folders) > 1:
        prefix = f"{group}.{folders[0]}."
    head = [line.removeprefix("#").strip() for line in _head(text) if not line.startswith("# @package")]
    defaults: list[Setting] = []
    settings: list[Setting] = []
    for key, value in node.value:
        if key.value == "defaults":
            defaults += [_default(item, text, comments) for item in value.value]
        else:
            settings += _settings(key, value, text, comments, prefix)
    title = "" if is_root else f"{group}={'/'.join(folders)}"
    if group == "hydra":
        title = f"{'/'.join([group, *folders[:-1]])}={folders[-1]}"
    if "parts" in folders:
        title = f"{group}/{'/'.join(folders)}, included by other files"
    return Choice(title, head, [item for item in defaults if item.name != "_self_"], settings)


def config_reference(conf: Path) -> str:
    """Return the full reference as Markdown, with headings `GROUP` for groups and `GROUP=CHOICE` for choices."""
    root = read_choice(conf / "config.yaml", conf)
    order = [item.name for item in root.defaults]
    groups = sorted((folder.name for folder in conf.iterdir() if folder.is_dir()), key=lambda name: _rank(name, order))
    defaults = {item.name: item for item in root.defaults}
    lines = ["## Settings outside the groups", "", *_table(root.settings)]
    for group in groups:
        lines += ["", f"({anchor(group)})=", f"## {group}", ""]
        names = _choices(conf, group)
        links = " ".join(f"[{_code(name)}](#{anchor(group, name)})" for name in names if "parts" not in name.split("/"))
        default = defaults.get(group)
        comment = f": {_markdown(default.comment)}" if default and default.comment else ""
        chosen = f"{_code(default.value)}{comment}" if default else "none"
        lines += [f"Default: {chosen}. Choices: {links}", ""]
        for name in names:
            lines += _section(read_choice(conf / group / f"{name}.yaml", conf), group, name)
    return "\n".join(lines) + "\n"


def anchor(group: str, choice: str = "") -> str:
    """Return the anchor of a group or choice on the page: `config-dataset`, `config-dataset-camvid`."""
    return "-".join(["config", *group.split("/"), *([choice.replace("/", "-")] if choice else [])])


def _section(choice: Choice, group: str, name: str) -> list[str]:
    lines = [f"({anchor(group, name)})=", f"### {choice.title}", ""]
    commands = [line for line in choice.head if line.startswith("odkd ")]
    prose = [line for line in choice.head if not line.startswith("odkd ")]
    lines += [_markdown(" ".join(prose)), ""] if prose else []
    if commands:
        lines += ["```", *commands, "```", ""]
    if choice.defaults:
        said = "; ".join(_said(item, group, PurePosixPath(name).parent) for item in choice.defaults)
        lines += [f"{said[0].upper()}{said[1:]}.", ""]
    return lines + (_table(choice.settings) if choice.settings else ["No settings."]) + [""]


def _said(item: Setting, group: str, folder: PurePosixPath) -> str:
    """Return a sentence part that describes an entry of a defaults list of a file in a folder of a group."""
    comment = f" ({_markdown(item.comment)})" if item.comment else ""
    if item.name.startswith("override "):
        other = item.name.removeprefix("override ")
        other = other[1:] if other.startswith("/") else f"{group}/{other}"
        return f"chooses [{_code(f'{other}={item.value}')}](#{anchor(other, item.value)}){comment}"
    path, _, package = item.name.partition("@")
    where = path.lstrip("/").removeprefix(f"{group}/") if path.startswith("/") else str(folder / path)
    inside = f" as {_code(package)}" if package and package not in ("_here_", "_global_") else ""
    return f"based on [{_code(where)}](#{anchor(group, where)}){inside}{comment}"


def _table(settings: list[Setting]) -> list[str]:
    comments = [s.comment or OBVIOUS.get(s.name.split(".")[-1], "") for s in settings]
    rows = [f"| {_code(s.name)} | {_code(s.value)} | {_markdown(c)} |" for s, c in zip(settings, comments, strict=True)]
    return ["| key | default | meaning |", "|---|---|---|", *rows]


def _settings(key: Any, value: Any, text: str, comments: dict[int, str], prefix: str) -> Iterator[Setting]:
    """Yield the key, or all keys below it for a block mapping; a comment belongs to the key on its line."""
    name, comment = f"{prefix}{key.value}", comments.get(key.start_mark.line, "")
    is_block = not getattr(value, "flow_style", True)
    if isinstance(value, yaml.MappingNode) and is_block:
        if comment:
            yield Setting(name, "", comment)
        for inner, below in value.value:
            yield from _settings(inner, below, text, comments, f"{name}.")
    elif isinstance(value, yaml.SequenceNode) and is_block:
        items = [text[item.start_mark.index : item.end_mark.index].strip() for item in value.value]
        notes = [comments[item.start_mark.line] for item in value.value if item.start_mark.line in comments]
        yield Setting(name, f"[{', '.join(items)}]", "; ".join([comment, *notes] if comment else notes))
    elif isinstance(value, yaml.ScalarNode) and value.style == "|":
        yield Setting(name, "(text)", comment)
    elif isinstance(value, yaml.ScalarNode) and value.start_mark.line < value.end_mark.line:
        yield Setting(name, value.value.strip(), comment)
    else:
        yield Setting(name, text[value.start_mark.index : value.end_mark.index], comment)


def _default(item: Any, text: str, comments: dict[int, str]) -> Setting:
    comment = comments.get(item.start_mark.line, "")
    if isinstance(item, yaml.MappingNode):
        ((key, value),) = item.value
        return Setting(key.value, text[value.start_mark.index : value.end_mark.index], comment)
    return Setting(item.value, "", comment)


def _comments(text: str) -> dict[int, str]:
    """Map each line number to the comment at the end of the line, and to what lines of comment alone add to it.

    A comment follows the last token on its line. It goes on in the next lines whose # is in the same column.
    """
    ends: dict[int, int] = {}
    for token in yaml.scan(text):
        if token.end_mark.index > token.start_mark.index:
            ends[token.end_mark.line] = max(ends.get(token.end_mark.line, 0), token.end_mark.column)
    lines = text.splitlines()
    comments: dict[int, str] = {}
    for line, column in ends.items():
        if line < len(lines) and lines[line][column:].lstrip().startswith("#"):
            start = " " * lines[line].index("#", column) + "#"
            num_more = next((n for n, below in enumerate(lines[line + 1 :]) if not below.startswith(start)), 0)
            parts = [lines[line][column:], *lines[line + 1 : line + 1 + num_more]]
            comments[line] = " ".join(part.strip().removeprefix("#").strip() for part in parts)
    return comments


def _head(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if not line.startswith("#"):
            return
        yield line


def _choices(conf: Path, group: str) -> list[str]:
    names = (path.relative_to(conf / group).with_suffix("").as_posix() for path in (conf / group).rglob("*.yaml"))
    return sorted(names, key=lambda name: ("parts" in name.split("/"), name.count("/"), name))


def _rank(name: str, order: list[str]) -> tuple[int, str]:
    return (order.index(name) if name in order else len(order), name)


def _code(text: str) -> str:
    """Return inline code that is safe inside a Markdown table."""
    text = text.replace("|", "\\|")
    return f"`` {text} ``" if "`" in text else f"`{text}`" if text else ""


def _markdown(comment: str) -> str:
    """Return a comment as Markdown: keep `code`, link pages of docs/, escape all other markup."""
    parts = re.split(r"(`[^`]+`|\bdocs/\w+\.md\b)", comment)
    shown: list[str] = []
    for part in parts:
        if part.startswith("`") and part.endswith("`") and len(part) > 2:
            shown.append(_code(part[1:-1]))
        elif page := re.fullmatch(r"docs/(\w+\.md)", part):
            shown.append(f"[{page[1]}]({page[1]})")
        else:
            shown.append(re.sub(r"([\\`*_{}\[\]<>|$#~@^])", r"\\\1", part))
    return "".join(shown)
