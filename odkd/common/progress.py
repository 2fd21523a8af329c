"""The progress of a long task: a bar in a terminal, with rate and time left; elsewhere a log line every few seconds."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, Self, TypeVar

from odkd.common.console import console
from odkd.common.names import visible

logger = logging.getLogger(__name__)

PROGRESS_SECONDS = 5.0  # between two log lines
SLOW = 0.5  # a second; below, a rate is told by the minute
COLUMNS, ROWS = 80, 20  # of a terminal that does not know its size
DRAW_SECONDS = 0.1  # between two drawings of a bar
FORM = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt}{unit}, {rate_noinv_fmt}, {remaining} left{postfix}"
FORM_WITHOUT_TOTAL = "{desc}: {n_fmt}{unit}, {rate_noinv_fmt}, {elapsed} passed{postfix}"
Item = TypeVar("Item")


class Progress:
    """How far a task is. A context manager: at its end the bar is gone, and what the task logs or prints remains.

    Args:
        verb: what is done, as a log line begins: labelled.
        unit: what is counted: frames.
        total: how many there are; None if that is not known, or said with each call.
        done: how many were done before.
        seconds: between two log lines, where there is no bar; None = no lines, because the task logs its own.
    """

    def __init__(
        self, verb: str, unit: str, total: int | None = None, *, done: int = 0, seconds: float | None = PROGRESS_SECONDS
    ) -> None:
        self._verb, self._unit, self._total, self._seconds = verb, unit, total, seconds
        self._first = self._done = done
        self._started = self._told = time.monotonic()
        self._bar: Any = None
        place = console()
        self._has_bar = place is not None and place.has_bars

    def __enter__(self) -> Self:
        if self._total is not None:  # at once, as the first piece of the task may take minutes
            self._draw("", None)
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None

    def __call__(
        self, done: int, total: int | None = None, where: str = "", shown: Callable[[], str] | None = None
    ) -> None:
        """Show how much is done, if what is shown is old enough.

        Args:
            done: how many are done, with those from before.
            total: how many there are.
            where: what is being done, after the unit: " of VIDEO".
            shown: returns what else a bar shows, such as a score; called only if it is drawn.
        """
        self._done, self._total = done, total if total is not None else self._total
        now = time.monotonic()
        if self._has_bar:
            if now - self._told >= DRAW_SECONDS or self._bar is None or done == self._total:
                self._told = now
                self._draw(where, shown)
        elif self._seconds is not None and now - self._told >= self._seconds:
            self._told = now
            self._log(now, where)

    def skip(self, number: int) -> None:
        """Count so many as done before: they say nothing about the rate."""
        self._first += number
        self._done += number
        if self._bar is not None:
            self._bar.initial += number
            self._bar.n = self._bar.last_print_n = self._done

    def advance(self, number: int = 1) -> None:
        """Show that so many more are done."""
        self(self._done + number)

    def _draw(self, where: str, shown: Callable[[], str] | None) -> None:
        if not self._has_bar:
            return
        if self._bar is None:
            self._bar = _new_bar(self._verb, self._unit, self._total, self._first)
            self._bar.start_t = self._bar.last_print_t = time.time() - (time.monotonic() - self._started)
        bar = self._bar
        if bar.total != self._total:
            bar.total, bar.bar_format = self._total, FORM
        bar.ncols = _columns()
        bar.desc = visible(f"{self._verb}{where}")
        if shown is not None:
            bar.postfix = visible(shown())
        if self._done > bar.n:
            bar.update(self._done - bar.n)
        else:
            bar.n = bar.last_print_n = self._done  # less than before: another file
            bar.refresh()

    def _log(self, now: float, where: str) -> None:
        num_new = self._done - self._first
        rate = num_new / (now - self._started)
        fast = f"{rate:.1f}/s" if rate >= SLOW else f"{60 * rate:.1f}/min"
        if self._total is None:
            logger.info("%s %d %s%s (%s)", self._verb, self._done, self._unit, where, fast)
            return
        left = (
            f", {in_time((self._total - self._done) / rate)} left" if num_new > 0 and self._done < self._total else ""
        )
        logger.info("%s %d/%d %s%s (%s%s)", self._verb, self._done, self._total, self._unit, where, fast, left)


def tracked(items: Iterable[Item], verb: str, unit: str, total: int | None = None) -> Iterator[Item]:
    """Yield the items of a long task, and show how many are done.

    >>> list(tracked("ab", "spelled", "letters"))
    ['a', 'b']
    """
    number = len(items) if total is None and isinstance(items, Sized) else total
    with Progress(verb, unit, number) as progress:
        for item in items:
            yield item
            progress.advance()


def in_time(seconds: float) -> str:
    """Return a duration as hours, minutes and seconds.

    >>> in_time(61.4), in_time(3600)
    ('1:01', '1:00:00')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _columns() -> int:
    """Return the width of a terminal; one that does not know its own gets 80 columns."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns or COLUMNS
    except (OSError, ValueError):
        return COLUMNS


def _new_bar(verb: str, unit: str, total: int | None, done: int) -> Any:
    from tqdm import tqdm

    class Bar(tqdm):  # type: ignore[misc]  # the library has no types
        """A bar without the library's own thread: it is drawn when the task says something."""

        monitor_interval = 0

    form = FORM if total is not None else FORM_WITHOUT_TOTAL
    return Bar(
        total=total,
        initial=done,
        desc=visible(verb),
        unit=f" {unit}",
        bar_format=form,
        file=sys.stderr,
        leave=False,
        ncols=_columns(),
        nrows=ROWS,
        mininterval=0,
        miniters=1,
    )
