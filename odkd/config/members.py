"""Teachers made of teachers: how the members of `teacher=ensemble` are written in a config."""

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig

ENSEMBLE = "odkd.teachers.ensemble.Ensemble"
CHOICE = "teacher"  # key of a member that names a file of conf/teacher
Read = Callable[[str], Mapping[str, Any]]


def members_of(teacher: Mapping[str, Any] | DictConfig) -> dict[str, Any]:
    """Return the members of a teacher's settings by name; none if it is no ensemble."""
    if teacher.get("_target_") != ENSEMBLE or "members" not in teacher:
        return {}
    return dict(teacher["members"].items())


def with_members(teacher: DictConfig, place: str = "teacher") -> Iterator[tuple[str, DictConfig]]:
    """Yield a teacher's settings and those of its members, at any depth, by their dotted keys."""
    yield place, teacher
    for name, member in members_of(teacher).items():
        yield from with_members(member, f"{place}.members.{name}")


def expand(teacher: Mapping[str, Any], common: Mapping[str, Any], read: Read, place: str = "teacher") -> dict[str, Any]:
    """Return a teacher's settings, whole: with those that every teacher has, and its members' from their files.

    Args:
        teacher: plain settings, as composed.
        common: settings that every teacher has.
        read: returns the settings of the teacher with a name.
        place: dotted key of the settings.

    Raises:
        ValueError: the members are no table of teachers.
    """
    whole = {**common, **teacher}
    if isinstance(whole["soft"], Mapping):
        whole["soft"] = {**common["soft"], **whole["soft"]}
    members = whole.get("members")
    if whole.get("_target_") != ENSEMBLE or members == "???":
        return whole
    if not (isinstance(members, Mapping) and members):
        raise ValueError(
            f"{place}.members={members}; expected a table of teachers, such as {{a: NAME, b: {{teacher: NAME}}}}"
        )
    whole["members"] = {
        name: _member(member, common, read, f"{place}.members.{name}", str(name)) for name, member in members.items()
    }
    return whole


def _member(member: Any, common: Mapping[str, Any], read: Read, place: str, name: str) -> dict[str, Any]:
    if not re.fullmatch(r"[A-Za-z_][\w-]*", name, re.ASCII):
        raise ValueError(f"{place}: expected a name of letters, digits, _ and -, with a letter in front")
    settings = {CHOICE: member} if isinstance(member, str) else member
    if not isinstance(settings, Mapping) or not ({CHOICE, "_target_"} & set(settings)):
        raise ValueError(f"{place}={member}; expected the name of a teacher, or {{teacher: NAME, key: value, ...}}")
    own = {key: value for key, value in settings.items() if key != CHOICE}
    chosen: Mapping[str, Any] = {}
    if CHOICE in settings:
        try:
            chosen = read(str(settings[CHOICE]))
        except ValueError as error:
            raise ValueError(f"{place}: {error}") from error
    whole = expand({**chosen, **own}, common, read, place)
    for key, is_set in {"size": whole["size"], "soft": whole["soft"] and whole["soft"].get("top_k")}.items():
        if is_set:
            raise ValueError(f"{place}.{key} is set; members see what the ensemble sees: set teacher.{key} instead")
    return whole
