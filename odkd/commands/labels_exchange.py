"""Commands of `odkd-labels` that exchange label maps with other code: export, import."""

import argparse
import shlex

from odkd.commands.labels_found import find_chosen, known_classes
from odkd.common.console import say
from odkd.common.names import counted
from odkd.data.labels.sets import palette_of
from odkd.data.labels.store import LabelStore


def export_stores(args: argparse.Namespace) -> int:
    """Write the label maps of each store below --to."""
    from odkd.data.labels.exchange import export
    from odkd.data.labels.palette import default_palette

    for folder in find_chosen(args.stores):
        store = LabelStore(folder)
        classes = known_classes(store, args)
        palette = palette_of(classes) or default_palette(len(classes) or 255)
        files = list(export(store, args.to, kind=args.format, dtype=args.dtype, palette=palette))
        rest = f" (of {counted(store.num_frames, 'sampled frame')}: the others are not labelled)"
        count = f"{counted(len(files), 'file')}{rest if len(files) < store.num_frames else ''}"
        say(f"{folder}: {count} in {files[0].parent if files else args.to}")
    return 0


def import_labels(args: argparse.Namespace) -> int:
    """Copy a folder of label maps into stores; print the settings that use them."""
    from odkd.commands.repair import import_folder

    stores, use = import_folder(args.folder, args.settings)
    for folder in stores:
        say(f"{folder}: {counted(LabelStore(folder).num_stored(), 'frame')}")
    words = shlex.join(f"teacher.{key}={value}" for key, value in use.items())
    say(f"To use them without the folder:  odkd teacher=folder {words} ...")
    return 0
