"""Console script `odkd-labels`: look at label stores, check and mend them, exchange labels with other code."""

import argparse
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from odkd.data.labels.claims import owner_of
from odkd.data.labels.damage import find_damage
from odkd.data.labels.sets import label_set, palette_of
from odkd.data.labels.shards import DamagedLabelsError
from odkd.data.labels.store import LabelStore, find_stores

DEFAULT = Path("outputs/cache/labels")
LEFTOVERS = ("**/.*.tmp", "**/.*.dead")  # of processes that were killed
LEFTOVER_SECONDS = 3600.0  # younger ones may be somebody's work


def main(arguments: Sequence[str] | None = None) -> None:
    """Run a command; exit code 1 where something is wrong with a store, 2 for a user's mistake."""
    args = _parser().parse_args(arguments)
    try:
        sys.exit(args.run(args))
    except (ValueError, OSError) as error:
        sys.exit(f"odkd-labels: {error}")
    except KeyboardInterrupt:
        sys.exit("\nodkd-labels: interrupted; what was done stays")
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in ("hydra", "omegaconf"):
            raise
        sys.exit(f"odkd-labels: {str(error).splitlines()[0]}")  # a setting that there is not
    except BrokenPipeError:  # `odkd-labels list | head`
        sys.exit(0)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="odkd-labels", description=__doc__.partition(":")[2].strip().capitalize())
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, run: Any, text: str, *, stores: str = "*") -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(run=run)
        if stores:
            added.add_argument(
                "stores", nargs=stores, type=Path, metavar="STORE", help=f"folders of stores, or of many; {DEFAULT}"
            )
        return added

    command("list", list_stores, "One line a store: teacher, video, frames labelled, size, last change.")
    command("info", show_info, "What a store holds, what determines it, who labelled when and how long.")
    command("verify", verify, "Read every byte; name damaged and missing frames. Exit code 1 if there are any.")
    repair = command("repair", repair_stores, "Label damaged and missing frames again, and only those.")
    repair.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="what is elsewhere now: dataset.root=/new/place"
    )
    prune = command("prune", prune_stores, "Delete what killed processes left behind, and stores that you choose.")
    prune.add_argument("--incomplete", action="store_true", help="stores that lack frames, too")
    prune.add_argument("--older-than", type=float, metavar="DAYS", help="stores not written to for so long, too")
    prune.add_argument("--all", action="store_true", help="every store named, too")
    prune.add_argument("--yes", action="store_true", help="delete; without it only say what would go")
    export = command(
        "export", export_stores, "Write label maps as files: FOLDER/pseudo_groundtruth_seg/TEACHER/VIDEO/."
    )
    export.add_argument("--to", type=Path, required=True, metavar="FOLDER")
    export.add_argument("--format", choices=["npz", "png"], default="npz", help="npz: key `seg`; png: with a palette")
    export.add_argument(
        "--dtype", choices=["int64", "uint8"], default="int64", help="of npz; the seed's code has int64"
    )
    importing = command("import", import_labels, "Take label maps made elsewhere into a store.", stores="")
    importing.add_argument("folder", type=Path, help="with VIDEO/000000.npz (key `seg`) or .png, e.g. of an export")
    importing.add_argument(
        "settings", nargs="*", metavar="KEY=VALUE", help="as for odkd: dataset=..., teacher.numbering=..."
    )
    stats = command("stats", show_statistics, "Pixels and frames of each class, and how uneven they are.")
    for added in (export, stats):
        added.add_argument("--label-set", metavar="NAME", help="class names and colours, where a store does not say")
    stats.add_argument("--to", type=Path, metavar="FOLDER", help="write classes.csv and classes.png there")
    return parser


def list_stores(args: argparse.Namespace) -> int:
    rows = [("teacher", "video", "frames", "of", "height x width", "soft", "MB", "last change", "store")]
    for folder in _found(args.stores):
        try:
            store = LabelStore(folder)
            counts = (str(len(store.all_stored())), str(store.num_frames), "x".join(map(str, store.size)))
            soft = ",".join(spec.name.removeprefix("soft-") for spec in store.soft_specs) or "-"
            rows.append((store.manifest["teacher"], store.manifest["video"], *counts, soft, *_on_disk(folder)))
        except DamagedLabelsError:
            rows.append((folder.parent.name, "DAMAGED", "?", "?", "?", "?", *_on_disk(folder)))
    print(_aligned(rows))
    return 0


