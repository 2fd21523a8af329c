"""Videos for the benchmarks, rendered on first use: the camera pans over a textured world with moving objects."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from odkd.data.video.encode import VideoWriter

FRAME_RATE = 25.0
GROUP_OF_PICTURES = 250  # x264's default, so that seeking costs as much as in videos from cameras and the web
CLASSES = 19
LENGTHS = {(360, 480): 600, (720, 1280): 768, (1080, 1920): 240, (2160, 3840): 24}  # frames of the shared videos
LENGTH = 200  # of other sizes
LABELLED_EVERY = 4  # frames
SCALES = (0.4, 0.1, 0.025, 0.006)  # size of the texture's spots, relative to the image height
SPEED = 5  # pixels per frame
GRAIN = 6.0  # standard deviation of the sensor noise, grey levels


def make_video(folder: Path, size: tuple[int, int], *, group: int = GROUP_OF_PICTURES) -> Path:
    """Return ROOT of the video of a size that most cases share, with labels of every fourth frame."""
    num_frames = LENGTHS.get(size, LENGTH)
    return make_dataset(
        folder, height=size[0], width=size[1], num_frames=num_frames, stride=LABELLED_EVERY, group=group
    )


def make_dataset(
    folder: Path, *, height: int, width: int, num_frames: int, stride: int, group: int = GROUP_OF_PICTURES
) -> Path:
    """Write ROOT/videos/pan.mp4 and ROOT/groundtruth/pan/NUMBER.png of every `stride`-th frame; return ROOT."""
    of_group = "" if group == GROUP_OF_PICTURES else f"-groups-of-{group}"
    root = folder / f"pan-{height}x{width}-{num_frames}-{stride}{of_group}"
    if root.is_dir():
        return root
    building = root.with_suffix(".building")
    shutil.rmtree(building, ignore_errors=True)
    truth = building / "groundtruth" / "pan"
    truth.mkdir(parents=True)
    path = building / "videos" / "pan.mp4"
    with VideoWriter(
        path, width=width, height=height, frame_rate=FRAME_RATE, crf=23, keyframe_interval=group
    ) as writer:
        for number, (image_HWC, label_HW) in enumerate(_pictures(height, width, num_frames)):
            writer.write(image_HWC)
            if number % stride == 0:
                Image.fromarray(label_HW).save(truth / f"{number:06d}.png", compress_level=1)
    building.replace(root)
    return root


def _pictures(height: int, width: int, num_frames: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    generator = np.random.default_rng(0)
    world = (height, 3 * width)
    fields = [_noise(generator, world, height * SCALES[0]) for _ in range(CLASSES - 1)]
    labels = np.argmax(fields, axis=0).astype(np.uint8)
    colours = generator.integers(40, 216, (CLASSES, 3))
    spots = sum(40 * s**0.3 * np.stack([_noise(generator, world, height * s) for _ in range(3)], -1) for s in SCALES)
    image = np.clip(colours[labels] + spots, 0, 255).astype(np.int16)
    wide, wide_labels = (
        np.concatenate([field, field[:, :width]], 1) for field in (image, labels)
    )  # the world is round
    thing = height // 4
    grain = generator.normal(0, GRAIN, (2 * height, 2 * width, 1)).astype(np.int16)
    for number in range(num_frames):
        begin = SPEED * number % world[1]
        y, x = (int(generator.integers(n)) for n in (height, width))  # new noise in each frame
        image_HWC = wide[:, begin : begin + width] + grain[y : y + height, x : x + width]
        label_HW = wide_labels[:, begin : begin + width].copy()
        for k in range(4):  # objects of the last class cross the image in different directions
            top = (height // 5 * k + number * (k % 2)) % (height - thing)
            left = (width // 4 * k + number * (2 * k - 5)) % (width - thing)
            there = slice(top, top + thing), slice(left, left + thing)
            image_HWC[there], label_HW[there] = image[:thing, k * thing : (k + 1) * thing, ::-1], CLASSES - 1
        yield np.clip(image_HWC, 0, 255).astype(np.uint8), label_HW


def _noise(generator: np.random.Generator, shape: tuple[int, int], cell: float) -> np.ndarray:
    """Return smooth noise with spots of about `cell` pixels: float32 [H, W]."""
    grid = generator.normal(size=[max(2, round(n / max(cell, 2))) for n in shape]).astype(np.float32)
    return np.asarray(Image.fromarray(grid).resize(shape[::-1], Image.Resampling.BICUBIC))
