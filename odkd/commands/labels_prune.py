"""Command of `odkd-labels` that deletes: what killed processes left in a cache, and what is chosen of the rest."""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path

from odkd.commands.labels_cache import Cache, Item, is_cache, stores_in
from odkd.commands.labels_found import DEFAULT, find_chosen
from odkd.common.console import say
from odkd.common.names import counted
from odkd.common.temporary import UNCHANGED_SECONDS, left_behind, remove, temporary_for
from odkd.runs.own_files import own_files
from odkd.runs.uses import stale

DAY_SECONDS = 86400.0


def prune(args: argparse.Namespace) -> int:
    """Print what lies in caches and label stores and who uses it; delete what is chosen, with --yes."""
    places = args.stores or [DEFAULT.parent if is_cache(DEFAULT.parent) else DEFAULT]
    doomed: list[tuple[Path, str]] = []
    for place in places:
        if not is_cache(place):
            find_chosen([place])  # raises where there is none
        cache = Cache.of(place)
        items = [*cache.stores(stores_in(place)), *(cache.folders() if is_cache(place) else ())]
        for item in items:
            if item.busy:
                say(f"{item.path}: kept, {item.busy}")
            elif reason := reason_to_delete(item, args):
                doomed.append((item.path, f"{item.what}; {reason}"))
            else:
                users = f"used by {_names(item)}" if item.users else "no run that is there says that it uses it"
                say(f"{item.path}: kept ({item.what}; {users})")
                doomed += [(path, "left by a killed process") for path in own_files(item.path, ["claims/*.json"])]
        chosen = {path for path, _ in doomed}
        left = [path for path in left_behind(place) if not chosen & set(path.parents)]
        doomed += [(path, "left by a killed process") for path in left]
        if is_cache(place):
            doomed += _notes(cache, args)
            doomed += [(path, "of a run that is gone") for path in stale(place)]
    for path, reason in doomed:
        say(f"{'deleting' if args.yes else 'would delete'} {path} ({reason})")
        if args.yes:
            discard(path)
    if not doomed:
        say("nothing to delete")
    elif not args.yes:
        say("add --yes to delete")
    return 0


def reason_to_delete(item: Item, args: argparse.Namespace) -> str | None:
    """Return why an item that nobody works on is to be deleted; None to keep it."""
    if item.path.suffix == ".building":
        return "left by a killed process"
    if args.all:
        return f"chosen; used by {_names(item)}" if item.users else "chosen"
    if args.incomplete and item.lacks:
        return item.lacks
    age = time.time() - item.changed
    if args.unused and not item.users and age > UNCHANGED_SECONDS:
        return "no run that is there says that it uses it"
    if args.older_than is not None and age > args.older_than * DAY_SECONDS:
        return f"not written to for {age / DAY_SECONDS:.0f} days"
    return None


def discard(path: Path) -> None:
    """Delete a file or folder so that it is whole or not there, whenever this process is killed."""
    if path.is_dir():
        aside = temporary_for(path)
        path.rename(aside)
        path = aside
    remove(path)


def _notes(cache: Cache, args: argparse.Namespace) -> Iterator[tuple[Path, str]]:
    """Yield the notes to delete, which are made anew when they are needed; print how many are kept."""
    for name, files in cache.notes():
        old = time.time() - (0 if args.all else DAY_SECONDS * (args.older_than or 0))
        is_chosen = args.all or args.older_than is not None
        chosen = [path for path in files if is_chosen and path.stat().st_mtime <= old]
        if kept := len(files) - len(chosen):
            say(f"{cache.folder / name}: kept ({counted(kept, 'note')}; made anew when they are missing)")
        yield from ((path, "a note, made anew when it is needed") for path in chosen)


def _names(item: Item) -> str:
    names = [folder.name for folder in item.users]
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
