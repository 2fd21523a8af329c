"""Console script `odkd-labels`: show label stores, check and repair them, exchange labels with other code."""

import argparse
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from odkd.commands.labels_exchange import export_stores, import_labels
from odkd.commands.labels_found import DEFAULT
from odkd.commands.labels_maintain import repair_stores, verify
from odkd.commands.labels_prune import prune
from odkd.commands.labels_show import list_stores, show_info, show_statistics
from odkd.common.arguments import Arguments, add_version
from odkd.common.console import log_to_console
from odkd.common.ending import one_line
from odkd.common.reading import brief


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command and exit: with code 1 for damaged stores and for errors, 2 for wrong arguments."""
    args = _parser().parse_args(arguments)
    log_to_console(logging.WARNING)
    with one_line("odkd-labels", mistake=1):
        try:
            code = args.run(args)
        except Exception as error:
            if type(error).__module__.partition(".")[0] not in ("hydra", "omegaconf"):
                raise
            raise ValueError(brief(error)) from error  # an unknown setting
    sys.exit(code)


def _parser() -> Arguments:
    parser = Arguments(prog="odkd-labels", description=__doc__.partition(":")[2].strip().capitalize())
    add_version(parser)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str,
        run: Callable[[argparse.Namespace], int],
        text: str,
        *,
        takes_stores: bool = True,
        default: Path = DEFAULT,
    ) -> Arguments:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        if takes_stores:
            what = "folders that contain stores" if default == DEFAULT else "folders that contain stores, or caches"
            text = f"folders of stores, or {what} (default: {default})"
            added.add_argument("stores", nargs="*", type=Path, metavar="STORE", help=text)
        return added

    command("list", list_stores, "Print one line per store: teacher, video, frames labelled, size, last change.")
    command("info", show_info, "Show what a store contains, what determines it, and who labelled when and how long.")
    command("verify", verify, "Read every byte; name damaged and missing frames. Exit code 1 if there are any.")
    repair = command("repair", repair_stores, "Label damaged and missing frames again, and only those.")
    repair.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a path that has changed: dataset.root=/new/place",
    )
    text = "Show who uses a cache; delete files that killed processes left behind, and what you choose of the rest."
    pruning = command("prune", prune, text, default=DEFAULT.parent)
    pruning.add_argument("--incomplete", action="store_true", help="also what lacks frames")
    pruning.add_argument("--unused", action="store_true", help="also what no run that is there uses")
    pruning.add_argument(
        "--older-than", type=float, metavar="DAYS", help="also what was not written to for so many days"
    )
    pruning.add_argument("--all", action="store_true", help="also everything named")
    pruning.add_argument("--yes", action="store_true", help="delete; without it only list what would be deleted")
    export = command(
        "export", export_stores, "Write label maps as files: FOLDER/pseudo_groundtruth_seg/TEACHER/VIDEO/."
    )
    export.add_argument("--to", type=Path, required=True, metavar="FOLDER")
    export.add_argument("--format", choices=["npz", "png"], default="npz", help="npz: key `seg`; png: with a palette")
    export.add_argument(
        "--dtype", choices=["int64", "uint8"], default="int64", help="of npz; the reference code reads both"
    )
    importing = command("import", import_labels, "Copy label maps made elsewhere into a store.", takes_stores=False)
    importing.add_argument("folder", type=Path, help="with VIDEO/000000.npz (key `seg`) or .png, e.g. of an export")
    importing.add_argument(
        "settings", nargs="*", metavar="KEY=VALUE", help="as for odkd: dataset=..., teacher.numbering=..."
    )
    stats = command("stats", show_statistics, "Count pixels and frames of each class, and their imbalance.")
    for added in (export, stats):
        added.add_argument("--label-set", metavar="NAME", help="class names and colours, for stores without names")
    stats.add_argument("--to", type=Path, metavar="FOLDER", help="write classes.csv and classes.png there")
    return parser


if __name__ == "__main__":
    main()
