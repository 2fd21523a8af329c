"""Convert labelled images of BDD100K and Cityscapes to an alternating stream (Houyon et al. 2023, second stream).

1,600 of the 8,000 labelled images of BDD100K and 1,600 of the 3,475 of Cityscapes (random.seed(42); random.sample of
the sorted list, BDD100K first) alternate in blocks of 400, resized to 1280x720: one video per block at one frame per
second, and groundtruth/VIDEO/000000.png in the 19 Cityscapes train ids. chosen.txt lists the images, block by block.

Folders are searched recursively; give the folders that contain train and val. Images in a folder named `test` have no
labels and are left out. Labels: BDD100K NAME.png or NAME_train_id.png (train ids), Cityscapes
*_gtFine_labelTrainIds.png, or *_gtFine_labelIds.png, which is converted. A killed run resumes with the next block.
"""

import argparse
import random
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from odkd.common.console import say
from odkd.common.dotted import command, setting
from odkd.common.files import json_digest, write_atomic
from odkd.common.progress import tracked
from odkd.data.labels import highest_class, resize_nearest
from odkd.data.labels.mapping import class_table
from odkd.data.labels.sets import label_set
from odkd.data.prepare.building import building, check_absent, write_map
from odkd.data.prepare.pictures import Picture
from odkd.data.video.encode import VideoWriter

