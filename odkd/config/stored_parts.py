"""The parts of a run that is stored, to read its frames and labels once more."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import OmegaConf

from odkd.common.files import first_link
from odkd.config.parts import Parts
from odkd.config.roles import is_users
from odkd.config.schema import stored_config
from odkd.data.video.synthetic import frames_to_render, render_dataset

RENDERED = "synthetic"  # folder of a cache
MOST_RENDERED = 2**31  # pixels in all frames: some minutes
logger = logging.getLogger(__name__)


def parts_of_run(run: Path, allow_targets: Sequence[str] = ()) -> Parts:
    """Return the parts of a run, as its config.yaml describes them.

    The file may come from anywhere: it permits nothing, and says only where to read. What is decoded or rendered anew
    goes into the cache of the outputs that hold the run, or of those below the working folder.

    Args:
        allow_targets: user-defined packages that the command permits.

    Raises:
        ValueError: the file is missing, changed since the run finished, or damaged; or its videos are not there, and
            would take long to render.
    """
    cfg = stored_config(run, allow_targets)
    cache = _cache_of(run, Path(cfg.paths.cache))
    cfg.paths.cache = str(cache)
    prepare = cfg.dataset.get("prepare")
    if not OmegaConf.is_dict(prepare) or is_users(str(prepare.get("_target_"))):
        return Parts(cfg)
    prepare.folder = str(cache / RENDERED)
    parts = Parts(cfg)
    _check_rendering(OmegaConf.to_container(parts.cfg.dataset.prepare), cache / RENDERED)
    return parts


def _cache_of(run: Path, stored: Path) -> Path:
    """Return the cache for a run: a link in outputs that may be somebody else's would lead elsewhere."""
    own, theirs = Path("outputs/cache").resolve(), run.resolve().parents[1] / "cache"
    if own in (stored.resolve(), theirs.resolve()):
        return own
    if (link := theirs if theirs.is_symlink() else first_link(theirs)) is None:
        return theirs
    logger.warning("%s is a link, and would lead elsewhere; the frames of %s go into %s", link, run, own)
    return own


def _check_rendering(prepare: Any, folder: Path) -> None:
    """Check that what is missing of a rendered dataset is there in minutes, whatever the run says.

    Raises:
        ValueError: it has too many pixels.
    """
    if prepare["_target_"] != f"{render_dataset.__module__}.{render_dataset.__name__}":
        return
    arguments = {key: value for key, value in prepare.items() if key not in ("_target_", "folder")}
    height, width = arguments["height"], arguments["width"]
    if (num_frames := frames_to_render(folder, **arguments)) * height * width > MOST_RENDERED:
        raise ValueError(
            f"dataset.prepare asks for {num_frames} frames of {height}x{width} pixels, which are not in {folder}; "
            f"expected at most {MOST_RENDERED} pixels in all to render: use other frames, or have the run render them"
        )
