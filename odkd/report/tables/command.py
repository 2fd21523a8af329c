"""Console script `odkd-tables`: rebuild a paper table from the runs in the MLflow store, or list missing runs."""

import argparse
import logging
import shlex
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from odkd.common.arguments import Arguments, add_version
from odkd.common.console import log_to_console, say
from odkd.common.dotted import setting
from odkd.common.ending import one_line
from odkd.common.files import write_atomic
from odkd.common.names import counted
from odkd.config.known import known_groups, known_keys
from odkd.config.words import read_settings
from odkd.report.tables.cells import Filled, needs, place_of
from odkd.report.tables.commands import grouped_arguments, grouped_commands
from odkd.report.tables.costs import with_costs
from odkd.report.tables.incomplete import Advice, complaints
from odkd.report.tables.latex import latex
from odkd.report.tables.planning import plan_of_seeds
from odkd.report.tables.published import Published, published_beside
from odkd.report.tables.render import markdown, to_csv
from odkd.report.tables.spec import Row, Table, Variant, check_seeds, load_table
from odkd.report.tables.spec_files import known_tables
from odkd.report.tables.stores import look_up, outputs_read, store_uri, store_words
from odkd.report.tables.wanted import Settings, join, wanted_settings
from odkd.runs.mlflow_client import without_password
from odkd.runs.mlflow_store import StoreError
from odkd.runs.sync import brief
from odkd.runs.trackers.mlflow import advice

FORMATS: dict[str, Callable[[Filled, Published | None], str]] = {
    "markdown": markdown,
    "latex": latex,
    "csv": to_csv,
}

EPILOG = """\
examples:
  odkd-tables houyon2023/table1_synthetic                     print it, or the commands that would fill it
  odkd-tables houyon2023/table1_synthetic --seeds             how many seeds a difference of a point needs
  odkd-tables houyon2023/table1_synthetic --missing | bash    run the missing runs
  odkd-tables my_table.yaml --config-dir my_conf 'allow_targets=[my_replay]' --run      with your own method
  odkd-tables houyon2023/table1 dataset.root=my_videos device=cuda --format latex --output table1.tex
KEY=VALUE are overrides of odkd for all runs of the table: the folder of your data, a device, other settings."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command; exit code 1 if cells are missing or doubled, 2 for a user's mistake."""
    parser = Arguments(
        "odkd-tables", description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_choices(parser, seeds="*")
    parser.add_argument("--format", choices=FORMATS, default="markdown")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write to a file instead of printing")
    parser.add_argument("--missing", action="store_true", help="print only the commands that fill the table")
    parser.add_argument("--run", action="store_true", help="run those commands first, one after the other")
    parser.add_argument(
        "--costs", action="store_true", help="add updates, teacher's frames, learning time and peak memory"
    )
    parser.add_argument(
        "--difference", type=float, default=1.0, help="with --seeds alone: how many seeds a difference of this needs"
    )
    chosen = parser.parse_intermixed_args(arguments)
    obey(chosen, make, lambda: say(listing()))


def obey(
    chosen: argparse.Namespace, make_it: Callable[[argparse.Namespace], None], list_all: Callable[[], None]
) -> None:
    """List all tables or make the chosen one; a user's mistake or an unreadable store is reported in one line."""
    log_to_console(logging.WARNING)
    with one_line(chosen.program):
        try:
            if chosen.list or chosen.name is None:
                list_all()
            else:
                make_it(chosen)
        except StoreError as error:
            uri, _ = store_uri(chosen)
            where = without_password(uri)
            sys.exit(
                fail(
                    f"{chosen.program}: MLflow at {where}: {brief(error).rstrip('.')}. {advice(uri, error)}".rstrip(), 2
                )
            )


def add_choices(parser: Arguments, *, seeds: str = "+") -> None:
    """Add the arguments that tables and figures share, and the program name for messages.

    Args:
        seeds: "+": --seeds names some; "*": it may stand alone.
    """
    parser.set_defaults(program=parser.prog)
    add_version(parser)
    parser.add_argument("name", nargs="?", help="a table (see --list), or the path of your YAML file")
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="settings of all runs, as for odkd")
    parser.add_argument("--uri", help="MLflow store (default: mlflow.db in paths.outputs, or tracking.uri)")
    parser.add_argument("--config-dir", metavar="FOLDER", help="folder of your own YAML groups, as for odkd")
    parser.add_argument("--experiment", help="use only runs of this MLflow experiment")
    parser.add_argument("--seeds", type=int, nargs=seeds, help="instead of the seeds of the table and its rows")
    parser.add_argument(
        "--newest", action="store_true", help="use the newest of runs with equal settings, even if data or code differ"
    )
    parser.add_argument("--allow-missing", action="store_true", help="leave missing cells empty")
    parser.add_argument("--list", action="store_true", help="list all tables")


