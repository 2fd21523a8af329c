"""Tables from one label set to another's classes: {dataset class: [teacher classes]}; what is not listed is ignored.

A table names every source, those of the same name too: it says all that it does. Where classes do not match one
to one, the choice is explained. A class that the teacher cannot know is left out, and `allow_missing` asks about it.
"""

TABLES: dict[str, dict[str, list[str]]] = {
    # CamVid's 11 classes are groups of its 32; the groups decide: Wall is in building, TrafficLight in sign,
    # Truck_Bus and Train in car, VegetationMisc in tree, MotorcycleScooter in bicyclist.
    "cityscapes_to_camvid": {
        "sky": ["sky"],
        "building": ["building", "wall"],
        "pole": ["pole"],
        "road": ["road"],
        "pavement": ["sidewalk"],
        "tree": ["vegetation", "terrain"],  # verges are VegetationMisc
        "sign": ["traffic sign", "traffic light"],
        "fence": ["fence"],
        "car": ["car", "truck", "bus", "train"],
        "pedestrian": ["person"],
        "bicyclist": ["rider", "bicycle", "motorcycle"],  # CamVid labels rider and machine as one; parked ones are rare
    },
    # The other way the groups cannot be taken apart: each goes to its most frequent member.
    "camvid_to_cityscapes": {
        "road": ["road"],
        "sidewalk": ["pavement"],
        "building": ["building"],
        "fence": ["fence"],
        "pole": ["pole"],
        "traffic sign": ["sign"],
        "vegetation": ["tree"],
        "sky": ["sky"],
        "person": ["pedestrian"],
        "rider": ["bicyclist"],  # the bicycle below it is lost
        "car": ["car"],
    },
    # The official train ids: the classes that are not scored are ignored, polegroup too.
    "cityscapes_ids_to_cityscapes": {
        name: [name]
        for name in (
            "road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation",
            "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
        )
    },
    # The embedded scene. Cityscapes has no lane marking (it is road): the class stays without a source.
    "cityscapes_to_synthetic": {
        "road": ["road"],
        "pavement": ["sidewalk"],
        "building": ["building"],
        "fence": ["fence", "wall"],  # the scene's barriers along the road
        "pole": ["pole"],
        "sign": ["traffic sign", "traffic light"],
        "vegetation": ["vegetation", "terrain"],  # the scene's grass is vegetation
        "sky": ["sky"],
        "car": ["car", "truck", "bus"],  # the scene has no train and no two-wheelers: those are ignored
        "pedestrian": ["person", "rider"],
    },
    # COCO has neither pole nor rider (a cyclist is a person).
    "coco_panoptic_to_cityscapes": {
        "road": ["road"],
        "sidewalk": ["pavement-merged"],
        # Cityscapes counts what a building's front is made of as building.
        "building": ["building-other-merged", "house", "roof", "door-stuff", "window-other"],
        # COCO also calls a house's brickwork seen close up a wall.
        "wall": ["wall-brick", "wall-stone", "wall-tile", "wall-wood", "wall-other-merged"],
        "fence": ["fence-merged"],
        "traffic light": ["traffic light"],
        "traffic sign": ["stop sign"],  # its only sign: others stay what is behind them
        "vegetation": ["tree-merged", "potted plant", "flower"],
        "terrain": ["grass-merged", "dirt-merged", "sand", "gravel", "playingfield"],  # horizontal, not paved
        "sky": ["sky-other-merged"],
        "person": ["person"],
        "car": ["car"],
        "truck": ["truck"],
        "bus": ["bus"],
        "train": ["train"],
        "motorcycle": ["motorcycle"],
        "bicycle": ["bicycle"],
    },
    "coco_stuff_to_cityscapes": {
        "road": ["road"],
        "sidewalk": ["pavement"],
        "building": ["building-other", "house", "skyscraper", "roof", "door-stuff", "window-other"],
        "wall": [
            "wall-brick", "wall-concrete", "wall-other", "wall-panel", "wall-stone", "wall-tile", "wall-wood",
        ],
        "fence": ["fence", "railing"],  # Cityscapes' guard rails are another class, which is not scored
        "traffic light": ["traffic light"],
        "traffic sign": ["stop sign"],
        "vegetation": ["tree", "bush", "branch", "leaves", "plant-other", "potted plant", "flower"],
        "terrain": ["grass", "dirt", "mud", "sand", "gravel", "playingfield"],  # ground-other may be paved: ignored
        "sky": ["sky-other", "clouds"],
        "person": ["person"],
        "car": ["car"],
        "truck": ["truck"],
        "bus": ["bus"],
        "train": ["train"],
        "motorcycle": ["motorcycle"],
        "bicycle": ["bicycle"],
    },
    # ADE20K has neither rider nor train.
    "ade20k_to_cityscapes": {
        "road": ["road"],
        "sidewalk": ["sidewalk", "path"],  # in streets a path is for walkers
        "building": [
            "building", "house", "skyscraper", "hovel", "tower", "booth", "door", "windowpane", "awning", "column",
        ],
        "wall": ["wall"],  # ADE20K's is mostly indoors, and outdoors often a house's
        "fence": ["fence", "railing"],
        "pole": ["pole", "streetlight"],
        "traffic light": ["traffic light"],
        "traffic sign": ["signboard"],  # shop signs are among them; ADE20K does not tell them apart
        "vegetation": ["tree", "plant", "palm", "flower"],
        "terrain": ["grass", "earth", "field", "sand", "land", "dirt track"],  # hill and mountain are far: ignored
        "sky": ["sky"],
        "person": ["person"],
        "car": ["car", "van"],  # Cityscapes counts vans as cars
        "truck": ["truck"],
        "bus": ["bus"],
        "motorcycle": ["minibike"],
        "bicycle": ["bicycle"],
    },
}  # fmt: skip