def show_info(args: argparse.Namespace) -> int:
    from omegaconf import OmegaConf

    for folder in _found(args.stores):
        store = LabelStore(folder)
        manifest = {key: value for key, value in store.manifest.items() if key not in ("sampled_frames", "recipe")}
        frames = store.manifest["sampled_frames"]
        some = ", ".join(map(str, frames[:4])) + (f", ... {frames[-1]}" if len(frames) > 4 else "")
        lines = [str(folder), OmegaConf.to_yaml(OmegaConf.create(manifest)).rstrip()]
        lines += [f"sampled_frames: {len(frames)} ({some})", f"labelled: {len(store.all_stored())}"]
        for spec in store.soft_specs:
            height, width = spec.size
            lines.append(f"soft labels: top {spec.top_k} at {height}x{width}, {len(store.all_stored(spec))} frames")
        lines += [line for record in store.sessions() for line in _session_lines(record)]
        print("\n".join(lines), end="\n\n")
    return 0


def _session_lines(record: Mapping[str, Any]) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in record["versions"].items())
    lines = [
        f"session: {record['started']} to {record['updated']}, {len(record['frames'])} frames in "
        f"{record['seconds']:.1f} s on {record['host']} ({record['device']}), {versions}"
    ]
    if lost := record.get("dropped_probability"):
        lines.append(
            f"  top-k leaves out {lost['mean']:.3%} of the probability, {lost['worst_frame']:.3%} in the worst frame"
        )
    return lines


def verify(args: argparse.Namespace) -> int:
    bad: list[str] = []
    for folder in _found(args.stores):
        try:
            damage = find_damage(LabelStore(folder))
        except DamagedLabelsError as error:
            print(error)
            bad.append(str(folder))
            continue
        for name in damage.files:
            print(f"{folder}: {name} is damaged")
        for name, frames in damage.frames.items():
            print(f"{folder}: {len(frames)} frames of {name} are damaged: {_numbers(frames)}")
        for name, frames in damage.missing_soft.items():
            print(f"{folder}: {len(frames)} frames of {name} are missing: {_numbers(frames)}")
        if damage.missing:
            print(f"{folder}: {len(damage.missing)} frames are missing: {_numbers(damage.missing)}")
        if damage:
            bad.append(str(folder))
        else:
            left_out = f"; {len(damage.undecodable)} that the video has lost" if damage.undecodable else ""
            print(f"{folder}: whole{left_out}")
    if bad:
        print(f"label again what is damaged or missing:  odkd-labels repair {shlex.join(bad)}")
    return 1 if bad else 0


def repair_stores(args: argparse.Namespace) -> int:
    from odkd.commands.repair import repair

    num_bad = 0
    for folder in _found(args.stores):
        try:
            num_labelled = repair(folder, args.set)
        except ValueError as error:
            print(f"{folder}: {error}")
            num_bad += 1
            continue
        damage = find_damage(LabelStore(folder))
        print(f"{folder}: {num_labelled} frames labelled again; {'still damaged' if damage else 'whole'}")
        num_bad += bool(damage)
    return 1 if num_bad else 0


def prune_stores(args: argparse.Namespace) -> int:
    doomed: list[tuple[Path, str]] = []
    for folder in _found(args.stores):
        if owners := {owner_of(path) for path in folder.glob("claims/*.json")} - {None}:
            print(f"{folder}: kept, {', '.join(map(str, owners))} is labelling")
            continue
        if reason := _reason_to_go(folder, args):
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


def export_stores(args: argparse.Namespace) -> int:
    from odkd.data.labels.exchange import export
    from odkd.data.labels.palette import default_palette

    for folder in _found(args.stores):
        store = LabelStore(folder)
        classes = _classes(store, args)
        palette = palette_of(classes) or default_palette(len(classes) or 255)
        files = list(export(store, args.to, kind=args.format, dtype=args.dtype, palette=palette))
        rest = f" (of {store.num_frames} sampled frames: the others are not labelled)"
        count = f"{len(files)} files{rest if len(files) < store.num_frames else ''}"
        print(f"{folder}: {count} in {files[0].parent if files else args.to}")
    return 0


