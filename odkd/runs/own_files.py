"""The files of a run folder that are its own: what lies behind a link may be anything that its reader can read."""

import logging
from collections.abc import Iterable
from pathlib import Path

from odkd.common.files import is_own

logger = logging.getLogger(__name__)


def own_files(folder: Path, patterns: Iterable[str]) -> list[Path]:
    """Return the regular files of a folder by patterns, sorted; warn of links, which are left out."""
    found = sorted({path for pattern in patterns for path in folder.glob(pattern)})
    for path in found:
        if not is_own(folder, path):
            logger.warning("%s is a link, or lies behind one: it is left alone", path)
    return [path for path in found if path.is_file() and is_own(folder, path)]
