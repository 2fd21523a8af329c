"""Console script `odkd-doctor`: whether odkd can work here, and what a bug report needs to say."""

from __future__ import annotations

import argparse
import json
import os
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from odkd.common.arguments import Arguments, add_version, version_text
from odkd.common.console import say
from odkd.common.ending import one_line
from odkd.common.names import counted, nearest

if TYPE_CHECKING:
    from omegaconf import DictConfig

    from odkd.commands.doctor.findings import Section

DESCRIPTION = """\
Check this machine for odkd, in less than a minute: installed releases and whether odkd was tested with them, extras,
devices and the speed of each precision, decoder and codecs, room and locks where outputs and caches are, MLflow and
its tables, and settings that people are surprised by.

  odkd-doctor                                      of runs in this folder
  odkd-doctor paths.outputs=/data/me tracking.uri=http://server:5000
  odkd-doctor --json > doctor.json                 for a bug report; passwords and tokens are not in it
  odkd-doctor --only disks,mlflow

It ends with code 1 if something is broken: odkd, or a part of it, does not work so.
"""
WIDTH = 118  # letters in a line
SECONDS = {  # that a check may take
    "versions": 20.0,
    "imports": 140.0,
    "devices": 60.0,
    "video": 40.0,
    "disks": 20.0,
    "mlflow": 30.0,
    "settings": 20.0,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Check; a mistake in the command becomes one message and exit code 2, something broken exit code 1."""
    parser = Arguments(
        prog="odkd-doctor", description=DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_version(parser)
    parser.add_argument("settings", nargs="*", metavar="KEY=VALUE", help="as for odkd: paths, tracking, an experiment")
    some = f"some of them: {', '.join(SECONDS)}"
    parser.add_argument("--only", type=names_of, metavar="CHECK,CHECK", help=some)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--config-dir", metavar="FOLDER", help="folder of your own YAML groups, as for odkd")
    args = parser.parse_intermixed_args(arguments)
    with one_line("odkd-doctor"):
        try:
            code, have_ended = run(args)
        except ModuleNotFoundError as error:  # without it nothing can be checked
            advice = "install odkd and what it needs: pip install --force-reinstall odkd"
            say(f"odkd-doctor: {error.name} is not installed; {advice}", file=sys.stderr)
            sys.exit(1)
        if have_ended:
            sys.exit(code)
        sys.stdout.flush()
        os._exit(code)  # a check that hangs would hold up the end of the process


def names_of(text: str) -> list[str]:
    """Return the checks in a list with commas.

    Raises:
        argparse.ArgumentTypeError: one is none.
    """
    names = [name.strip() for name in text.split(",")]
    if unknown := [name for name in names if name not in SECONDS]:
        message = f"there is no check {unknown[0]}{nearest(unknown[0], SECONDS)} (known: {', '.join(SECONDS)})"
        raise argparse.ArgumentTypeError(message)
    return names


@dataclass(frozen=True)
class Asked:
    """What a run would use, according to its config.

    Args:
        paths: folders by name.
        address: of MLflow; None = runs are not tracked.
    """

    paths: Mapping[str, str]
    address: str | None


def run(args: argparse.Namespace) -> tuple[int, bool]:
    """Make the checks and print what they find; return the exit code, and whether all have ended.

    Raises:
        ValueError: a mistake in the command.
    """
    from odkd.commands.doctor.findings import bounded, scrubbed, secrets_of

    names = [name for name in SECONDS if not args.only or name in args.only]
    asked = asked_by(args) if {"disks", "mlflow"} & set(names) else Asked({}, None)
    secrets = secrets_of([asked.address, os.environ.get("MLFLOW_TRACKING_URI")], os.environ)
    sections: dict[str, Any] = {}
    have_ended = True
    for name, check in checks(asked, names).items():
        section, has_ended = bounded(check, SECONDS[name])
        have_ended &= has_ended
        sections[name] = scrubbed(asdict(section), secrets)
        if not args.json:
            say(text_of(name, sections[name]["findings"]), flush=True)
    counts = count(sections)
    if args.json:
        say(json.dumps({"odkd": version_text(), "counts": counts, "checks": sections}, indent=1))
    else:
        say(verdict(counts))
    return (1 if counts["broken"] else 0), have_ended


def asked_by(args: argparse.Namespace) -> Asked:
    """Return what the settings of the command ask for.

    Raises:
        ValueError: a mistake in them.
    """
    from odkd.config.compose import compose_table_config
    from odkd.runs.mlflow_place import has_mlflow, place_of

    cfg: DictConfig = compose_table_config(args.settings, args.config_dir)
    paths = {str(name): str(path) for name, path in cfg.paths.items()}
    return Asked(paths, place_of(cfg)["uri"] if has_mlflow(cfg) else None)


def checks(asked: Asked, names: Sequence[str]) -> dict[str, Callable[[], Section]]:
    """Return the checks by name, in the order of SECONDS."""
    from odkd.commands.doctor.devices import check_devices
    from odkd.commands.doctor.disks import check_disks
    from odkd.commands.doctor.imports import check_imports
    from odkd.commands.doctor.settings import check_settings, variables_of_system
    from odkd.commands.doctor.tracking import check_tracking
    from odkd.commands.doctor.versions import check_versions
    from odkd.commands.doctor.video import check_video

    every: dict[str, Callable[[], Section]] = {
        "versions": check_versions,
        "imports": check_imports,
        "devices": check_devices,
        "video": check_video,
        "disks": partial(check_disks, asked.paths),
        "mlflow": partial(check_tracking, asked.address, os.environ),
        "settings": partial(check_settings, variables_of_system()),
    }
    return {name: every[name] for name in names}


def text_of(name: str, findings: Sequence[Mapping[str, str]]) -> str:
    """Return the findings of a check as text.

    >>> print(text_of("disks", [{"status": "warning", "text": "little room", "advice": "make room"}]))
    disks
      warning  little room
               make room
    """
    lines = [name]
    for finding in findings:
        lines.append(_wrapped(finding["text"], f"  {finding['status']:<9}"))
        if finding["advice"]:
            lines.append(_wrapped(finding["advice"], " " * 11))
    return "\n".join(lines)


def _wrapped(text: str, begin: str) -> str:
    keep: dict[str, Any] = {"break_long_words": False, "break_on_hyphens": False}
    return textwrap.fill(text, WIDTH, initial_indent=begin, subsequent_indent=" " * 11, **keep)


def count(sections: Mapping[str, Any]) -> dict[str, int]:
    """Return how many findings have each status."""
    found = [finding["status"] for section in sections.values() for finding in section["findings"]]
    return {status: found.count(status) for status in ("ok", "note", "warning", "broken")}


def verdict(counts: Mapping[str, int]) -> str:
    """Return the last line.

    >>> verdict({"ok": 5, "note": 0, "warning": 2, "broken": 0})
    'nothing is broken; 2 warnings'
    """
    broken = f"{counts['broken']} broken" if counts["broken"] else "nothing is broken"
    return f"{broken}; {counted(counts['warning'], 'warning')}"


if __name__ == "__main__":
    main()
