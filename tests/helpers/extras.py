"""Libraries of odkd's extras in tests: a test that needs an absent one is skipped, and says which extra brings it."""

import importlib
import re
import warnings
from importlib.machinery import PathFinder
from typing import Any

import pytest

from odkd.common.optional import EXTRAS

OF_TESTS = dict.fromkeys(("onnx", "sklearn", "zarr", "nbclient", "nbformat", "ipykernel", "hatchling"), "dev")
ALL = EXTRAS | OF_TESTS | dict.fromkeys(("sphinx", "furo", "myst_parser"), "docs")


def is_absent(library: str) -> bool:
    """True if an extra's library is not on this machine, whatever a test pretends."""
    return library in ALL and PathFinder.find_spec(library) is None


def need(library: str) -> Any:
    """Import a library and return it; skip the test, or the module that calls this at its top, where it is absent."""
    if is_absent(library.partition(".")[0]):
        pytest.skip(reason(library), allow_module_level=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of an import are not ours
        return importlib.import_module(library)


def skip_if_absent(error: BaseException | None) -> None:
    """Skip the test if an error, or what it came from, is that the library of an extra is absent."""
    while error is not None:
        told = re.search(r"needs (\w+), which is not installed|No module named '(\w+)", str(error))
        if told and is_absent(library := told[1] or told[2]):
            pytest.skip(reason(library))
        error = error.__cause__ or error.__context__


def reason(library: str) -> str:
    return f"{library} is not installed: pip install 'odkd[{ALL[library.partition('.')[0]]}]'"
