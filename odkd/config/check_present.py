"""Settings that every run needs: one that a command deletes (~KEY), or that a user's YAML file lacks, is a message."""

from omegaconf import DictConfig

from odkd.config.compose import default_values
from odkd.config.messages import missing

CLASSES = (
    *("stage", "teacher", "student", "replay", "pace", "timing", "regularizer", "updates", "loss", "optimizer"),
    *("schedule", "augmentation"),
)
NEEDED = {  # group -> keys that odkd itself reads, whatever the class of the group takes
    **dict.fromkeys(CLASSES, ("_target_",)),
    "stage": ("_target_", "name"),
    "teacher": ("_target_", "name"),
    "student": ("_target_", "name", "weights", "mean", "std"),
    "dataset": ("name", "prepare", "start", "stop", "stride", "size", "classes", "palette", "domains", "groundtruth"),
    "features": ("pairs", "losses"),
    "optimizer": ("_target_", "lr"),
    "tracking": ("enabled", "seconds", "close_seconds", "system_seconds"),
}
EXAMPLES = {"name": "mine", "_target_": "my_module.MyClass", **dict.fromkeys(("mean", "std", "weights"), "null")}


def check_present(cfg: DictConfig) -> None:
    """Check that no setting is missing that every run needs.

    Raises:
        ValueError: the first one: where it belongs.
    """
    for key in default_values():
        group, _, name = key.rpartition(".")
        if group in NEEDED or group.partition(".")[0] in NEEDED:
            continue
        node = cfg.get(group) if group else cfg
        if node is None or name not in node:
            raise ValueError(missing(key))
    for group, names in NEEDED.items():
        node = cfg.get(group)
        if node is None:
            raise ValueError(missing(group))
        for name in names:
            if name not in node:
                example = f"`{name}: {EXAMPLES[name]}`" if name in EXAMPLES else f"`{name}:`"
                raise ValueError(
                    f"{group}.{name} is missing, and every {group} needs it; add {example} to the YAML file of your "
                    f"{group}, or leave ~{group}.{name} out of the command"
                )
