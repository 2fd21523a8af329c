"""What lies beside a file that is exported: it is replaced only if an earlier export has written it."""

from __future__ import annotations

import json
import os
from pathlib import Path

import yaml

from odkd.common.reading import read_text

MOST_BYTES = 2**20
DESCRIPTION = {"classes", "mean", "std", "size", "output"}
PARITY = {"frames", "largest_difference", "differing_pixels"}


def check_replaced(path: Path) -> None:
    """Check that the description and the comparison of an exported file replace, and later remove, nobody's own files.

    Raises:
        ValueError: one of them would.
    """
    for suffix, is_ours in {".yaml": _is_description, ".parity.json": _is_parity}.items():
        beside = path.with_suffix(suffix)
        if not os.path.lexists(beside):
            continue
        try:
            is_known = not beside.is_symlink() and is_ours(read_text(beside, MOST_BYTES))
        except (OSError, ValueError, TypeError, RecursionError, yaml.YAMLError):
            is_known = False
        if not is_known:
            raise ValueError(
                f"--output {path} would replace {beside}, which no export has written; name another file, or move it"
            )


def _is_description(text: str) -> bool:
    """True for the text of a description with every space as an export writes it."""
    content = yaml.safe_load(text)
    return (
        isinstance(content, dict) and content.keys() >= DESCRIPTION and text == yaml.safe_dump(content, sort_keys=False)
    )


def _is_parity(text: str) -> bool:
    content = json.loads(text)
    return isinstance(content, dict) and content.keys() >= PARITY and text == json.dumps(content, indent=1) + "\n"
