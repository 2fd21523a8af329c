"""The option --version of all commands."""

import argparse

from odkd import __version__


def version_text() -> str:
    """Return what `--version` prints, the same for all commands."""
    return f"odkd {__version__}"


def add_version(parser: argparse.ArgumentParser) -> None:
    """Add --version to the parser of a command."""
    parser.add_argument("--version", action="version", version=version_text(), help="print odkd's version and exit")
