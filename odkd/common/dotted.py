"""Settings as text: dotted keys with their values, and the words of a command that set them."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

# Settings that say where and how, not what: they change no number of a run. Of `run`, only run.repeat does.
WHERE_AND_HOW = (
    "tracking", "paths", "bank", "sweep", "allow_targets", "run.name", "run.restart", "run.checkpoint_overhead",
    "run.plots", "run.overlay_video", "run.report",
)  # fmt: skip
# Of the other groups, what is not in a run's key. What is in a dataset's files, the stream's digest says.
NOT_IN_DATASET = ("root", "prepare", "frame_store", "palette", "download")
NOT_IN_STAGE = ("devices",)  # of the kind of `device`, which is in the key
NOT_OF_THE_TEACHER = (  # keys of a teacher's config that its class is not handed, nor its labels depend on
    "name", "size", "batch_size", "label_set", "classes", "allow_missing", "soft", "licence", "source",
)  # fmt: skip
NOT_OF_THE_STUDENT = ("name", "weights", "freeze", "mean", "std")  # likewise of a student
NOT_HANDED = {  # group -> keys that belong to odkd, not to the class that the group names
    "teacher": NOT_OF_THE_TEACHER,
    "student": NOT_OF_THE_STUDENT,
    "schedule": ("name",),
}
OF_THE_MAPPING = ("size", "label_set", "classes", "soft")  # of those, the ones that are in the key nevertheless


def flatten(value: Any, prefix: str = "", spell: Callable[[Any], str] = str) -> dict[str, str]:
    """Dotted key -> value, spelled; an empty mapping says nothing.

    >>> flatten({"window": {"learn": 67}, "domains": {}})
    {'window.learn': '67'}
    """
    if isinstance(value, Mapping):
        flat: dict[str, str] = {}
        for key, item in value.items():
            flat |= flatten(item, f"{prefix}.{key}" if prefix else str(key), spell)
        return flat
    return {prefix: spell(value)}


def is_in(key: str, places: Iterable[str]) -> bool:
    """Whether a dotted key is one of `places`, or lies below one.

    >>> is_in("run.repeat", ["run"]), is_in("runs", ["run"])
    (True, False)
    """
    return any(key == place or key.startswith(f"{place}.") for place in places)


def quoted(value: str) -> str:
    """A text as the value of an override: in quotes if Hydra would read something else in it.

    >>> quoted("sqlite:////data/mlflow.db"), quoted("it's mine")
    ('sqlite:////data/mlflow.db', "'it\\\\'s mine'")
    """
    is_plain = re.fullmatch(r"[\w/.+%@:-]+", value) is not None
    return value if is_plain else "'" + value.replace("'", r"\'") + "'"


def split_override(override: str) -> tuple[str, str]:
    """The key that an override sets, without what adds or takes it away, and the value.

    >>> split_override("+window.learn=20")
    ('window.learn', '20')
    """
    key, _, value = override.lstrip("+~").partition("=")
    return key, value
