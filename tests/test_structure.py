"""The house: who imports whom, what YAML says, and that the documents' examples hold."""

import ast
import doctest
import importlib
import itertools
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
SOURCES = sorted((ROOT / "odkd").rglob("*.py"))
PLUGINS = sorted((ROOT / "hydra_plugins").rglob("*.py"))


def by_folder(paths: Sequence[Path]) -> list[Any]:
    """Return the files of each folder for `parametrize`: a test for each of thousands of files would take a minute."""
    groups: dict[str, list[Path]] = {}
    for path in paths:
        groups.setdefault(path.parent.relative_to(ROOT).as_posix(), []).append(path)
    return [pytest.param(files, id=folder) for folder, files in groups.items()]


# Who may import whom, from the top: a folder imports from those below its own row, never from its own row or above.
ORDER = [
    {"__main__"},
    {"commands"},
    {"report"},
    {"config"},
    {"stages"},
    {"training"},
    {"teachers", "evaluation", "runs"},
    {"data"},
    {"students"},
    {"common"},
]
MOST_ENTRIES = 13  # of odkd/, folders included
LONGEST_MODULE, LONGEST_FUNCTION, MOST_PARAMETERS = 250, 60, 12
FOLDERS = ("odkd", "hydra_plugins", "scripts", "tests")
ONLY_IN = {  # library -> rooms, or modules, that may import it
    "mlflow": {"runs"},
    "tensorboard": {"runs/trackers"},
    "wandb": {"runs/trackers"},
    "tqdm": {"common"},
    "starlette": {"runs/page"},
    "uvicorn": {"runs/page"},
    "scipy": {"report/tables", "teachers"},
    "av": {"data/video"},
    "hydra": {
        "__main__",
        "commands/job",
        "config/construct",
        "config/compose",
        "config/composition",
        "config/job_configs",
        "config/layers",
        "config/loader",
        "config/sources",
        "config/words",
        "runs/sweeps/job",
    },
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
    "optuna": {"runs/sweeps/search", "runs/sweeps/study_checks", "runs/sweeps/trials"},
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
        elif isinstance(node, ast.Call) and ast.unparse(node.func) == "optional" and node.args:
            found |= {str(name.value) for name in ast.walk(node.args[0]) if isinstance(name, ast.Constant)}
    return found


def place(path: Path) -> str:
    """A module by its path below odkd: `data/video/decode`."""
    return path.relative_to(ROOT / "odkd").with_suffix("").as_posix()


def room(path: Path) -> str:
    """The first level below odkd: `data` for odkd/data/video/decode.py, `__main__` for odkd/__main__.py."""
    return place(path).partition("/")[0]


@cache
def modules() -> dict[str, Path]:
    """Dotted name -> file, of all of odkd."""
    return {".".join(p.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): p for p in SOURCES}


def imported_modules(path: Path, known: dict[str, Path]) -> set[str]:
    """The modules of ours that a file imports, imports for the type checker included: these are arrows, too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in known else node.module for name in names}
    return found & known.keys()


def circle(graph: dict[str, set[str]]) -> list[str]:
    """A path of arrows that comes back to where it began; empty where there is none.

    >>> circle({"a": {"b"}, "b": {"c"}, "c": {"b"}})
    ['b', 'c', 'b']
    """
    done: set[str] = set()

    def visit(name: str, way: list[str]) -> list[str]:
        if name in way:
            return [*way[way.index(name) :], name]
        if name in done:
            return []
        for other in sorted(graph.get(name, ())):
            if found := visit(other, [*way, name]):
                return found
        done.add(name)
        return []

    return next((found for name in sorted(graph) if (found := visit(name, []))), [])


@pytest.mark.parametrize("paths", by_folder(SOURCES))
def test_libraries_are_imported_where_they_belong(paths: list[Path]) -> None:
    for path in paths:
        names = {name.split(".")[0] for name in imports(path)}
        for library, places in ONLY_IN.items():
            if library in names:
                assert any(f"{place(path)}/".startswith(f"{allowed}/") for allowed in places), (
                    f"{path}: {library} belongs in {places}"
                )
        assert not {"scripts", "tests"} & names, path


@pytest.mark.parametrize("paths", by_folder(SOURCES))
def test_imports_go_down(paths: list[Path]) -> None:
    for path in paths:
        level = {name: number for number, row in enumerate(ORDER) for name in row}
        if path == ROOT / "odkd" / "__init__.py":
            continue
        here = room(path)
        for name in imported_modules(path, modules()):
            there = name.split(".")[1]
            assert there == here or level[there] > level[here], f"{path}: odkd/{here} must not import {name}"


def test_nothing_goes_round_in_circles() -> None:
    known = modules()
    files = {name: imported_modules(path, known) - {name} for name, path in known.items()}
    assert not circle(files)
    folders: dict[str, set[str]] = {}
    for name, others in files.items():
        here = folder_of(known[name])
        folders.setdefault(here, set()).update(folder_of(known[other]) for other in others)
    assert not circle({here: others - {here} for here, others in folders.items()})


def folder_of(path: Path) -> str:
    return path.relative_to(ROOT).parent.as_posix()


def test_stages_never_import_each_other() -> None:
    files = {path.stem for path in (ROOT / "odkd" / "stages").glob("*.py")} - {"__init__"}
    for name in files:
        assert not {f"odkd.stages.{other}" for other in files} & imports(ROOT / "odkd" / "stages" / f"{name}.py")


def test_the_house_has_few_doors() -> None:
    doors = {room(path) for path in SOURCES}
    assert len(doors) <= MOST_ENTRIES
    assert doors == {"__init__"}.union(*ORDER)


def settings() -> list[Path]:
    return sorted(p for p in (ROOT / "conf").rglob("*.yaml") if "hydra" not in p.relative_to(ROOT / "conf").parts)


def plugin_settings() -> list[Path]:
    return sorted(path for part in ("sweeper", "launcher") for path in (ROOT / "conf" / "hydra" / part).glob("*.yaml"))


@pytest.mark.parametrize("paths", by_folder(settings() + plugin_settings()))
def test_yaml_begins_with_what_it_is_and_explains_its_keys(paths: list[Path]) -> None:
    for path in paths:
        text = path.read_text()
        assert text.startswith("#"), path
        assert isinstance(yaml.safe_load(text), dict), path
        if path.relative_to(ROOT / "conf").parts[0] in ("baseline", "experiment", "sweep", "debug"):
            assert re.search(r"^# odkd ", text, re.MULTILINE), f"{path}: the command that runs it"
            continue
        obvious = {"_target_", "name", "prepare", "defaults", "_self_", "run", "paths", "bank", "enabled"}
        for line in text.splitlines():
            if found := re.match(r"\s*(\w+):", line):
                is_explained = "#" in line or found[1] in obvious
                repeats = path.stem in ("camvid", "none", "sgd") or path.stem.startswith("efficientnet")
                assert is_explained or repeats, f"{path}: {line!r} has no comment"


@pytest.mark.parametrize("paths", by_folder(sorted((ROOT / "conf").rglob("*.yaml"))))
def test_lines_of_yaml_fit_into_120_characters(paths: list[Path]) -> None:
    for path in paths:
        long = {number: line for number, line in enumerate(path.read_text().splitlines(), 1) if len(line) > 120}
        assert not long, f"shorten the comment, or put a long value on the line below its key: {path}: {long}"


def test_every_choice_of_every_group_composes() -> None:
    """The first choices of all groups together, then the second ones, ...: studies that choose groups alone."""
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
    alone = [[study] for group in ("experiment", "baseline") for study in choices.pop(group)]
    together = [[choice for choice in row if choice] for row in itertools.zip_longest(*choices.values())]
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        for overrides in alone + together:
            cfg = compose("config", [*overrides, "dataset.root=x", "++teacher.checkpoint=x"])
            assert OmegaConf.to_container(cfg, resolve=True), overrides


@pytest.mark.parametrize("paths", by_folder(SOURCES))
def test_examples_in_docstrings_hold(paths: list[Path]) -> None:
    for path in paths:
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if name.endswith("__main__"):
            continue
        assert doctest.testmod(importlib.import_module(name)).failed == 0, name


@pytest.mark.parametrize("paths", by_folder(SOURCES + PLUGINS))
def test_files_are_short_and_say_what_they_are(paths: list[Path]) -> None:
    for path in paths:
        text = path.read_text()
        assert text.startswith('"""'), path
        assert len(text.splitlines()) <= LONGEST_MODULE, path
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                assert node.end_lineno - node.lineno + 1 <= LONGEST_FUNCTION, (path, node.name)
                arguments = node.args
                given = [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
                assert len(given) <= MOST_PARAMETERS, (path, node.name)


OPENERS = {  # what opens files of others -> where it may stand; each place limits what such a file can do
    "Image.open": {"common/pictures.py"},
    "av.open": {f"data/video/{name}.py" for name in ("container", "live", "capture", "encode", "segments", "lossless")},
}


@pytest.mark.parametrize("opener", OPENERS)
def test_pictures_and_videos_are_opened_in_one_place(opener: str) -> None:
    found = {path.relative_to(ROOT / "odkd").as_posix() for path in SOURCES if f"{opener}(" in path.read_text()}
    assert found == OPENERS[opener]


MAY_PRINT = {"common/console.py", "commands/doctor/probe.py"}  # the latter writes JSON to the process that began it


@pytest.mark.parametrize("paths", by_folder(SOURCES + PLUGINS))
def test_what_commands_say_goes_through_say(paths: list[Path]) -> None:
    """Names and values of others may be in it, and `say` alone writes out what a terminal would obey."""
    for path in paths:
        if path.is_relative_to(ROOT / "odkd") and path.relative_to(ROOT / "odkd").as_posix() in MAY_PRINT:
            continue
        called = {
            ast.unparse(node.func) for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)
        }
        bare = called & {"print", "sys.stdout.write", "sys.stderr.write", "traceback.print_exc", "pprint"}
        assert not bare, f"{path}: {bare}; use odkd.common.console.say"


def test_the_formatter_lays_out_everything() -> None:
    skip = "fmt: " + "skip"
    files = [path for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    assert not [str(path) for path in files if skip in path.read_text()]


def test_the_map_in_contributing_shows_every_room_and_names_files_that_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    tree = re.search(r"```\nodkd/\n(.*?)```", text, re.DOTALL)
    assert tree is not None
    rooms = {name for name, _ in re.findall(r"^  (\w+)(/|\.py) ", tree[1], re.MULTILINE)}
    assert rooms == set().union(*ORDER)
    rows = re.search(r"```\n(__main__\n.*?)```", text, re.DOTALL)
    assert rows is not None
    assert [set(row.split()) for row in rows[1].splitlines()] == ORDER
    for name in re.findall(r"`((?:\w+/)+\w+\.(?:py|yaml|md))(?::[ \w]+)?`", text):
        if "mine" not in name:
            assert (ROOT / name).is_file() or (ROOT / "odkd" / name).is_file(), name
