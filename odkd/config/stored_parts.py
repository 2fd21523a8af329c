"""The parts of a run that is stored, to read its frames and labels once more."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from omegaconf import OmegaConf

from odkd.config.parts import Parts
from odkd.config.roles import is_users
from odkd.config.schema import stored_config


def parts_of_run(run: Path, allow_targets: Sequence[str] = ()) -> Parts:
    """Return the parts of a run, as its config.yaml describes them.

    The file may come from anywhere: it permits nothing, and says only where to read. What is decoded or rendered anew
    goes into the cache of the outputs that hold the run, or of those below the working folder.

    Args:
        allow_targets: user-defined packages that the command permits.

    Raises:
        ValueError: the file is missing, changed since the run finished, or damaged.
    """
    cfg = stored_config(run, allow_targets)
    known = [run.resolve().parents[1] / "cache", Path("outputs/cache").resolve()]
    stored = Path(cfg.paths.cache).expanduser().resolve()
    cfg.paths.cache = str(stored if stored in known else known[0])
    prepare = cfg.dataset.get("prepare")
    if OmegaConf.is_dict(prepare) and "folder" in prepare and not is_users(str(prepare.get("_target_"))):
        prepare.folder = str(Path(cfg.paths.cache) / Path(prepare.folder).name)
    return Parts(cfg)
