"""Views of an invented session: a street whose car drives, with answers that become better."""

import math

import numpy as np

from odkd.runs.page.view import View

CLASSES = ["road", "sky", "car", "tree"]
PALETTE = [[128, 64, 128], [70, 130, 180], [0, 0, 142], [107, 142, 35]]


def scene(number: int, *, height: int = 180, width: int = 320) -> tuple[np.ndarray, np.ndarray]:
    """Return an image, uint8 [H, W, 3], and its labels, uint8 [H, W]."""
    labels_HW = np.zeros((height, width), np.uint8)
    labels_HW[: height // 2] = 1
    labels_HW[height // 3 : height // 2, : width // 3] = 3
    left = 7 * number % (width - width // 4)
    labels_HW[height // 2 : 3 * height // 4, left : left + width // 4] = 2
    colours = np.array([[90, 90, 95], [150, 190, 230], [180, 30, 40], [40, 110, 50]], np.uint8)
    grain = np.random.default_rng(number).integers(0, 20, (height, width, 1), np.uint8)
    return colours[labels_HW] + grain, labels_HW


def view(number: int = 40, **changes: object) -> View:
    """Return what a session shows at its frame `number`, a tenth of a second each."""
    seconds, labelled = number / 10, max(number - 17, 0)
    (image_HWC, labels_HW), (teacher_image_HWC, teacher_labels_HW) = scene(number), scene(labelled)
    answer_HW = np.roll(labels_HW, 5, 1)
    answer_HW[-20:, -40:] = 255
    at = {
        "seconds": seconds,
        "frame_number": number,
        "image_HWC": image_HWC,
        "labels_HW": answer_HW,
        "teacher_image_HWC": teacher_image_HWC,
        "teacher_labels_HW": teacher_labels_HW,
        "teacher_made_seconds": labelled / 10 + 1,
        "scores": [(t, 0.9 - 0.6 * math.exp(-t / 9) + 0.03 * math.sin(5 * t)) for t in np.arange(1, seconds, 0.5)],
        "numbers": {
            "clock/weights_age_seconds": 3.2,
            "clock/label_age_seconds": 1.7,
            "live/frames_per_second": 24.97,
            "clock/frames_dropped": 12.0,
            "clock/teacher_utilisation": 0.83,
            "cost/updates": 480.0,
            "cost/bytes_down": 1.25e6,
            "system/process_memory_megabytes": 812.0,
        },
        "state": {"source": "running", "student": "running", "teacher": "running", "trainer": "running"},
        "palette": PALETTE,
        "classes": CLASSES,
        "title": "street",
    }
    return View(**(at | changes))  # type: ignore[arg-type]
