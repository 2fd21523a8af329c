"""Create a dataset folder for odkd: videos/ and, if there are ground-truth labels, groundtruth/.

    python scripts/prepare_dataset.py alternate downtown.mp4 highway.mp4 --to data/highway_downtown
    python scripts/prepare_dataset.py bdd100k-cityscapes --bdd100k-images ... --to data/bdd100k_cityscapes
    python scripts/prepare_dataset.py capture URL --minutes 60 --to data/my_camera

Each subcommand prints the odkd command that uses the folder. Options: `prepare_dataset.py SUBCOMMAND --help`.
"""

import argparse
import logging
import signal
import sys
from collections.abc import Sequence

from prepare import alternate, bdd100k_cityscapes, capture

SUBCOMMANDS = {"alternate": alternate, "bdd100k-cityscapes": bdd100k_cityscapes, "capture": capture}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a subcommand; a ValueError becomes one message and exit code 2."""
    plain_text = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=plain_text)
    subcommands = parser.add_subparsers(title="subcommands", dest="subcommand", required=True)
    for name, module in SUBCOMMANDS.items():
        text = module.__doc__ or ""
        own = subcommands.add_parser(
            name, help=text.splitlines()[0].rstrip("."), description=text, formatter_class=plain_text
        )
        module.add_arguments(own)
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # SIGTERM acts as Ctrl-C does: completed files are kept
    try:
        SUBCOMMANDS[chosen.subcommand].run(chosen)
    except ValueError as error:
        print(f"prepare_dataset.py {chosen.subcommand}: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit("\nprepare_dataset.py: interrupted; the same command resumes from here")


if __name__ == "__main__":
    main()
