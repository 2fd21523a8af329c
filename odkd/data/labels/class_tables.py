"""Tables from one label set to another: {dataset class: [teacher classes]}; teacher classes not listed are ignored.

A table lists every source, also one of the same name, so that it is complete. Where classes do not match one to one, a
comment explains the choice. A dataset class that the teacher lacks is left out, which needs `allow_missing`.
"""

TABLES: dict[str, dict[str, list[str]]] = {
    # CamVid's 11 classes are groups of its 32, and the table follows the groups: Wall is in building, TrafficLight
    # in sign, Truck_Bus and Train in car, VegetationMisc in tree, MotorcycleScooter in bicyclist.
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
        "bicyclist": ["rider", "bicycle", "motorcycle"],  # CamVid joins rider and vehicle; parked ones are rare
    },
    # In this direction the groups cannot be separated: each becomes its most frequent member.
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
        "rider": ["bicyclist"],  # includes the bicycle, which is lost as a class
        "car": ["car"],
    },
    # The official train ids: classes that are not scored are ignored, including polegroup.
    "cityscapes_ids_to_cityscapes": {
        name: [name]
        for name in (
            "road",
            "sidewalk",
            "building",
            "wall",
            "fence",
            "pole",
            "traffic light",
            "traffic sign",
            "vegetation",
            "terrain",
            "sky",
            "person",
            "rider",
            "car",
            "truck",
            "bus",
            "train",
            "motorcycle",
            "bicycle",
        )
    },
    # The built-in scene. Cityscapes labels lane markings as road, so this class has no source.
    "cityscapes_to_synthetic": {
        "road": ["road"],
        "pavement": ["sidewalk"],
        "building": ["building"],
        "fence": ["fence", "wall"],  # the scene's barriers along the road
        "pole": ["pole"],
        "sign": ["traffic sign", "traffic light"],
        "vegetation": ["vegetation", "terrain"],  # the scene's grass is vegetation
        "sky": ["sky"],
        "car": ["car", "truck", "bus"],  # the scene has no trains and no two-wheelers: they are ignored
        "pedestrian": ["person", "rider"],
    },
    # COCO has no pole and no rider (a cyclist is a person).
    "coco_panoptic_to_cityscapes": {
        "road": ["road"],
        "sidewalk": ["pavement-merged"],
        # Cityscapes counts all parts of a building's front as building.
        "building": ["building-other-merged", "house", "roof", "door-stuff", "window-other"],
        # COCO also labels the brickwork of a house, seen close up, as wall.
        "wall": ["wall-brick", "wall-stone", "wall-tile", "wall-wood", "wall-other-merged"],
        "fence": ["fence-merged"],
        "traffic light": ["traffic light"],
        "traffic sign": ["stop sign"],  # COCO's only sign class: other signs get the class behind them
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
        "wall": ["wall-brick", "wall-concrete", "wall-other", "wall-panel", "wall-stone", "wall-tile", "wall-wood"],
        "fence": ["fence", "railing"],  # guard rails are a separate class in Cityscapes, which is not scored
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
    # ADE20K has no rider and no train.
    "ade20k_to_cityscapes": {
        "road": ["road"],
        "sidewalk": ["sidewalk", "path"],  # in street scenes a path is for pedestrians
        "building": [
            "building",
            "house",
            "skyscraper",
            "hovel",
            "tower",
            "booth",
            "door",
            "windowpane",
            "awning",
            "column",
        ],
        "wall": ["wall"],  # ADE20K's walls are mostly indoors; outdoors they often belong to a house
        "fence": ["fence", "railing"],
        "pole": ["pole", "streetlight"],
        "traffic light": ["traffic light"],
        "traffic sign": ["signboard"],  # includes shop signs: ADE20K has one class for both
        "vegetation": ["tree", "plant", "palm", "flower"],
        "terrain": ["grass", "earth", "field", "sand", "land", "dirt track"],  # distant hills, mountains are ignored
        "sky": ["sky"],
        "person": ["person"],
        "car": ["car", "van"],  # Cityscapes counts vans as cars
        "truck": ["truck"],
        "bus": ["bus"],
        "motorcycle": ["minibike"],
        "bicycle": ["bicycle"],
    },
}
