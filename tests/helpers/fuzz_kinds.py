"""The kinds of inputs that are fuzzed: how each is made, and what reads it."""

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import matplotlib.pyplot  # noqa: F401 - its first import makes a folder for its settings
import numpy as np
import torch
from fuzzing import Prepare
from mutations import ODD, changed, damaged, damaged_json
from omegaconf import OmegaConf
from PIL import Image
from run_folders import make_run
from safetensors.torch import save
from video_files import write_video

from odkd.commands import labels as labels_command
from odkd.commands import report as report_command
from odkd.config.check import check_config
from odkd.config.check_parts import check_components
from odkd.config.compose import complete, compose_config
from odkd.config.image_datasets import _listed
from odkd.config.parts import Parts
from odkd.config.parts_student import student_arguments
from odkd.config.segmenter import load_student
from odkd.data.labels.claims import Claims
from odkd.data.labels.ids import PanopticIds
from odkd.data.labels.map_files import open_map
from odkd.data.labels.store import Labelled, LabelStore
from odkd.data.video.decode import decode_frames
from odkd.data.video.image_index import index_images, read_picture
from odkd.data.video.index import index_video
from odkd.data.video.patterns import find_files
from odkd.report.html_sweep import write_sweep_report
from odkd.report.plots import read_confusions
from odkd.report.settings import classes_of, settings_of
from odkd.report.stills import read_stills
from odkd.report.tables.spec import load_table
from odkd.runs.checkpoint import Checkpoint
from odkd.runs.folder_store import FolderStore
from odkd.runs.mlflow_sync import is_complete
from odkd.runs.results import cost_of, read_run, status_of
from odkd.students.tinynet import TinyNet
from odkd.students.weights import read_checkpoint
from odkd.teachers.exported_description import read_description
from odkd.teachers.folder import FolderTeacher

STUDENT = ["student=tinynet", "debug=smoke", "tracking=none"]
TABLE = b"title: t\nrows: {a: {overrides: [replay=fifo], seeds: [0]}}\ncolumns: {m: {metric: total/miou}}\nfixed: []\n"
EXPORTED = b"classes: [a, b]\nmean: [0.5, 0.5, 0.5]\nstd: [0.2, 0.2, 0.2]\noutput: logits\n"
PANOPTIC = {
    "categories": [{"id": 1, "name": "road"}],
    "annotations": [{"file_name": "0.png", "segments_info": [{"id": 1, "category_id": 1}]}],
}
JSON_FILES = ("run.json", "summary.json", "mlflow.json", "cost.json", "stills/stills.json")


