"""What a check finds, a check that must not take for ever, and texts without secrets."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from odkd.runs.mlflow_client import secrets_in

Status = Literal["ok", "note", "warning", "broken"]
MASK = "***"
SECRET_VARIABLES = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN", "HF_TOKEN", "WANDB_API_KEY")


@dataclass(frozen=True)
class Finding:
    """One line of a report.

    Args:
        status: ok; note: unusual and harmless; warning: costs time, or fails some day; broken: odkd does not work so.
        text: what was found.
        advice: what to do about it; "" = nothing.
    """

    status: Status
    text: str
    advice: str = ""


@dataclass(frozen=True)
class Section:
    """The findings of one check, and facts for a bug report, by name."""

    findings: list[Finding] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


def bounded(check: Callable[[], Section], seconds: float) -> tuple[Section, bool]:
    """Return what a check finds, and whether it has ended; one that fails, or has no answer in time, is broken.

    Args:
        check: runs in a thread, which goes on where it hangs and ends with the process.
        seconds: to wait for it.
    """
    found: list[Section] = []

    def work() -> None:
        try:
            found.append(check())
        except Exception as error:  # a check must not hide the others
            line = " ".join(str(error).split())[:300] or type(error).__name__
            found.append(Section([Finding("broken", line)]))

    thread = threading.Thread(target=work, daemon=True)
    thread.start()
    thread.join(seconds)
    if found:
        return found[0], True
    advice = "look at the server or the disk that it asks"
    return Section([Finding("broken", f"no answer within {seconds:g} s", advice)]), False


def secrets_of(uris: Iterable[str | None], environment: Mapping[str, str]) -> list[str]:
    """Return the passwords and tokens in addresses and in the environment, the longest first.

    >>> secrets_of(["http://me:s3cret@host/x?token=abcdef"], {"HF_TOKEN": "hf_longest"})
    ['hf_longest', 'abcdef', 's3cret']
    """
    found = {environment[name] for name in SECRET_VARIABLES if environment.get(name)}
    found |= {secret for uri in filter(None, uris) for secret in secrets_in(uri)}
    return sorted((secret for secret in found if len(secret) > 1), key=lambda text: (-len(text), text))


def scrubbed(value: Any, secrets: Iterable[str]) -> Any:
    """Return plain values without secrets, and with ~ for the home folder, in each of their texts."""
    if isinstance(value, dict):
        return {key: scrubbed(item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [scrubbed(item, secrets) for item in value]
    if not isinstance(value, str):
        return value
    for secret in secrets:
        value = value.replace(secret, MASK)
    home = str(Path.home())
    return re.sub(rf"{re.escape(home)}(?=/|$|[ ,;:)])", "~", value) if len(home) > 1 else value
