"""Settings of a command for which its stage has no use."""

from collections.abc import Iterator, Sequence

from odkd.common.dotted import split_override

USED_WITH = {  # group -> the part of a run that is made of it
    "replay": "replay",
    "window": "window",
    **dict.fromkeys(("student", "loss", "optimizer", "regularizer", "updates", "augmentation", "features"), "learner"),
    "schedule": "schedule",
    "pace": "pace",
    "timing": "clock",
}
ALSO = {"live": ("replay",)}  # part -> others that are built with it


def unused_words(words: Sequence[str], asked: Sequence[str], stage: str) -> Iterator[str]:
    """Yield a line for each group that the words of a command set and the stage does not use.

    Args:
        words: what was typed: replay=mir.
        asked: the parts that the stage asks for.
        stage: its name.

    Raises:
        ValueError: a baseline is chosen, and the stage does not use the replay memory by which it is one.
    """
    by_group: dict[str, list[str]] = {}
    for word in words:
        key, value = split_override(word)
        by_group.setdefault(key.partition(".")[0], []).append(word)
        if key == "baseline" and value not in ("null", "") and not {"replay", "equip"} & {*asked}:
            raise ValueError(f"{word} is for a stream, and stage={stage} has none; choose stage=online, or no baseline")
    asked = [*asked, *(name for part in asked for name in ALSO.get(part, ()))]
    for group, part in USED_WITH.items():
        is_used = part in asked or ("equip" in asked and part != "schedule")  # for each of several students
        if group in by_group and not is_used:
            yield f"{' '.join(by_group[group])} has no effect: stage={stage} uses no {group}"