class Originals:
    """Sound files, made once, from which the inputs are made."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        rng = np.random.default_rng(0)
        ids, image = rng.integers(0, 3, (40, 60), np.uint8), rng.integers(0, 255, (40, 60, 3), np.uint8)
        self.pictures = [_encoded(image, form) for form in ("PNG", "JPEG", "BMP", "TIFF", "WEBP", "PPM")]
        self.maps = [_encoded(ids, "PNG"), _encoded(ids, "TIFF"), _encoded(image, "PNG")]
        buffer = io.BytesIO()
        np.savez_compressed(buffer, allow_pickle=False, seg=ids.astype(np.int64))
        self.npz = buffer.getvalue()
        self.video = write_video(folder / "clip.mp4", num_frames=12).read_bytes()
        cfg = complete(compose_config(STUDENT))
        self.config = OmegaConf.to_container(cfg, resolve=True)
        self.settings = OmegaConf.to_container(compose_config(STUDENT))
        state = {"a.weight": torch.ones(3, 4), "a.bias": torch.zeros(3)}
        self.weights = [save(state), _saved({"state_dict": state}), _saved([1, 2]), _saved(state, is_zip=False)]
        checkpoint = Checkpoint(folder / "checkpoint.pt", overhead=1)
        checkpoint.save({"iteration": 3, "student": state})
        self.checkpoint = (folder / "checkpoint.pt").read_bytes()
        self.run = make_run(folder / "outputs" / "runs" / "a", num_iterations=3, classes=["road", "car"])
        (self.run / "config.yaml").write_text(OmegaConf.to_yaml(cfg, resolve=True))
        cost = {"processes": [{"started": "2026-01-01T00:00:00+00:00", "seconds": 2.0, "peak_memory_bytes": 10**8}]}
        (self.run / "cost.json").write_text(json.dumps(cost))
        (self.run / "stills").mkdir()
        (self.run / "stills" / "00.webp").write_bytes(self.pictures[4])
        stills = {"titles": ["teacher", "student"], "stills": [{"file": "00.webp", "caption": "c", "step": 1}]}
        (self.run / "stills" / "stills.json").write_text(json.dumps(stills))
        manifest = {
            "teacher": "t",
            "identity": {"size": [40, 60], "teacher": {"name": "t"}},
            "video": "clip.mp4",
            "shard_frames": 4,
            "sampled_frames": [0, 5, 10],
            "classes": ["a", "b", "c"],
        }
        store = LabelStore.create(folder / "labels" / "t" / "clip-0123456789abcdef", manifest)
        store.write(0, {frame: Labelled(ids) for frame in range(3)})
        self.store = store.folder
        student = TinyNet(num_classes=len(cfg.dataset.classes), **student_arguments(cfg.student))
        self.student = save(student.state_dict())
        job = {"number": 0, "overrides": ["seed=1"], "status": "finished", "run": "runs/a", "seconds": 1.0}
        sweep = {"key": "k", "name": "n", "command": "odkd -m", "overrides": ["seed=1"], "varying": ["seed"]}
        sweep |= {"status": "finished", "created": "2026-01-01T00:00:00+00:00", "seconds": 1.0, "metric": "total/miou"}
        self.sweep = sweep | {"jobs": [job | {"value": 0.5, "metric": "total/miou", "error": None}]}


def _encoded(pixels: np.ndarray, form: str) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, form)
    return buffer.getvalue()


def _saved(value: Any, *, is_zip: bool = True) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, _use_new_zipfile_serialization=is_zip)
    return buffer.getvalue()


def kinds(made: Originals) -> dict[str, Prepare]:
    """Return the kinds by name."""

    def of_bytes(name: str, contents: list[bytes], read: Callable[[Path], object]) -> Prepare:
        def prepare(number: int, folder: Path) -> Callable[[], object]:
            random = Random(f"{name} {number}")
            mutate = damaged_json if name.endswith(".json") else damaged
            path = folder / Path(name).name
            path.write_bytes(mutate(random.choice(contents), random))
            return lambda: read(path)

        return prepare

    panoptic = json.dumps(PANOPTIC).encode()
    return {
        "pictures": of_bytes("0.png", made.pictures, read_picture),
        "images of a dataset": of_bytes("1.png", made.pictures, _index_image),
        "ground truth maps": of_bytes("0.tif", made.maps, _read_map),
        "label maps (png)": of_bytes("000000.png", made.maps, _read_label),
        "label maps (npz)": of_bytes("000000.npz", [made.npz], _read_label),
        "videos": of_bytes("clip.mp4", [made.video], _decode),
        "weights": of_bytes("weights.pt", made.weights, lambda path: read_checkpoint(path, "student.weights")),
        "weights (safetensors)": of_bytes("w.safetensors", made.weights[:1], lambda p: read_checkpoint(p, "s.weights")),
        "checkpoints": of_bytes("checkpoint.pt", [made.checkpoint, *made.weights[1:]], _load_checkpoint),
        "panoptic annotations": of_bytes("p.json", [panoptic], lambda path: PanopticIds(path, ["road", "car"])),
        "claims": of_bytes("0.json", [b'{"pid": 1, "host": "h", "started": "5"}'], lambda p: Claims().take(p)),
        "tables of splits": of_bytes("s.csv", [b"split,video,frame\ntrain,a,3\nval,b,4\n"], _listed),
        "tables (yaml)": of_bytes("table.yaml", [TABLE], lambda path: load_table(str(path))),
        "descriptions (yaml)": of_bytes("d.yaml", [EXPORTED], read_description),
        "YAML files of a group": _yaml_files,
        "run folders": _of_folder(made.run, _read_folder_of_run, "outputs/runs/a"),
        "students of a run": _students(made),
        "label stores": _of_folder(made.store, _verify, "labels/t/s-0123456789abcdef"),
        "sweeps": _sweeps(made),
        "values of settings": _settings(made),
        "names of files": _names(made),
    }


def _index_image(path: Path) -> None:
    index_images(path.parent, "c", [path.name], size=(32, 32), fit="stretch", cache=path.parent / "cache")


def _read_map(path: Path) -> None:
    with open_map(path) as image:
        np.asarray(image)


def _read_label(path: Path) -> None:
    (path.parent / "maps" / "v").mkdir(parents=True)
    shutil.move(path, path.parent / "maps" / "v" / path.name)
    teacher = FolderTeacher(str(path.parent / "maps"), num_classes=3)
    teacher._read(path.parent / "maps" / "v" / path.name)


def _load_checkpoint(path: Path) -> None:
    Checkpoint(path, overhead=1).load()


def _decode(path: Path) -> None:
    index = index_video(path, path.parent / "cache")
    list(decode_frames(index, np.arange(min(index.num_frames, 12)), size=(32, 32)))


def _of_folder(original: Path, read: Callable[[Path], object], name: str) -> Prepare:
    files = sorted(path.relative_to(original) for path in original.rglob("*") if path.is_file())
    files = [path for path in files if path.suffix not in (".mp4", ".csv", ".md", ".lock")]

    def prepare(number: int, folder: Path) -> Callable[[], object]:
        random = Random(f"{name} {number}")
        place = folder / name
        shutil.copytree(original, place)
        path = place / random.choice(files)
        if random.random() < 0.05:
            path.unlink()
            path.mkdir()
        elif path.suffix == ".jsonl":
            lines = path.read_bytes().splitlines() or [b"{}"]
            lines[random.randrange(len(lines))] = damaged_json(lines[0], random)
            path.write_bytes(b"\n".join(lines) + b"\n")
        else:
            path.write_bytes((damaged_json if path.suffix == ".json" else damaged)(path.read_bytes(), random))
        return lambda: read(place)

    return prepare


def _read_folder_of_run(folder: Path) -> None:
    """Read a run as reports, tables and MLflow do; the first refusal does not end the rest."""
    outputs = folder.parents[1]
    readers: list[Callable[[], object]] = [
        lambda: settings_of(read_run(folder)),
        lambda: classes_of(read_run(folder)),
        lambda: status_of(folder),
        lambda: cost_of(folder),
        lambda: read_stills(folder),
        lambda: read_confusions(folder),
        lambda: is_complete(folder, uri="sqlite:///x.db", experiment="odkd"),
        lambda: FolderStore(outputs).runs(),
    ]
    if hash(str(sorted(path.stat().st_size for path in folder.iterdir()))) % 25 == 0:  # figures take a second
        readers = [lambda: report_command.main([str(folder)])]
    refused: ValueError | OSError | None = None
    for read in readers:
        try:
            read()
        except (ValueError, OSError) as error:
            refused = refused or error
            from odkd.__main__ import user_message

            if user_message(error) is None:
                raise
    if refused is not None:
        raise refused


def _verify(folder: Path) -> None:
    for words in (["verify"], ["info"], ["list"], ["stats"]):
        try:
            labels_command.main([*words, str(folder)])
        except SystemExit as ending:
            if ending.code not in (0, 1, None):
                raise


def _students(made: Originals) -> Prepare:
    def prepare(number: int, folder: Path) -> Callable[[], object]:
        random = Random(f"student {number}")
        config = json.loads(json.dumps(made.config))
        text = OmegaConf.to_yaml(config).encode()
        if random.random() < 0.5:
            import yaml

            text = yaml.safe_dump(changed(config, random)).encode()
        else:
            text = damaged(text, random)
        (folder / "config.yaml").write_bytes(text)
        (folder / "student.safetensors").write_bytes(made.student)
        return lambda: load_student(folder, device="cpu")

    return prepare


def _sweeps(made: Originals) -> Prepare:
    def prepare(number: int, folder: Path) -> Callable[[], object]:
        random = Random(f"sweep {number}")
        place = folder / "outputs" / "sweeps" / "s"
        place.mkdir(parents=True)
        (place / "sweep.json").write_bytes(damaged_json(json.dumps(made.sweep).encode(), random))
        return lambda: write_sweep_report(place)

    return prepare


def _yaml_files(number: int, folder: Path) -> Callable[[], object]:
    random = Random(f"yaml {number}")
    (folder / "my" / "replay").mkdir(parents=True)
    bomb = "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9) if n else 1}]\n" for n in range(9)).encode()
    good = b"_target_: odkd.training.replay.fifo.Fifo\ncapacity: 5 # positions\n"
    content = bomb if random.random() < 0.05 else damaged(good, random)
    (folder / "my" / "replay" / "mine.yaml").write_bytes(content)
    return lambda: check_config(complete(compose_config(["replay=mine", "tracking=none"], str(folder / "my"))))


def _settings(made: Originals) -> Prepare:
    keys: list[str] = []

    def collect(value: Any, prefix: str) -> None:
        for key, inner in value.items() if isinstance(value, dict) else ():
            keys.append(f"{prefix}{key}")
            collect(inner, f"{prefix}{key}.")

    collect(made.settings, "")

    def prepare(number: int, folder: Path) -> Callable[[], object]:
        del folder
        key, value = keys[number % len(keys)], ODD[number // len(keys) % len(ODD)]
        cfg = OmegaConf.create(json.loads(json.dumps(made.settings)))

        def read() -> None:
            OmegaConf.update(cfg, key, value, merge=False)
            whole = complete(cfg)
            check_config(whole)
            if number % 5 == 0:
                check_components(Parts(whole))

        return read

    return prepare


def _names(made: Originals) -> Prepare:
    letters = ["a", " ", "\n", "\t", "é", "☃", "%", "#", "{", "}", "'", '"', "\\", "*", "?", "[", "-", ".", "\x7f", "$"]

    def prepare(number: int, folder: Path) -> Callable[[], object]:
        random = Random(f"names {number}")
        name = "".join(random.choices(letters, k=random.choice((1, 2, 5, 100)))).strip("/") or "a"
        place = folder / "images"
        place.mkdir()
        try:
            (place / f"{name}.png").write_bytes(made.pictures[0])
        except OSError:
            return lambda: None

        def read() -> None:
            found = [found for found, _ in find_files(folder, "images/{image}.*")]
            if found:
                index_images(folder, "c", found, size=(32, 32), fit="stretch", cache=folder / "cache")
            cfg = OmegaConf.create(json.loads(json.dumps(made.settings)))
            cfg.dataset.groundtruth_classes = None
            cfg.dataset.classes = [name, *list(cfg.dataset.classes)[1:]]
            check_config(complete(cfg))

        return read

    return prepare
