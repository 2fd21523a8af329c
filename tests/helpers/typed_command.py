"""The `odkd` command in this process, for commands that end before they compute anything."""

import contextlib
import io
import logging
import os
import sys
from pathlib import Path

import pytest

from odkd.__main__ import main

CHEAP = ["debug=smoke", "tracking=none", "run.report=false"]


def refusal(folder: Path, *words: str) -> str:
    """Return the message that refuses a command, given in a folder; it is one line, and nothing is left there."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.delenv("HYDRA_FULL_ERROR", raising=False)
        patch.setattr(sys, "path", list(sys.path))
        patch.setattr(sys, "argv", ["odkd", *words])
        patch.setattr(logging.root, "handlers", list(logging.root.handlers))
        with pytest.raises(SystemExit) as ending, contextlib.redirect_stderr(io.StringIO()) as captured:
            main()
        os.environ.pop("HYDRA_FULL_ERROR", None)
    assert ending.value.code == 2, captured.getvalue()
    lines = captured.getvalue().splitlines()
    assert len(lines) == 1, captured.getvalue()
    assert lines[0].startswith("odkd: ")
    assert "hydra.cc" not in lines[0]
    assert not (folder / "outputs" / "runs").exists()
    return lines[0].removeprefix("odkd: ")
