"""The `odkd` command: parse it, run the job or the sweep, turn a mistake into one message.

Hydra composes the config and calls `Job`, once for a run; for a sweep (-m), through a sweeper of hydra_plugins/.
"""

import logging
import os
import signal
import sys
from pathlib import Path

import hydra
import yaml
from hydra._internal.utils import get_args_parser
from hydra.errors import HydraException, InstantiationException
from omegaconf.errors import OmegaConfBaseException

from odkd.commands.help import help_text
from odkd.commands.options import read_command
from odkd.common.arguments import version_text
from odkd.common.compiler import compiler_message
from odkd.common.console import say
from odkd.common.ending import say_traceback
from odkd.common.errors import line_of
from odkd.config.known import CONF, known_groups, known_keys
from odkd.config.messages import explain
from odkd.runs.outcome import Terminated

logger = logging.getLogger(__name__)


def terminate(*_: object) -> None:
    """Handle SIGTERM, so that a terminated run is marked as killed.

    Raises:
        Terminated: always.
    """
    raise Terminated


def main() -> None:
    """Run the `odkd` command. A mistake of the user is one message and exit code 2; a fault is a traceback and 1."""
    sys.path.append(str(Path.cwd()))  # a user-defined class, named by _target_, may lie in the working folder
    asked = os.environ.get("HYDRA_FULL_ERROR")
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors come to us instead of being printed by Hydra
    previous = signal.signal(signal.SIGTERM, terminate)
    try:
        if not is_answered():
            run()
    except KeyboardInterrupt:
        say("\nodkd: interrupted; the same command goes on from here", file=sys.stderr)
        sys.exit(130)  # the exit code of a command that Ctrl-C has ended
    except BrokenPipeError:  # `odkd --help | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except Exception as error:
        message = None if asked == "1" else user_message(error)
        if message is None:
            sys.excepthook = say_traceback
            raise
        say(f"odkd: {message}", file=sys.stderr)
        sys.exit(2)
    finally:
        signal.signal(signal.SIGTERM, previous)
        os.environ.pop("HYDRA_FULL_ERROR", None) if asked is None else os.environ.update(HYDRA_FULL_ERROR=asked)


def run() -> None:
    """Have Hydra compose the config and call the job, or a sweep call its jobs; raise what ended a single run."""
    from odkd.commands.job import Job  # not before: --help and a misspelt word need none of what it imports

    job = Job()
    hydra.main(config_path=str(CONF), config_name="config", version_base="1.3")(job)()
    if job.failures:  # kept there, because Hydra would print the command above the message
        raise job.failures[0]


def is_answered() -> bool:
    """Answer --version and --help; True if that is all. Otherwise `sys.argv` gets the words that Hydra reads.

    Raises:
        ValueError: an unknown option, or a word that is no setting.
    """
    if "--version" in sys.argv:
        say(version_text())
        return True
    given, sys.argv[1:] = read_command(sys.argv[1:], get_args_parser(), known_groups(), known_keys)
    if given.help:
        say(help_text(given.config_dir))
    return bool(given.help)


def user_message(error: BaseException) -> str | None:
    """Return the message for a mistake of the user; None for a fault, which needs its traceback."""
    while isinstance(error, InstantiationException) and error.__cause__ is not None:
        error = error.__cause__  # Hydra wraps what a constructor raises
    if isinstance(error, HydraException | OmegaConfBaseException):
        own_folder: str | None = get_args_parser().parse_known_args()[0].config_dir
        return explain(error, known_keys(own_folder), known_groups(own_folder)).replace("\n", " ")
    if isinstance(error, yaml.MarkedYAMLError):
        place = f"{error.problem_mark.name}, line {error.problem_mark.line + 1}" if error.problem_mark else "a file"
        return f"{place.replace('file://', '')}: not valid YAML: {error.problem or error}"
    return line_of(error) or compiler_message(error)


if __name__ == "__main__":
    main()
