"""How a command ends when something is wrong: one line on stderr and an exit code."""

import contextlib
import os
import sys
import traceback
from collections.abc import Iterator
from types import TracebackType

from odkd.common.console import say
from odkd.common.errors import line_of
from odkd.common.reading import brief


@contextlib.contextmanager
def one_line(program: str, *, mistake: int = 2, refused: int = 1) -> Iterator[None]:
    """Turn a mistake, an error of the system and an interruption into one line; a fault of odkd stays a traceback.

    Args:
        program: what the line begins with, such as odkd-prepare camvid.
        mistake: exit code for the user's mistakes.
        refused: exit code for what the operating system refuses, such as a full disk.
    """
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:  # `odkd-labels list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # for the interpreter's flush at exit
        sys.exit(0)
    except KeyboardInterrupt:
        say(f"\n{program}: interrupted; finished work is kept, the same command goes on from here", file=sys.stderr)
        sys.exit(130)
    except Exception as error:
        line = line_of(error) or (brief(error) if isinstance(error, ValueError) else None)
        if line is None:
            sys.excepthook = say_traceback
            raise
        say(f"{program}: {line}", file=sys.stderr)
        sys.exit(refused if isinstance(error, OSError) and error.errno is not None else mistake)


def say_traceback(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """Print a fault's traceback as Python does, for `sys.excepthook`; names of others may be in its message."""
    say("".join(traceback.format_exception(kind, error, trace)).removesuffix("\n"), file=sys.stderr)
