"""The house: who imports whom, what YAML says, and that the documents' examples hold."""

import ast
import doctest
import importlib
import itertools
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "odkd").rglob("*.py"))
PLUGINS = sorted((ROOT / "hydra_plugins").rglob("*.py"))
WORDS = {"metrics", "losses", "window", "seeds", "files"}
PARTS = {"video", "labels", "teachers", "students", "replay", "regularizers"}
ONLY_IN = {  # library -> modules of ours that may import it
    "mlflow": {"tracking", "results", "usage"},
    "av": {"video"},
    "hydra": {"main", "build", "construct", "compose", "sweep_job"},
    "timm": {"teachers", "students"},
    "segmentation_models_pytorch": {"teachers", "students"},
    "transformers": {"teachers", "students"},
    "huggingface_hub": {"teachers", "students"},
    "onnxruntime": {"teachers", "students"},
    "mmseg": {"teachers"},
    "mmengine": {"teachers"},
    "mmcv": {"teachers"},
    "matplotlib": {"report"},
    "jinja2": {"report"},
    "optuna": {"search", "trials"},
}


def imports(path: Path) -> set[str]:
    """Dotted modules that a file imports when it runs (imports for the type checker do not count)."""
    tree = ast.parse(path.read_text())
    ignored: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            ignored |= set(ast.walk(node))
    found: set[str] = set()
    for node in ast.walk(tree):
        if node in ignored:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def room(path: Path) -> str:
    """The first level below odkd: `video` for odkd/video/decode.py, `main` for odkd/main.py."""
    return path.relative_to(ROOT / "odkd").with_suffix("").parts[0]


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_imports_follow_the_plan(path: Path) -> None:
    here, names = room(path), imports(path)
    ours = {name.split(".")[1] for name in names if name.startswith("odkd.")}
    for library, rooms in ONLY_IN.items():
        if any(name.split(".")[0] == library for name in names):
            assert here in rooms, f"{library} belongs in {rooms}"
    assert "scripts" not in {name.split(".")[0] for name in names}
    if here in WORDS:
        assert ours <= WORDS
    if here in PARTS:
        siblings = ours & PARTS - {here}
        # Labelling needs the teacher protocol, frames and decoder; teachers share label arithmetic.
        allowed = {"labels": {"teachers", "video"}, "teachers": {"labels"}}.get(here, set())
        assert siblings <= allowed, f"{here} imports {siblings}"
        assert not ours & {"stages", "build", "main", "bank", "learn", "evaluate", "tracking", "report"}
    if here == "stages":
        assert not any(re.fullmatch(r"odkd\.stages\.\w+.*", name) for name in names), "stages never import each other"
    if here not in ("main", "__main__"):
        assert not ours & {"main"}


def settings() -> list[Path]:
    return sorted(p for p in (ROOT / "conf").rglob("*.yaml") if "hydra" not in p.relative_to(ROOT / "conf").parts)


def plugin_settings() -> list[Path]:
    return sorted(path for part in ("sweeper", "launcher") for path in (ROOT / "conf" / "hydra" / part).glob("*.yaml"))


@pytest.mark.parametrize("path", settings() + plugin_settings(), ids=lambda p: str(p.relative_to(ROOT)))
def test_yaml_begins_with_what_it_is_and_explains_its_keys(path: Path) -> None:
    text = path.read_text()
    assert text.startswith("#")
    assert isinstance(yaml.safe_load(text), dict)
    if path.relative_to(ROOT / "conf").parts[0] in ("baseline", "experiment", "sweep", "debug"):
        assert re.search(r"^# odkd ", text, re.MULTILINE), "the command that runs it"
        return
    obvious = {"_target_", "name", "prepare", "defaults", "_self_", "run", "paths", "bank", "enabled"}
    for line in text.splitlines():
        if found := re.match(r"\s*(\w+):", line):
            is_explained = "#" in line or found[1] in obvious
            repeats = path.stem in ("camvid", "none", "sgd") or path.stem.startswith("efficientnet")
            assert is_explained or repeats, f"{line!r} has no comment"


def test_every_choice_of_every_group_composes() -> None:
    """The first choices of all groups together, then the second ones, ...: an experiment, which sets groups, alone."""
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    choices: dict[str, list[str]] = {}
    for path in settings():
        if path.parent == ROOT / "conf" or path.parent.name == "parts":  # parts are included, never chosen
            continue
        group, *folders = path.relative_to(ROOT / "conf").with_suffix("").parts
        if group == "hydra" and len(folders) > 1:  # groups of its own lie in it
            group = f"hydra/{folders.pop(0)}"
        choices.setdefault(group, []).append(f"{group}={'/'.join(folders)}")
    assert {"replay", "teacher", "experiment"} < choices.keys()
    alone = [[experiment] for experiment in choices.pop("experiment")]
    together = [[choice for choice in row if choice] for row in itertools.zip_longest(*choices.values())]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for overrides in alone + together:
            cfg = compose("config", [*overrides, "dataset.root=x", "++teacher.checkpoint=x"])
            assert OmegaConf.to_container(cfg, resolve=True), overrides


@pytest.mark.parametrize("path", SOURCES, ids=lambda p: str(p.relative_to(ROOT)))
def test_examples_in_docstrings_hold(path: Path) -> None:
    name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
    if name.endswith("__main__"):
        return
    assert doctest.testmod(importlib.import_module(name)).failed == 0


@pytest.mark.parametrize("path", SOURCES + PLUGINS, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_are_short_and_say_what_they_are(path: Path) -> None:
    text = path.read_text()
    assert text.startswith('"""')
    assert len(text.splitlines()) <= 320
