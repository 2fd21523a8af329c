"""Export of label maps to files: one `.npz` or palette PNG per frame, in the layout of the reference code.

    FOLDER/pseudo_groundtruth_seg/TEACHER/VIDEO/000000.npz      key `seg`, [H, W]

Files are numbered by the frame of the video (000000, 000075, ... at stride 75), as in the reference code.
`teacher=folder` reads this layout.
"""

import io
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from odkd.common.files import write_atomic
from odkd.common.ignore import IGNORE
from odkd.common.progress import tracked
from odkd.data.labels.store import LabelStore

LAYOUT = "pseudo_groundtruth_seg"
KEY = "seg"


def export(
    store: LabelStore,
    folder: Path,
    *,
    kind: Literal["npz", "png"],
    dtype: str = "int64",
    palette: Sequence[Sequence[int]],
) -> Iterator[Path]:
    """Write every label map of the store; yield the path of each file after it is written.

    Args:
        dtype: of the arrays in `.npz` files; the reference code writes uint8 and reads any whole numbers.
        palette: [R, G, B] per class, for PNGs; ignored pixels are white.
    """
    video, numbers = Path(store.manifest["video"]).stem, store.frame_numbers.tolist()
    for frame in tracked(sorted(store.all_stored()), "exported", "label maps"):
        label_HW, frame_number = store.read(frame), numbers[frame]
        path = folder / LAYOUT / store.manifest["teacher"] / video / f"{frame_number:06d}.{kind}"
        buffer = io.BytesIO()
        if kind == "npz":
            np.savez_compressed(buffer, allow_pickle=False, **{KEY: label_HW.astype(dtype)})
        else:
            with_palette(label_HW, palette).save(buffer, "png")
        write_atomic(path, buffer.getvalue())
        yield path


def with_palette(label_HW: np.ndarray, palette: Sequence[Sequence[int]]) -> Image.Image:
    colours = np.full((256, 3), 255, np.uint8)
    colours[: len(palette)] = palette
    colours[IGNORE] = 255
    image = Image.fromarray(label_HW).convert("L")
    image.putpalette(colours.tobytes())
    return image
