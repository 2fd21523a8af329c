"""User-defined source files that a class depends on: its own file, and the user's modules that it imports."""

import ast
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from odkd.common.files import json_digest
from odkd.common.notes import file_digest

NOT_OWN = {"odkd", "hydra_plugins", *sys.stdlib_module_names}  # in whatever folder
INSTALLED = ("site-packages", "dist-packages")  # folders of other people's code


def own_digest(target: Any, allowed: list[str], kept: Path) -> str:
    """Return the digest of the source of a class or function and of the user's modules that it imports.

    Indirect imports count. The user's modules are those of the packages in `allowed`, and those in the same folder or
    below it, unless that is a folder of installed packages. Imports by a name that is computed at run time are not
    seen. Digests are kept in the folder `kept`, see `file_digest`.
    """
    files = own_files(target.__module__, Path(inspect.getfile(target)), allowed)
    digests = {name: file_digest(path, kept) for name, path in sorted(files.items())}
    return next(iter(digests.values())) if len(digests) == 1 else json_digest(digests)


def own_files(module: str, path: Path, allowed: list[str]) -> dict[str, Path]:
    """Return the source file of the given module and of each of the user's modules that it imports, by module name."""
    root = path.resolve().parents[module.count(".") + (path.name == "__init__.py")]
    packages = {name.partition(".")[0] for name in [module, *allowed]}

    @cache
    def is_own(package: str) -> bool:
        if package in NOT_OWN:
            return False
        places = [Path(place).resolve() for place in _places(package)]
        is_near = any(root in place.parents and not set(INSTALLED) & set(place.parts) for place in places)
        return is_near or package in packages

    files, waiting = {module: path}, [module]
    while waiting:
        name = waiting.pop()
        for imported in _imports(files[name].read_bytes(), name, is_package=files[name].name == "__init__.py"):
            if imported in files or not is_own(imported.partition(".")[0]):  # finding other modules could import them
                continue
            source = next((Path(place) for place in _places(imported) if place.endswith(".py")), None)
            if source is not None:
                files[imported] = source
                waiting.append(imported)
    return files


def _imports(source: bytes, module: str, *, is_package: bool) -> Iterator[str]:
    """Yield the names of modules that a file may import; a name imported from a package may be a module, too."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = importlib.util.resolve_name("." * node.level + base, package)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _places(module: str) -> list[str]:
    """Return the file of a module, or the folders of a namespace package; empty for an unknown module."""
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, AttributeError, ValueError):  # the parent is not a package, or cannot be imported
        spec = None
    if spec is None:
        return []
    return [spec.origin] if spec.origin is not None else list(spec.submodule_search_locations or ())
