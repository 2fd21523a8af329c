"""The console of a command: log lines above the bars of long tasks (`progress.py`), which they do not tear."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from odkd.common.names import visible

IN_BAR = {"is_in_bar": True}  # `extra` of a log line whose content a bar shows, if there is one
CLEAR_LINE = "\r\x1b[K"  # to the line's start, and erase it


class Console(logging.StreamHandler[TextIO]):
    """A handler that writes above the bars on stderr, and knows whether this process draws any.

    Several processes may share a terminal. Only the one that the user started draws; the others call `share`.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        super().__init__(stream)
        self.is_shared = False

    def share(self, number: int) -> None:
        """Begin each line with the number of this process's job; draw no bars from now on."""
        self.is_shared = True
        self.setFormatter(logging.Formatter(f"#{number}  %(message)s"))

    @property
    def has_bars(self) -> bool:
        """True if this process draws bars."""
        return is_terminal(sys.stderr) and not self.is_shared

    def format(self, record: logging.LogRecord) -> str:
        text = visible(super().format(record))
        return f"{CLEAR_LINE}{text}" if self.is_shared and is_terminal(self.stream) else text

    def emit(self, record: logging.LogRecord) -> None:
        if getattr(record, "is_in_bar", False) and self.has_bars:
            return
        with written_above_bars(self.stream):
            super().emit(record)


def is_terminal(stream: TextIO) -> bool:
    """True if what is written is read on a screen."""
    with contextlib.suppress(ValueError):  # it is closed
        return stream.isatty()
    return False


@contextlib.contextmanager
def written_above_bars(stream: TextIO) -> Iterator[None]:
    """Take the bars away while something is written, and draw them again below it."""
    library: Any = sys.modules.get("tqdm")  # whoever draws a bar has imported it
    if library is None or not is_terminal(stream):
        yield
        return
    with library.tqdm.external_write_mode(file=stream):
        yield


def say(text: object, *, file: TextIO | None = None, flush: bool = False) -> None:
    """Print what a command answers, above the bar of what it is doing; all that commands and errors say goes this way.

    Names and values of others may be in it, so control characters are written out, and so is what the place of the
    output cannot spell.

    Args:
        file: where to; None = stdout.
        flush: at once, also if nobody watches.
    """
    stream = sys.stdout if file is None else file
    plain = visible(str(text))
    if encoding := getattr(stream, "encoding", None):
        plain = plain.encode(encoding, "backslashreplace").decode(encoding)
    with written_above_bars(sys.stderr):
        print(plain, file=stream, flush=flush or is_terminal(sys.stderr))


def console() -> Console | None:
    """Return the console of this process; None where nobody has set one up, as in a notebook."""
    return next((handler for handler in logging.getLogger().handlers if isinstance(handler, Console)), None)


def log_to_console(level: int = logging.INFO) -> None:
    """Have a command log plain lines to stderr: those of a level and above, and the progress of its long tasks."""
    handler = Console()
    handler.setFormatter(logging.Formatter("%(message)s"))
    logging.basicConfig(level=level, handlers=[handler])
    logging.getLogger("odkd.common.progress").setLevel(logging.INFO)
