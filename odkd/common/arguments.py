"""The parser of all commands."""

import argparse
import importlib.metadata
from typing import NoReturn

from odkd.common.names import visible


class Arguments(argparse.ArgumentParser):
    """A parser whose errors repeat what was typed, which may be the name of a file, without control characters."""

    def exit(self, status: int = 0, message: str | None = None) -> NoReturn:
        super().exit(status, message and visible(message))


def version_text() -> str:
    """Return what `--version` prints, the same for all commands."""
    return f"odkd {importlib.metadata.version('odkd')}"


def add_version(parser: Arguments) -> None:
    """Add --version to the parser of a command."""
    parser.add_argument("--version", action="version", version=version_text(), help="print odkd's version and exit")