def import_labels(args: argparse.Namespace) -> int:
    from odkd.commands.repair import import_folder

    stores, name, digest = import_folder(args.folder, args.settings)
    for folder in stores:
        print(f"{folder}: {len(LabelStore(folder).all_stored())} frames")
    print(f"Use them, without the folder, by  odkd teacher=folder teacher.name={name} teacher.digest={digest} ...")
    return 0


def show_statistics(args: argparse.Namespace) -> int:
    from odkd.data.labels.statistics import class_statistics
    from odkd.report.classes import class_lines, write_class_statistics

    by_teacher: dict[tuple[str, tuple[str, ...]], list[LabelStore]] = {}
    for folder in _found(args.stores):
        store = LabelStore(folder)
        names = tuple(_classes(store, args))
        by_teacher.setdefault((store.manifest["teacher"], names), []).append(store)
    for (teacher, known), stores in by_teacher.items():
        found = class_statistics(stores)
        num_classes = max(len(known), *(i + 1 for i in range(255) if found.pixels[i]), 0)
        names = known + tuple(f"class {i}" for i in range(len(known), num_classes))
        print(
            f"{teacher}: {len(stores)} videos, {found.num_frames} frames, {found.ignored_share:.2%} of pixels ignored"
        )
        print("\n".join(class_lines(names, found.pixels, found.frames, found.num_frames)))
        print(
            f"most : least frequent class that occurs = {found.imbalance:,.0f} : 1; as uneven as "
            f"{found.effective_classes:.1f} equally frequent classes; "
            f"{(found.pixels[:num_classes] == 0).sum()} of {num_classes} classes never occur\n"
        )
        if args.to is not None:
            folder = args.to / teacher if len(by_teacher) > 1 else args.to
            title = f"{teacher}: classes in {found.num_frames} label maps"
            counts = found.pixels[:num_classes], found.frames[:num_classes], found.num_frames
            print("\n".join(map(str, write_class_statistics(folder, names, *counts, title))))
    return 0


def _found(chosen: Sequence[Path]) -> list[Path]:
    """Store folders named, or found below what is named.

    Raises:
        ValueError: there is none.
    """
    folders = [store for path in (chosen or [DEFAULT]) for store in find_stores(path)]
    if not folders:
        places = ", ".join(map(str, chosen)) if chosen else f"{DEFAULT} (name a folder, or go to where odkd was run)"
        raise ValueError(f"no label store in {places}")
    return list(dict.fromkeys(folders))


def _classes(store: LabelStore, args: argparse.Namespace) -> list[str]:
    """The teacher's own classes, if the store says them, or those of --label-set."""
    known = store.manifest.get("classes") or (list(label_set(args.label_set).classes) if args.label_set else [])
    return [str(name) for name in known]


def _reason_to_go(folder: Path, args: argparse.Namespace) -> str | None:
    if args.all:
        return "chosen"
    try:
        store = LabelStore(folder)
        missing = store.num_frames - len(store.all_stored())
    except DamagedLabelsError:
        missing = 0
    if args.incomplete and missing:
        return f"lacks {missing} frames"
    if args.older_than is not None:
        days = (time.time() - _size_and_change(folder)[1]) / 86400
        if days > args.older_than:
            return f"not written to for {days:.0f} days"
    return None


def _size_and_change(folder: Path) -> tuple[int, float]:
    """Bytes of all files of a store, and when the last of them was written."""
    found = [path.stat() for path in folder.rglob("*") if path.is_file()]
    return sum(status.st_size for status in found), max((status.st_mtime for status in found), default=0.0)


def _on_disk(folder: Path) -> tuple[str, str, str]:
    num_bytes, changed = _size_and_change(folder)
    return f"{num_bytes / 1e6:.2f}", f"{datetime.fromtimestamp(changed, UTC):%Y-%m-%d %H:%M}", str(folder)


def _numbers(frames: Sequence[int]) -> str:
    return ", ".join(map(str, frames[:10])) + (", ..." if len(frames) > 10 else "")


def _aligned(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


if __name__ == "__main__":
    main()
