"""Commands of `odkd-labels` that maintain stores: verify, repair, prune."""

import argparse
import shlex
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from odkd.commands.labels_found import find_chosen, size_and_change
from odkd.common.names import counted
from odkd.data.labels.claims import owner_of
from odkd.data.labels.damage import find_damage
from odkd.data.labels.shards import DamagedLabelsError
from odkd.data.labels.store import LabelStore

LEFTOVERS = ("**/.*.tmp", "**/.*.dead")  # of processes that were killed
LEFTOVER_SECONDS = 3600.0  # younger files may belong to a running process


def verify(args: argparse.Namespace) -> int:
    """Print what is damaged or missing in each store; return 1 if anything is."""
    bad: list[str] = []
    for folder in find_chosen(args.stores):
        try:
            damage = find_damage(LabelStore(folder))
        except DamagedLabelsError as error:
            print(error)
            bad.append(str(folder))
            continue
        for name in damage.files:
            print(f"{folder}: {name} is damaged")
        for name, frames in damage.frames.items():
            print(f"{folder}: {counted(len(frames), 'frame')} of {name} damaged: {_numbers(frames)}")
        for name, frames in damage.missing_soft.items():
            print(f"{folder}: {counted(len(frames), 'frame')} of {name} missing: {_numbers(frames)}")
        if damage.missing:
            print(f"{folder}: {counted(len(damage.missing), 'frame')} missing: {_numbers(damage.missing)}")
        if damage:
            bad.append(str(folder))
        else:
            left_out = f"; {counted(len(damage.undecodable), 'frame')} cannot be decoded" if damage.undecodable else ""
            print(f"{folder}: complete{left_out}")
    if bad:
        print(f"label damaged and missing frames again:  odkd-labels repair {shlex.join(bad)}")
    return 1 if bad else 0


def repair_stores(args: argparse.Namespace) -> int:
    """Repair each store; return 1 if one cannot be repaired."""
    from odkd.commands.repair import repair

    num_bad = 0
    for folder in find_chosen(args.stores):
        try:
            num_labelled = repair(folder, args.set)
        except ValueError as error:
            print(f"{folder}: {error}")
            num_bad += 1
            continue
        damage = find_damage(LabelStore(folder))
        print(f"{folder}: {counted(num_labelled, 'frame')} labelled again; {'still damaged' if damage else 'complete'}")
        num_bad += bool(damage)
    return 1 if num_bad else 0


def prune_stores(args: argparse.Namespace) -> int:
    """Delete leftovers of killed processes and the chosen stores, or only list them; keep stores that are in use."""
    doomed: list[tuple[Path, str]] = []
    for folder in find_chosen(args.stores):
        if owners := {owner_of(path) for path in folder.glob("claims/*.json")} - {None}:
            print(f"{folder}: kept, {', '.join(map(str, owners))} is labelling")
            continue
        if reason := _reason_to_delete(folder, args):
            doomed.append((folder, reason))
            continue
        old = time.time() - LEFTOVER_SECONDS
        leftovers = [path for pattern in LEFTOVERS for path in folder.glob(pattern) if path.stat().st_mtime < old]
        doomed += [(path, "left by a killed process") for path in [*leftovers, *folder.glob("claims/*.json")]]
    for path, reason in doomed:
        print(f"{'deleting' if args.yes else 'would delete'} {path} ({reason})")
        if args.yes:
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
    if not doomed:
        print("nothing to delete")
    elif not args.yes:
        print("add --yes to delete")
    return 0


def _reason_to_delete(folder: Path, args: argparse.Namespace) -> str | None:
    if args.all:
        return "chosen"
    try:
        store = LabelStore(folder)
        missing = store.num_frames - store.num_stored()
    except DamagedLabelsError:
        missing = 0
    if args.incomplete and missing:
        return f"lacks {counted(missing, 'frame')}"
    if args.older_than is not None:
        days = (time.time() - size_and_change(folder)[1]) / 86400
        if days > args.older_than:
            return f"not written to for {days:.0f} days"
    return None


def _numbers(frames: Sequence[int]) -> str:
    return ", ".join(map(str, frames[:10])) + (", ..." if len(frames) > 10 else "")
