"""Settings as text: dotted keys with their values, and the overrides of a command that set them."""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

# Settings of storage, display and execution, which change no result of a run. In the group `run`, only run.repeat does.
WHERE_AND_HOW = (
    "tracking",
    "paths",
    "bank",
    "sweep",
    "allow_targets",
    "run.name",
    "run.restart",
    "run.checkpoint_overhead",
    "run.plots",
    "run.overlay_video",
    "run.report",
    "run.snapshots",
)
# Keys of other groups that are not in a run's key. The digest of the stream stands for a dataset's files.
NOT_IN_DATASET = ("root", "prepare", "frame_store", "palette", "download")
NOT_IN_STAGE = ("devices",)  # they are of the same type as `device`, which is in the key
NOT_IN_LIVE = ("seconds", "repeats", "patience", "record", "page", "port", "host")  # the same for stage=live
NOT_OF_THE_TEACHER = (  # keys of a teacher's config that are not passed to its class and do not change its own labels
    "name",
    "size",
    "batch_size",
    "label_set",
    "classes",
    "allow_missing",
    "soft",
    "licence",
    "source",
)
# the same for a student
NOT_OF_THE_STUDENT = ("name", "weights", "freeze", "rates", "mean", "std", "ema", "saved", "statistics")
NOT_OF_THE_UPDATES = ("sent",)
NOT_HANDED = {  # group -> keys that odkd uses itself and does not pass to the class of the group
    "teacher": NOT_OF_THE_TEACHER,
    "student": NOT_OF_THE_STUDENT,
    "schedule": ("name",),
    "updates": NOT_OF_THE_UPDATES,
}
MEMBER = re.compile(r"teacher(\.members\.[^.]+)+")  # place of a teacher in a teacher made of teachers
OF_THE_MAPPING = ("size", "label_set", "classes", "soft")  # those of NOT_OF_THE_TEACHER that are in the key anyway


def not_handed(place: str) -> tuple[str, ...]:
    """Return the keys of a part of the config that odkd uses itself and does not pass to the part's class.

    >>> not_handed("teacher.members.a") == not_handed("teacher"), not_handed("schedule"), not_handed("loss")
    (True, ('name',), ())
    """
    return NOT_HANDED.get("teacher" if MEMBER.fullmatch(place) else place, ())


def flatten(value: Any, prefix: str = "", spell: Callable[[Any], str] = str) -> dict[str, str]:
    """Return dotted key -> value as text; an empty mapping adds no key.

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
    """True if a dotted key is one of `places`, or lies below one.

    >>> is_in("run.repeat", ["run"]), is_in("runs", ["run"])
    (True, False)
    """
    return any(key == place or key.startswith(f"{place}.") for place in places)


def quoted(value: str) -> str:
    """Return a text as the value of an override: in quotes if Hydra would read it differently.

    >>> quoted("sqlite:////data/mlflow.db"), quoted("it's mine")
    ('sqlite:////data/mlflow.db', "'it\\\\'s mine'")
    """
    is_plain = re.fullmatch(r"[\w/.+%@:-]+", value, re.ASCII) is not None
    escaped = re.sub(r"(\\*)('|$)", lambda found: found[1] * 2 + found[2].replace("'", r"\'"), value)
    return value if is_plain else f"'{escaped}'"  # a backslash is doubled where it stands before a quote


def split_override(override: str) -> tuple[str, str]:
    """Return the key of an override, without a leading + or ~, and the value.

    >>> split_override("+window.learn=20")
    ('window.learn', '20')
    """
    key, _, value = override.lstrip("+~").partition("=")
    return key, value
