"""Which device and how many threads each of the three processes gets."""

from collections.abc import Mapping

PARTS = ("student", "teacher", "trainer")
NICE = 10  # by which teacher and trainer yield to the student on a CPU


def assigned(wanted: Mapping[str, str], base: str, num_gpus: int) -> dict[str, str]:
    """Return the device of each part; `auto` is that of the run, or one GPU each where there are several.

    Args:
        wanted: part -> device, or auto.
        base: device of the run.
        num_gpus: of the machine.

    >>> assigned(dict.fromkeys(PARTS, "auto"), "cuda", 2)
    {'student': 'cuda:0', 'teacher': 'cuda:1', 'trainer': 'cuda:0'}
    >>> assigned({"student": "auto", "teacher": "cuda:1", "trainer": "auto"}, "cpu", 2)
    {'student': 'cpu', 'teacher': 'cuda:1', 'trainer': 'cpu'}
    """
    is_spread = base == "cuda" and num_gpus > 1
    order = {"student": 0, "teacher": 1, "trainer": 2}
    own = {part: f"cuda:{number % num_gpus}" if is_spread else base for part, number in order.items()}
    return {part: own[part] if wanted[part] == "auto" else wanted[part] for part in PARTS}


def threads_of(devices: Mapping[str, str], cores: int) -> dict[str, int]:
    """Return the CPU threads of each part: half of the cores for a student on the CPU, the rest for the others.

    >>> threads_of(dict.fromkeys(PARTS, "cpu"), 2), threads_of(dict.fromkeys(PARTS, "cpu"), 8)
    ({'student': 1, 'teacher': 1, 'trainer': 1}, {'student': 4, 'teacher': 2, 'trainer': 2})
    """
    of_student = max(1, cores // 2) if devices["student"] == "cpu" else 1
    rest = max(1, cores - of_student)
    return {"student": of_student, "teacher": max(1, rest // 2), "trainer": max(1, rest - rest // 2)}