def make(chosen: argparse.Namespace) -> None:
    """Print or write a table, run its missing runs, or list their commands."""
    table = with_choices(load_table(chosen.name), chosen)
    table = with_costs(table) if chosen.costs else table
    published = published_beside(table)
    filled, _ = look_up(table, chosen)
    if chosen.run and filled.missing:
        run(grouped_arguments(missing.job for missing in filled.missing))
        filled, _ = look_up(table, chosen)
    if chosen.missing:
        for command in grouped_commands(missing.job for missing in filled.missing):
            say(command)
        return
    check_complete(filled, chosen)
    plans = chosen.seeds is not None and not chosen.seeds
    text = plan_of_seeds(filled, chosen.difference) if plans else FORMATS[chosen.format](filled, published)
    if chosen.output is None:
        say(text.removesuffix("\n"))
    else:
        write_atomic(chosen.output, text.encode())
        say(f"wrote {chosen.output}", file=sys.stderr)


def with_choices(table: Table, chosen: argparse.Namespace) -> Table:
    """Return the table with the overrides, seeds and YAML folder of the command line."""
    for override in chosen.overrides:
        if "=" not in override or override.startswith("seed="):
            raise ValueError(f"{override}: expected KEY=VALUE, a setting of odkd (give seeds with --seeds)")
    chosen.overrides = read_settings(chosen.overrides, known_groups(), known_keys)
    if chosen.seeds:
        rows = tuple(replace(row, seeds=None) for row in table.rows)
        table = replace(table, seeds=check_seeds("--seeds", chosen.seeds), rows=rows)
    words = join(chosen.overrides, store_overrides(chosen))
    table = replace(table, chosen=words, config_dir=chosen.config_dir)
    check_rows_differ(table)
    return table


def store_overrides(chosen: argparse.Namespace) -> list[str]:
    """Return the overrides that make runs log to the chosen store and experiment."""
    uri = [setting("tracking.uri", store_uri(chosen)[0])] if chosen.uri else []
    return uri + ([setting("tracking.experiment", chosen.experiment)] if chosen.experiment else [])


def check_rows_differ(table: Table) -> None:
    """Check that the overrides of the command line leave the runs of the table different.

    Raises:
        ValueError: runs of two places would become equal that differ in the table's YAML.
    """
    before = replace(table, chosen=())
    own = {(row, variant): jobs[0] for row, variant, jobs in needs(before)} if table.chosen else {}
    known: list[tuple[Row, Variant, Settings]] = []
    for row, variant, jobs in needs(table) if table.chosen else []:
        here = wanted_settings(replace(jobs[0], seed=0))
        for other_row, other_variant, there in known:
            if here.is_as(there) and not here.untold(there):
                one, two = own[row, variant], own[other_row, other_variant]
                if not wanted_settings(replace(one, seed=0)).is_as(wanted_settings(replace(two, seed=0))):
                    raise ValueError(
                        f"{' '.join(table.chosen)}: with it, {place_of(other_row, other_variant)} and "
                        f"{place_of(row, variant)} of {table.name} would be the same runs; leave it out"
                    )
        known.append((row, variant, here))


def check_complete(filled: Filled, chosen: argparse.Namespace) -> None:
    """Exit with code 1 and a message with commands, if a cell is missing or doubled."""
    where = "in MLflow" if outputs_read(chosen) is None else "with their folders"
    commands = again("odkd-tables", chosen), again(chosen.program, chosen)
    words = Advice(chosen.program, store_words(chosen), *commands, where)
    if lines := complaints(filled, words, allow_missing=chosen.allow_missing, newest=chosen.newest):
        uri, _ = store_uri(chosen)
        sys.exit(fail("\n".join(lines).replace(uri, without_password(uri)), 1))


def again(program: str, chosen: argparse.Namespace) -> str:
    """Return the command of `program` for the chosen table and store."""
    words = [program, chosen.name, *chosen.overrides]
    for option in ("config_dir", "uri", "experiment"):
        if (value := getattr(chosen, option)) is not None:
            words += [f"--{option.replace('_', '-')}", value]
    return shlex.join([*words, *(["--seeds", *map(str, chosen.seeds)] if chosen.seeds else [])])


def run(commands: Sequence[Sequence[str]]) -> None:
    """Run odkd with each of these arguments; report failed commands at the end."""
    failed = []
    for arguments in commands:
        say(shlex.join(["odkd", *arguments]), file=sys.stderr, flush=True)
        done = subprocess.run([sys.executable, "-m", "odkd", *arguments], stdout=sys.stderr, check=False)
        if done.returncode:
            failed.append(shlex.join(["odkd", *arguments]))
    if failed:
        say("\n  ".join(["odkd-tables: these commands failed, see above:", *failed]), file=sys.stderr)


def listing(*, with_figures: bool = False) -> str:
    """Return the names and titles of the tables that come with odkd, with their numbers of runs or their figures."""
    rows = []
    for name in known_tables():
        table = load_table(name)
        about = f"figures {', '.join(table.figures)}" if with_figures else counted(Filled(table).num_jobs, "run")
        if table.figures or not with_figures:
            rows.append((name, f"{table.title} ({about})"))
    width = max(len(name) for name, _ in rows)
    return "\n".join(f"{name.ljust(width)}  {title}" for name, title in rows)


def fail(message: str, code: int) -> int:
    """Print a message to stderr and return the exit code."""
    say(message, file=sys.stderr)
    return code


if __name__ == "__main__":
    main()