Pair = tuple[Path, Path]  # an image and its label map
LABEL_ENDS = {  # end of an image name -> ends of its label name; the first existing file is used
    "bdd100k": (".jpg", (".png", "_train_id.png")),
    "cityscapes": ("_leftImg8bit.png", ("_gtFine_labelTrainIds.png", "_gtFine_labelIds.png")),
}
CLASSES = label_set("cityscapes").classes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of this subcommand."""
    folders = {
        "bdd100k-images": "bdd100k/images/10k",
        "bdd100k-labels": "bdd100k/labels/sem_seg/masks",
        "cityscapes-images": "leftImg8bit",
        "cityscapes-labels": "gtFine",
    }
    for name, example in folders.items():
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="FOLDER", help=f"such as {example}")
    parser.add_argument("--to", type=Path, required=True, metavar="FOLDER", help="dataset folder to create")
    parser.add_argument("--images", type=int, default=1600, help="images per dataset (%(default)s)")
    parser.add_argument("--block", type=int, default=400, help="images per block (%(default)s)")
    parser.add_argument(
        "--size", type=int, nargs=2, default=[1280, 720], metavar=("WIDTH", "HEIGHT"), help="size in pixels (1280 720)"
    )
    parser.add_argument("--seed", type=int, default=42, help="seed of the random choice (%(default)s)")
    parser.add_argument("--crf", type=int, default=12, help="H.264 quality; lower: better, larger file (%(default)s)")


def run(arguments: argparse.Namespace) -> None:
    """Choose the images, write block by block to a temporary folder, rename it."""
    folder: Path = arguments.to
    if min(arguments.images, arguments.block, *arguments.size) < 1:
        raise ValueError("--images, --block and --size must be at least 1")
    if arguments.images % arguments.block:
        raise ValueError(f"--images {arguments.images} is not a multiple of --block {arguments.block}")
    check_absent(folder)
    draw = random.Random(arguments.seed)
    chosen = {
        name: choose(
            name, getattr(arguments, f"{name}_images"), getattr(arguments, f"{name}_labels"), arguments.images, draw
        )
        for name in LABEL_ENDS
    }
    blocks = blocks_of(chosen, arguments.block)
    lines = [f"{stem} {image} {label}" for stem, pairs in blocks.items() for image, label in pairs]
    settings = {"images": json_digest(lines), "size": list(arguments.size), "crf": arguments.crf}
    with building(folder, settings) as place:
        write_atomic(place / "chosen.txt", ("\n".join(lines) + "\n").encode(errors="surrogateescape"))
        for number, (stem, pairs) in enumerate(blocks.items(), 1):
            if not (place / "videos" / f"{stem}.mp4").is_file():
                write_block(place, stem, pairs, tuple(arguments.size), arguments.crf)
            say(f"block {number} of {len(blocks)}: {stem}, {len(pairs)} images", flush=True)
    width, height = arguments.size
    words = ["dataset=bdd100k_cityscapes", setting("dataset.root", str(folder))]
    words += [] if (width, height) == (1280, 720) else [f"dataset.size=[{height},{width}]"]
    words += [] if arguments.block == 400 else [setting("dataset.order.sequence_positions", arguments.block)]
    say(f"created {folder}; use it with\n\n{command(*words)}")


def choose(name: str, images: Path, labels: Path, count: int, draw: random.Random) -> list[Pair]:
    """So many labelled images, in the order drawn.

    Raises:
        ValueError: no such folder, or too few images with labels.
    """
    for folder in (images, labels):
        if not folder.is_dir():
            raise ValueError(f"{folder}: no such folder")
    image_end, label_ends = LABEL_ENDS[name]
    found = sorted(path for path in images.rglob(f"*{image_end}") if "test" not in path.relative_to(images).parts[:-1])
    pairs: list[Pair] = []
    for path in found:
        stem = str(path.relative_to(images)).removesuffix(image_end)
        if label := next((p for p in (labels / f"{stem}{end}" for end in label_ends) if p.is_file()), None):
            pairs.append((path, label))
    if len(pairs) < count:
        example = f"; the first image is {found[0]}" if found else ""
        raise ValueError(
            f"{name}: {len(found)} images (*{image_end}) below {images}, {len(pairs)} of them with labels "
            f"(*{' or *'.join(label_ends)}, in the same subfolder) below {labels}; {count} are needed{example}. "
            "Give the folders that contain train/ and val/, or lower --images"
        )
    return draw.sample(pairs, count)


def blocks_of(chosen: dict[str, list[Pair]], length: int) -> dict[str, list[Pair]]:
    """Return the images of each video by its name, the datasets in turn.

    >>> list(blocks_of({"a": [1, 2], "b": [3, 4]}, 1).items())
    [('00_a', [1]), ('01_b', [3]), ('02_a', [2]), ('03_b', [4])]
    """
    turns = [
        (name, pairs[start : start + length])
        for start in range(0, max(map(len, chosen.values())), length)
        for name, pairs in chosen.items()
    ]
    return {f"{number:02d}_{name}": pairs for number, (name, pairs) in enumerate(turns)}


def write_block(root: Path, stem: str, pairs: Sequence[Pair], size: tuple[int, int], crf: int) -> None:
    """Write the labels, then the video: a block is complete if its video has its final name."""
    width, height = size
    truth = root / "groundtruth" / stem
    path = root / "videos" / f"{stem}.mp4"
    # Every image is a new scene, so all frames are keyframes.
    with VideoWriter(path, width=width, height=height, frame_rate=1.0, crf=crf, keyframe_interval=1) as writer:
        for number, (image_path, label_path) in enumerate(tracked(pairs, f"wrote {stem}", "frames")):
            picture = Picture(image_path).load("RGB")
            labels_HW = train_ids(label_path)
            if labels_HW.shape != (picture.height, picture.width):
                raise ValueError(
                    f"{label_path} is {labels_HW.shape[1]}x{labels_HW.shape[0]} and its image "
                    f"{picture.width}x{picture.height}; expected equal sizes"
                )
            write_map(truth / f"{number:06d}.png", resize_nearest(labels_HW, (height, width)))
            writer.write(np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS)))


def train_ids(path: Path) -> np.ndarray:
    """Return the label map of a file in Cityscapes train ids: uint8 [H, W], 255 = ignore.

    Raises:
        ValueError: the file contains other ids, or colours, or is damaged.
    """
    labels_HW = Picture(path).ids()
    if path.name.endswith("_labelIds.png"):
        ids = class_table(
            label_set("cityscapes_ids").classes, CLASSES, "cityscapes_ids_to_cityscapes", allow_missing=False
        ).ids
        return np.asarray(ids[labels_HW])
    if (highest := highest_class(labels_HW)) >= len(CLASSES):
        raise ValueError(f"{path} contains class ids up to {highest}; expected train ids below {len(CLASSES)}, or 255")
    return labels_HW
