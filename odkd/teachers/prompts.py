"""The words that a teacher is asked for, `teacher.prompts`, and the classes that they become.

    teacher.prompts={car: car, person: pedestrian}                    words: class
    teacher.prompts={car: [car, van, truck], road: road, *: other}    class: [words, ...]; * = what nothing else is
    teacher.prompts={road: road, car: car, bonnet of our car: null}   null: those pixels are ignored

They are written as `teacher.classes` is, and are part of the labels' identity.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from odkd.common.ignore import IGNORE

REST = "*"  # key for the pixels of no other entry


@dataclass(frozen=True)
class Prompts:
    """What is asked, and what the answers become.

    Args:
        words: asked of the network, in the order that decides ties.
        ids: the class id of each; 255 = ignored.
        classes: names in the order of their ids.
        rest: the class id of pixels of which nothing was found; 255 = ignored.
    """

    words: tuple[str, ...]
    ids: tuple[int, ...]
    classes: tuple[str, ...]
    rest: int


def pairs_of(prompts: Mapping[str, str | Sequence[str] | None]) -> list[tuple[str, str | None]]:
    """Return (words, class) of each prompt in order; class None = ignored.

    >>> pairs_of({"car": ["car", "van"], "person": "pedestrian", "*": "other"})
    [('car', 'car'), ('van', 'car'), ('person', 'pedestrian'), ('*', 'other')]
    """
    pairs: list[tuple[str, str | None]] = []
    for key, value in prompts.items():
        is_list = not (value is None or isinstance(value, str))
        pairs += [(str(words), str(key)) for words in value or ()] if is_list else [(str(key), value)]  # type: ignore[list-item]
    return pairs


def read_prompts(prompts: Mapping[str, str | Sequence[str] | None]) -> Prompts:
    """Return the prompts of `teacher.prompts`.

    Raises:
        ValueError: there is none; words are empty or given twice; or there are not 2 to 255 classes.
    """
    pairs = pairs_of(prompts)
    asked = [words for words, _ in pairs if words != REST]
    if not asked or not all(words.strip() for words in asked):
        raise ValueError(f"teacher.prompts={dict(prompts)}; expected {{words: class}}, such as {{person: pedestrian}}")
    if doubled := next((words for words, _ in pairs if [other for other, _ in pairs].count(words) > 1), None):
        raise ValueError(f"teacher.prompts asks for {doubled} twice; keep one of the two")
    classes = list(dict.fromkeys(name for _, name in pairs if name is not None))
    if not 2 <= len(classes) <= IGNORE:
        raise ValueError(
            f"teacher.prompts gives {len(classes)} classes ({', '.join(classes)}); expected 2 to {IGNORE}: add "
            "prompts, or '*: background' for the pixels of which nothing is found"
        )
    ids = {None: IGNORE} | {name: number for number, name in enumerate(classes)}
    return Prompts(
        tuple(asked),
        tuple(ids[name] for words, name in pairs if words != REST),
        tuple(classes),
        ids[dict(pairs).get(REST)],
    )
