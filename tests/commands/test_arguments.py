"""The parser of all commands: what it repeats of a command line may be the name of somebody else's file."""

import importlib
import importlib.metadata
from collections.abc import Sequence

import pytest

CLEAR_SCREEN = "\x1b[2J"
COMMANDS = {
    script.name: script.value.partition(":")[0]
    for script in importlib.metadata.entry_points(group="console_scripts")
    if script.value.startswith("odkd.") and script.name != "odkd"  # its words are Hydra's
}
WORDS = (
    [f"--{CLEAR_SCREEN}"],
    [CLEAR_SCREEN, f"--{CLEAR_SCREEN}"],
    ["a", "--to", CLEAR_SCREEN],
    ["a", "b", "--to", "x", f"--b{CLEAR_SCREEN}"],
)


@pytest.mark.parametrize("name", COMMANDS)
def test_mistakes_in_a_command_line_are_shown_without_control_characters(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    command = importlib.import_module(COMMANDS[name]).main
    repeated = [said for words in WORDS if "[2J" in (said := refused(command, words, capsys, monkeypatch))]

    assert repeated  # at least one of them
    assert not any("\x1b" in said for said in repeated)


def refused(
    command: object, words: Sequence[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> str:
    """Return what a command answers to words that it does not know."""
    assert callable(command)
    monkeypatch.setattr("sys.argv", ["command", *words])
    with pytest.raises(SystemExit) as ending:
        command()
    assert ending.value.code == 2
    return capsys.readouterr().err
