"""What commands print: texts of any script as they are, and nothing that a terminal would obey."""

import io
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

from odkd.common import ending
from odkd.common.console import say
from odkd.common.ending import one_line
from odkd.common.names import visible
from odkd.common.progress import Progress

TITLE, RED, C1, TURN = "\x1b]0;owned\x07", "\x1b[31m", "\x9b31m", "\u202e"
HARMLESS = [
    "plain 0.5 |",
    "café ñ ß",
    "日本\u3000道路",
    "не́бо",
    "می\u200cخواهم",
    "👩\u200d🔬",
    "10\u00a0%\u2009px",
    "a\n\tb",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_texts_of_all_scripts_are_printed_as_they_are(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(text)
    assert capsys.readouterr().out == f"{text}\n"


@pytest.mark.parametrize("text", [TITLE, RED, C1, TURN, "a\rb", "\x7f", "\u2028", "\udce9"])
def test_what_a_terminal_would_obey_is_written_out(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    say(f"name {text}", file=sys.stderr)
    assert capsys.readouterr().err.removesuffix("\n").isprintable()
    assert visible(text).isprintable()


def test_a_letter_that_the_output_cannot_spell_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="latin-1", errors="strict"))
    say("é 日")
    sys.stdout.flush()
    assert raw.getvalue() == b"\xe9 \\u65e5\n"


def raised(error: Exception) -> Callable[[], None]:
    def fail() -> None:
        with one_line("odkd-x"):
            raise error

    return fail


@pytest.mark.parametrize("error", [OSError(2, "no such file", f"a{TITLE}.png"), ValueError(f"{RED} is no class")])
def test_the_line_of_an_error_has_nothing_that_a_terminal_would_obey(
    error: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        raised(error)()
    told = capsys.readouterr().err
    assert told.startswith("odkd-x: ")
    assert told.count("\n") == 1
    assert told[:-1].isprintable()


def test_nor_has_the_traceback_of_a_fault(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "excepthook", sys.__excepthook__)
    with pytest.raises(KeyError) as caught:
        raised(KeyError(f"a{TITLE}"))()
    assert sys.excepthook is ending.say_traceback
    fault = RuntimeError(f"a{TITLE}")
    sys.excepthook(RuntimeError, fault, caught.tb)
    told = capsys.readouterr().err
    assert told.startswith("Traceback (most recent call last):\n")
    assert told.endswith("RuntimeError: a\\x1b]0;owned\\x07\n")


def test_a_traceback_is_printed_as_python_prints_it() -> None:
    def printed(hook: str) -> str:
        code = f"import sys; from odkd.common.ending import say_traceback\n{hook}\ntry:\n    1 / 0\n"
        code += "except ZeroDivisionError as error:\n    raise ValueError('日本') from error\n"
        return subprocess.run([sys.executable, "-X", "utf8", "-c", code], capture_output=True, text=True).stderr

    assert printed("sys.excepthook = say_traceback").replace("line 7", "") == printed("pass").replace("line 7", "")


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_nor_has_a_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    screen: Any = Screen()
    monkeypatch.setattr(sys, "stderr", screen)
    bar = Progress(f"wrote {TITLE}", "maps", 3)
    bar._has_bar = True
    with bar:
        bar(1, where=f" of {RED}", shown=lambda: TITLE)
    assert "owned" in screen.getvalue()
    assert "]0;owned\x07" not in screen.getvalue()
    assert RED not in screen.getvalue()
