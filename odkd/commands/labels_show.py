"""Commands of `odkd-labels` that only print: list, info, stats."""

import argparse
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from odkd.commands.labels_found import find_chosen, known_classes, size_and_change
from odkd.common.console import say
from odkd.common.names import counted
from odkd.data.labels.shards import DamagedLabelsError
from odkd.data.labels.store import LabelStore


def list_stores(args: argparse.Namespace) -> int:
    """Print a table of stores."""
    rows = [("teacher", "video", "frames", "of", "height x width", "soft", "MB", "last change", "store")]
    for folder in find_chosen(args.stores):
        try:
            store = LabelStore(folder)
            counts = (str(store.num_stored()), str(store.num_frames), "x".join(map(str, store.size)))
            soft = ",".join(spec.name.removeprefix("logsoft-") for spec in store.soft_specs) or "-"
            rows.append(
                (store.manifest.get("teacher", "?"), store.manifest.get("video", "?"), *counts, soft, *_on_disk(folder))
            )
        except DamagedLabelsError:
            rows.append((folder.parent.name, "DAMAGED", "?", "?", "?", "?", *_on_disk(folder)))
    say(_aligned(rows))
    return 0


def show_info(args: argparse.Namespace) -> int:
    """Print the manifest of each store, its contents, and the record of its labelling."""
    from omegaconf import OmegaConf

    for folder in find_chosen(args.stores):
        store = LabelStore(folder)
        left_out = ("sampled_frames", "sampled_frames_progressions", "recipe")
        manifest = {key: value for key, value in store.manifest.items() if key not in left_out}
        frames = store.frame_numbers.tolist()
        some = ", ".join(map(str, frames[:4])) + (f", ... {frames[-1]}" if len(frames) > 4 else "")
        lines = [str(folder), OmegaConf.to_yaml(OmegaConf.create(manifest)).rstrip()]
        lines += [f"sampled_frames: {len(frames)} ({some})", f"labelled: {store.num_stored()}"]
        for spec in store.soft_specs:
            height, width = spec.size
            lines.append(
                f"soft labels: top {spec.top_k} at {height}x{width}, {counted(store.num_stored(spec), 'frame')}"
            )
        for kind, shape in store.features.kinds.items():
            count = counted(store.num_stored(None, [kind]), "frame")
            lines.append(f"features: {kind.layer} at {'x'.join(map(str, shape))}, {count}")
        lines += [line for record in store.sessions() for line in _session_lines(record)]
        say("\n".join([*lines, ""]))
    return 0


def show_statistics(args: argparse.Namespace) -> int:
    """Print pixels and frames of each class for each teacher; write them to --to as table and plot."""
    from odkd.data.labels.statistics import class_statistics
    from odkd.report.classes import class_lines, write_class_statistics

    by_teacher: dict[tuple[str, tuple[str, ...]], list[LabelStore]] = {}
    for folder in find_chosen(args.stores):
        store = LabelStore(folder)
        names = tuple(known_classes(store, args))
        by_teacher.setdefault((store.manifest.get("teacher", "?"), names), []).append(store)
    for (teacher, known), stores in by_teacher.items():
        found = class_statistics(stores)
        num_classes = max(len(known), *(i + 1 for i in range(255) if found.pixels[i]), 0)
        names = known + tuple(f"class {i}" for i in range(len(known), num_classes))
        say(
            f"{teacher}: {counted(len(stores), 'video')}, {counted(found.num_frames, 'frame')}, "
            f"{found.ignored_share:.2%} of pixels ignored"
        )
        if not known and args.label_set is None:
            say("the stored labels do not name their classes; name them with --label-set")
        say("\n".join(class_lines(names, found.pixels, found.frames, found.num_frames)))
        say(
            f"most : least frequent class that occurs = {found.imbalance:,.0f} : 1; as uneven as "
            f"{found.effective_classes:.1f} equally frequent classes; "
            f"{(found.pixels[:num_classes] == 0).sum()} of {counted(num_classes, 'class')} never occur\n"
        )
        if args.to is not None:
            folder = args.to / teacher if len(by_teacher) > 1 else args.to
            title = f"{teacher}: classes in {counted(found.num_frames, 'label map')}"
            counts = found.pixels[:num_classes], found.frames[:num_classes], found.num_frames
            say("\n".join(map(str, write_class_statistics(folder, names, *counts, title))))
    return 0


def _session_lines(record: Mapping[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    lines = [
        f"session: {record['started']} to {record['updated']}, {counted(len(record['frames']), 'frame')} in "
        f"{record['seconds']:.1f} s on {record['host']} ({record['device']}), {versions}"
    ]
    if lost := record.get("dropped_probability"):
        lines.append(
            f"  top-k leaves out {lost['mean']:.3%} of the probability, {lost['worst_frame']:.3%} in the worst frame"
        )
    return lines


def _on_disk(folder: Path) -> tuple[str, str, str]:
    """Return the last cells of a store's row: megabytes, last change, folder."""
    num_bytes, changed = size_and_change(folder)
    return f"{num_bytes / 1e6:.2f}", f"{datetime.fromtimestamp(changed, UTC):%Y-%m-%d %H:%M}", str(folder)


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip().replace("\n", r"\n") for line in lines)
