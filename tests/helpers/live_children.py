"""What children of a session run in tests of their supervision."""

import os
import time
from typing import Any


def echo(job: str, pipe: Any) -> None:
    """Say everything back, with a word of one's own; die by a signal when told to."""
    pipe.send(("ready",))
    while (message := pipe.recv())[0] != "stop":
        if message[0] == "die":
            os.kill(os.getpid(), 9)
        pipe.send(("echo", job, *message))
    pipe.send(("echo", job, "bye"))


def fail(_: str, pipe: Any) -> None:
    """Fail before being ready, by a mistake of the user."""
    pipe.send(("failed", ValueError("the moon is missing"), "Traceback\nValueError: the moon is missing"))


def hang(_: str, pipe: Any) -> None:
    """Be ready, and listen to nothing."""
    pipe.send(("ready",))
    time.sleep(600)
