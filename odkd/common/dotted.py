"""Settings as text: dotted keys with their values, and the overrides of a command that set them."""

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from odkd.common.references import escaped

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
NUMBER_OR_SO = r"[+-]?(\d[\d_]*\.?\d*|\.\d+|inf|nan)(e[+-]?\d+)?|true|false|null"
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

    >>> print(quoted("sqlite:////data/my mlflow.db"), quoted("it's"), quoted('"'))
    sqlite:////data/my mlflow.db "it's" '"'
    """
    return value if re.fullmatch(r"[\w/.+%@:-]+( [\w/.+%@:-]+)*", value, re.ASCII) else _in_quotes(value)


def setting(key: str, value: str | float | Sequence[str] | Mapping[str, str | float]) -> str:
    """Return the override that gives a setting these texts, whatever they hold: quotes, a list's commas, ${...}.

    >>> setting("dataset.root", "my videos"), setting("dataset.root", "a,b"), setting("dataset.start", 3)
    ('dataset.root=my videos', 'dataset.root="a,b"', 'dataset.start=3')
    >>> print(setting("+dataset.domains", {"a": "day", "b: c": "${night}"}))
    +dataset.domains={a: day, "b: c": "\\${night}"}
    >>> setting("dataset.classes", ["road", "two words"])
    'dataset.classes=[road,"two words"]'
    """
    return f"{key}={_literal(value)}"


def command(*words: str) -> str:
    """Return a command for odkd as it is typed in a shell.

    >>> command("experiment=camvid_online", setting("dataset.root", "my videos"))
    "odkd experiment=camvid_online 'dataset.root=my videos'"
    """
    return shlex.join(["odkd", *words])


def _literal(value: str | float | Sequence[str] | Mapping[str, str | float]) -> str:
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{_as_key(name)}: {_as_item(item)}' for name, item in value.items())}}}"
    if not isinstance(value, str | float | int):
        return f"[{','.join(map(_as_item, value))}]"
    if not isinstance(value, str) or re.fullmatch(NUMBER_OR_SO, value, re.IGNORECASE):
        return _as_item(value)
    return quoted(escaped(value))


def _as_item(value: str | float) -> str:
    if isinstance(value, str):
        return value if _is_word(value) and not value[0].isdigit() else _in_quotes(escaped(value))
    return f"{value:g}"


def _as_key(name: str) -> str:
    """Return a key of a table: in double quotes, which odkd reads and Hydra alone does not, if it is no plain name."""
    inside = re.sub(r'[\\"]', r"\\\g<0>", name)
    return name if _is_word(name) else f'"{inside}"'


def _is_word(text: str) -> bool:
    return bool(re.fullmatch(r"\w[\w-]*", text, re.ASCII)) and not re.fullmatch(NUMBER_OR_SO, text, re.IGNORECASE)


def _in_quotes(text: str) -> str:
    """Return a text in quotes, double ones if none are in it; a backslash is doubled where it stands before a quote."""
    quote = "'" if '"' in text else '"'
    return quote + re.sub(rf"(\\*)({quote}|$)", lambda found: found[1] * 2 + (found[2] and f"\\{quote}"), text) + quote


def split_override(override: str) -> tuple[str, str]:
    """Return the key of an override, without a leading + or ~, and the value.

    >>> split_override("+window.learn=20")
    ('window.learn', '20')
    """
    key, _, value = override.lstrip("+~").partition("=")
    return key, value
