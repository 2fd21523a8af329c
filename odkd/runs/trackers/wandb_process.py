"""The process in which the library of Weights & Biases logs one run; `wandb.py` starts it, and asks it line by line.

It ends with its standard input: when the process that started it is gone, however it ended.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from odkd.common.optional import optional


class Session:
    """One run of W&B."""

    def __init__(self) -> None:
        self.run: Any = None

    def init(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Begin the run; nothing is measured, read or sent but what odkd gives.

        Returns:
            The folder that W&B writes, and the last step that it has (-1 for none).
        """
        wandb = optional("wandb", "tracking=wandb")
        quiet = {"silent": True, "console": "off", "disable_git": True, "disable_code": True, "save_code": False}
        quiet |= {"x_disable_meta": True, "x_disable_stats": True, "x_disable_machine_info": True}
        settings = wandb.Settings(**quiet, x_save_requirements=False, x_disable_viewer=True, symlink=False)
        resume = "allow" if arguments["mode"] == "online" else None
        self.run = wandb.init(**arguments, resume=resume, settings=settings)
        return {"folder": str(Path(self.run.dir).parent), "last": self.run.step - 1 if self.run.resumed else -1}

    def rows(self, rows: list[Any]) -> dict[str, Any]:
        """Log lines: step, time, values. W&B writes a step when the next one comes, or the end."""
        for step, seconds, values in rows:
            self.run.log({**values, "_timestamp": seconds}, step=step)
        return {"ok": True}

    def end(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Log the stills with the last step, the final scores and the description, and end the run."""
        wandb = optional("wandb", "tracking=wandb")
        if pictures := [wandb.Image(path, caption=caption) for caption, path in arguments["stills"]]:
            self.run.log({"overlay": pictures}, step=max(arguments["step"], self.run.step))
        self.run.summary.update(arguments["summary"])
        self.run.notes = arguments["notes"]
        self.run.finish(exit_code=arguments["exit_code"])
        return {"ok": True}


def read_lines(lines: TextIO, questions: queue.Queue[dict[str, Any]]) -> None:
    """Pass each line on; end the process with the last one, also while W&B waits for a server."""
    for line in lines:
        questions.put(json.loads(line))
    os._exit(1)


def is_lost(error: BaseException) -> bool:
    """True if W&B cannot be reached, or knows no account; False if its library refuses a run."""
    is_of_place = isinstance(error, ConnectionError | TimeoutError)
    return is_of_place or any(kind.__name__ in ("CommError", "UsageError") for kind in type(error).__mro__)


def main() -> None:
    """Answer questions until the process that asks is gone."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what W&B prints is no answer
    questions: queue.Queue[dict[str, Any]] = queue.Queue()
    threading.Thread(target=read_lines, args=(sys.stdin, questions), daemon=True).start()
    session = Session()
    while True:
        ((name, argument),) = questions.get().items()
        try:
            answer = getattr(session, name)(argument)
        except BaseException as error:
            answer = {"error": " ".join(str(error).split()) or type(error).__name__, "is_out_of_reach": is_lost(error)}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
