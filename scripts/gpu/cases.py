"""The sizes of the parts that measure the loop, on a GPU and in a dry run."""

from gpu.loop import Case

SPEED = (Case((720, 1280), 20, 10, 4), Case((1080, 1920), 20, 10, 3))
SPEED_DRY = (Case((32, 64), 2, 2, 1), Case((64, 96), 2, 2, 1))
MEMORY, MEMORY_DRY = Case((360, 480), 20, 10, 4), Case((32, 64), 4, 4, 2)
WAITS, WAITS_DRY = Case((360, 480), 20, 10, 3), Case((32, 64), 3, 3, 2)


def speed_cases(*, is_dry: bool) -> tuple[Case, ...]:
    """Return the sizes at which the loop is compared with the bare network."""
    return SPEED_DRY if is_dry else SPEED


def memory_case(*, is_dry: bool) -> Case:
    """Return the shorter stream of the two that memory is measured on."""
    return MEMORY_DRY if is_dry else MEMORY


def waits_case(*, is_dry: bool) -> Case:
    """Return the stream on which waits for the device are counted."""
    return WAITS_DRY if is_dry else WAITS


def all_cases(*, is_dry: bool) -> tuple[Case, ...]:
    """Return every size, for their videos to be rendered."""
    return (*speed_cases(is_dry=is_dry), memory_case(is_dry=is_dry), waits_case(is_dry=is_dry))
