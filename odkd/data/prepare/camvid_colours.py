"""The 32 classes of the original CamVid labels by colour, and which of SegNet's 11 classes each becomes.

Names and colours: label_colors.txt of the data set. Grouping: SegNet (Badrinarayanan, Kendall, Cipolla, PAMI 2017), as
MathWorks' example "Semantic Segmentation Using Deep Learning" spells it out (camvidPixelLabelIDs).
"""

import numpy as np

from odkd.common.ignore import IGNORE
from odkd.data.labels.sets import label_set

VOID = "void"  # not labelled: becomes 255
GROUPS = {  # SegNet's class -> original class -> its colour (R, G, B)
    "sky": {"Sky": (128, 128, 128)},
    "building": {
        "Building": (128, 0, 0),
        "Archway": (192, 0, 128),
        "Bridge": (0, 128, 64),
        "Tunnel": (64, 0, 64),
        "Wall": (64, 192, 0),
    },
    "pole": {"Column_Pole": (192, 192, 128), "TrafficCone": (0, 0, 64)},
    "road": {"Road": (128, 64, 128), "LaneMkgsDriv": (128, 0, 192), "LaneMkgsNonDriv": (192, 0, 64)},
    "pavement": {"Sidewalk": (0, 0, 192), "ParkingBlock": (64, 192, 128), "RoadShoulder": (128, 128, 192)},
    "tree": {"Tree": (128, 128, 0), "VegetationMisc": (192, 192, 0)},
    "sign": {"SignSymbol": (192, 128, 128), "Misc_Text": (128, 128, 64), "TrafficLight": (0, 64, 64)},
    "fence": {"Fence": (64, 64, 128)},
    "car": {
        "Car": (64, 0, 128),
        "SUVPickupTruck": (64, 128, 192),
        "Truck_Bus": (192, 128, 192),
        "Train": (192, 64, 128),
        "OtherMoving": (128, 64, 64),
    },
    "pedestrian": {
        "Pedestrian": (64, 64, 0),
        "Child": (192, 128, 64),
        "CartLuggagePram": (64, 0, 192),
        "Animal": (64, 128, 64),
    },
    "bicyclist": {"Bicyclist": (0, 128, 192), "MotorcycleScooter": (192, 0, 192)},
    VOID: {"Void": (0, 0, 0)},
}


def class_ids(colours_HW3: np.ndarray) -> tuple[np.ndarray, int]:
    """Return the ids of SegNet's classes, uint8 [H, W], 255 = void, and the number of pixels of no known colour.

    Those pixels are 255, too.

    >>> class_ids(np.array([[[0, 0, 192], [0, 0, 0], [1, 2, 3]]], np.uint8))
    (array([[  4, 255, 255]], dtype=uint8), 1)
    """
    classes = label_set("camvid").classes
    red_HW, green_HW, blue_HW = np.moveaxis(colours_HW3.astype(np.uint32), -1, 0)
    packed_P, places_HW = np.unique(red_HW << 16 | green_HW << 8 | blue_HW, return_inverse=True)
    known = {
        red << 16 | green << 8 | blue: IGNORE if name == VOID else classes.index(name)
        for name, colours in GROUPS.items()
        for red, green, blue in colours.values()
    }
    ids_P = np.array([known.get(int(packed), IGNORE) for packed in packed_P], np.uint8)
    is_unknown_P = np.array([int(packed) not in known for packed in packed_P])
    places_HW = places_HW.reshape(colours_HW3.shape[:2])  # numpy 2.0 alone keeps the shape
    return ids_P[places_HW], int(is_unknown_P[places_HW].sum())
