"""The option --version of all commands."""

import argparse
import importlib.metadata


def version_text() -> str:
    """Return what `--version` prints, the same for all commands."""
    return f"odkd {importlib.metadata.version('odkd')}"


def add_version(parser: argparse.ArgumentParser) -> None:
    """Add --version to the parser of a command."""
    parser.add_argument("--version", action="version", version=version_text(), help="print odkd's version and exit")
