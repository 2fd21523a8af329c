"""Commands of `odkd-labels` that maintain stores: verify, repair."""

import argparse
import shlex
from collections.abc import Sequence

from odkd.commands.labels_found import find_chosen
from odkd.common.console import say
from odkd.common.names import counted
from odkd.common.progress import tracked
from odkd.data.labels.damage import find_damage
from odkd.data.labels.shards import DamagedLabelsError
from odkd.data.labels.store import LabelStore


def verify(args: argparse.Namespace) -> int:
    """Print what is damaged or missing in each store; return 1 if anything is."""
    bad: list[str] = []
    for folder in tracked(find_chosen(args.stores), "checked", "stores"):
        try:
            damage = find_damage(LabelStore(folder))
        except DamagedLabelsError as error:
            say(error)
            bad.append(str(folder))
            continue
        for name in damage.files:
            say(f"{folder}: {name} is damaged")
        for name, frames in damage.frames.items():
            say(f"{folder}: {counted(len(frames), 'frame')} of {name} damaged: {_numbers(frames)}")
        for name, frames in damage.missing_soft.items():
            say(f"{folder}: {counted(len(frames), 'frame')} of {name} missing: {_numbers(frames)}")
        if damage.missing:
            say(f"{folder}: {counted(len(damage.missing), 'frame')} missing: {_numbers(damage.missing)}")
        if damage:
            bad.append(str(folder))
        else:
            left_out = f"; {counted(len(damage.undecodable), 'frame')} cannot be decoded" if damage.undecodable else ""
            say(f"{folder}: complete{left_out}")
    if bad:
        say(f"label damaged and missing frames again:  odkd-labels repair {shlex.join(bad)}")
    return 1 if bad else 0


def repair_stores(args: argparse.Namespace) -> int:
    """Repair each store; return 1 if one cannot be repaired."""
    from odkd.commands.repair import repair

    num_bad = 0
    for folder in find_chosen(args.stores):
        try:
            num_labelled = repair(folder, args.set)
        except ValueError as error:
            say(f"{folder}: {error}")
            num_bad += 1
            continue
        damage = find_damage(LabelStore(folder))
        say(f"{folder}: {counted(num_labelled, 'frame')} labelled again; {'still damaged' if damage else 'complete'}")
        num_bad += bool(damage)
    return 1 if num_bad else 0


def _numbers(frames: Sequence[int]) -> str:
    return ", ".join(map(str, frames[:10])) + (", ..." if len(frames) > 10 else "")
