"""`odkd-labels`: its output, and that repaired, exported and imported labels are identical bit for bit."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from odkd.commands.labels import main
from odkd.commands.repair import read_recipe
from odkd.common.files import sealed
from odkd.data.labels.store import LabelStore, SoftSpec
from odkd.data.labels.store_files import find_stores

Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(capsys: pytest.CaptureFixture[str]) -> Command:
    """Return a function that runs odkd-labels and returns its exit code and output."""

    def run(*arguments: object) -> tuple[int, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as exit_:
            main([str(argument) for argument in arguments])
        code = exit_.value.code
        output = capsys.readouterr()
        printed = output.out + output.err + (code if isinstance(code, str) else "")
        return (code if isinstance(code, int) else 1), printed

    return run


@pytest.fixture
def labels(odkd: Callable[..., Path], tmp_path: Path) -> Path:
    """Return a folder with three stores of the oracle's labels."""
    odkd(
        "stage=label", "teacher.label_noise=0.1", f"paths.labels={tmp_path / 'labels'}", "teacher.licence=free to test"
    )
    return tmp_path / "labels"


def contents(folder: Path) -> dict[str, bytes]:
    """Return {name: content} of all files of a folder except session records."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.parent.name != "sessions")
    return {str(path.relative_to(folder)): path.read_bytes() for path in paths}


def flip(path: Path, place: int) -> None:
    content = bytearray(path.read_bytes())
    content[place % len(content)] ^= 0x10
    path.write_bytes(content)


def test_list_info_and_verify_describe_the_stores(labels: Path, command: Command) -> None:
    code, text = command("list", labels)
    assert code == 0
    assert text.count("oracle ") == 3
    assert "32x48" in text
    (first, *_) = find_stores(labels)
    code, text = command("info", first)
    assert code == 0
    for fact in (
        "label_noise: 0.1",
        "licence: free to test",
        "lane marking",
        "video_sha256",
        "decoder: pyav",
        "session:",
    ):
        assert fact in text
    code, text = command("verify", labels)
    assert code == 0
    assert text.count(": complete") == 3


def test_a_closed_pipe_ends_the_command_silently(labels: Path) -> None:
    """As in `odkd-labels list | head`."""
    reading, writing = os.pipe()
    os.close(reading)
    run = [sys.executable, "-m", "odkd.commands.labels", "list", str(labels)]
    done = subprocess.run(run, stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, "")


def test_damage_is_reported_and_only_damaged_frames_are_relabelled_identically(labels: Path, command: Command) -> None:
    before = contents(labels)
    stores = find_stores(labels)
    flip(LabelStore(stores[0]).labels.shard_path(0), 50)  # one frame
    LabelStore(stores[1]).labels.shard_path(0).unlink()  # all frames
    flip(stores[2] / "manifest.json", 400)
    code, text = command("verify", labels)
    assert code == 1
    assert "1 frame of labels damaged: 0" in text
    assert "10 frames missing: 0, 1, 2" in text
    assert "manifest.json is damaged" in text
    code, text = command("repair", labels)
    assert code == 0, text
    assert "1 frame labelled again; complete" in text
    assert "10 frames labelled again; complete" in text
    assert "0 frames labelled again; complete" in text
    assert contents(labels) == before


@pytest.mark.slow
def test_training_stops_at_a_damaged_frame_and_says_how_to_repair_it(
    odkd: Callable[..., Path], tmp_path: Path, command: Command
) -> None:
    labels = tmp_path / "labels"
    settings = [f"paths.labels={labels}", "teacher.label_noise=0.3"]
    odkd("stage=label", *settings)
    (store, *_) = find_stores(labels)
    flip(LabelStore(store).labels.shard_path(0), 50)
    with pytest.raises(ValueError, match="fails its checksum; `odkd-labels repair`"):
        odkd(*settings)
    assert command("repair", store)[0] == 0
    odkd(*settings)


def test_repair_says_why_it_cannot_relabel(labels: Path, command: Command, tmp_path: Path) -> None:
    (store, *_) = find_stores(labels)
    flip(LabelStore(store).labels.shard_path(0), 50)
    code, text = command("repair", store, "--set", "teacher.label_noise=0.2")
    assert code == 1
    assert "can no longer be made here: teacher was" in text
    code, text = command(
        "repair", store, "--set", "dataset.prepare=null", "--set", f"dataset.root={tmp_path / 'nowhere'}"
    )
    assert code == 1
    assert "no such folder" in text
    assert command("repair", store)[0] == 0


def test_exported_labels_are_identical_after_an_import(
    labels: Path,
    command: Command,
    tmp_path: Path,
    odkd: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    cache: Path,
) -> None:
    monkeypatch.chdir(tmp_path)
    code, text = command("export", labels, "--to", tmp_path / "out")
    assert code == 0, text
    for folder in find_stores(labels):
        store = LabelStore(folder)
        video = Path(store.manifest["video"]).stem
        for row, number in enumerate(store.manifest["sampled_frames"]):
            path = tmp_path / "out" / "pseudo_groundtruth_seg" / "oracle" / video / f"{number:06d}.npz"
            seg = np.load(path)["seg"]
            assert seg.dtype == np.int64
            np.testing.assert_array_equal(seg, store.read(row))
    from tiny_settings import TINY

    settings = [*TINY, f"paths.outputs={tmp_path}", f"paths.cache={cache}", f"paths.labels={tmp_path / 'imported'}"]
    code, text = command("import", tmp_path / "out" / "pseudo_groundtruth_seg" / "oracle", *settings)
    assert code == 0, text
    for ours, theirs in zip(find_stores(tmp_path / "imported"), find_stores(labels), strict=True):
        for row in range(LabelStore(ours).num_frames):
            np.testing.assert_array_equal(LabelStore(ours).read(row), LabelStore(theirs).read(row))
    digest = text.partition("teacher.digest=")[2].split()[0]
    run = odkd("stage=label", "teacher=folder", f"teacher.digest={digest}", f"paths.labels={tmp_path / 'imported'}")
    summary = json.loads((run / "summary.json").read_text())
    assert 0.85 < summary["teacher/accuracy_groundtruth"] < 0.95  # noise has changed a tenth of the pixels
    with pytest.raises(ValueError, match=r"set teacher\.folder"):
        odkd("stage=label", "teacher=folder", "teacher.digest=0123", f"paths.labels={tmp_path / 'imported'}")


def test_an_import_needs_no_classes_of_the_dataset(
    labels: Path, command: Command, tmp_path: Path, odkd: Callable[..., Path], cache: Path
) -> None:
    assert command("export", labels, "--to", tmp_path / "out")[0] == 0
    maps = tmp_path / "out" / "pseudo_groundtruth_seg" / "oracle"
    for path in maps.rglob("*.npz"):  # ids that no default has classes for
        np.savez(path, seg=np.load(path)["seg"] + 100)
    from tiny_settings import TINY

    settings = [*TINY, f"paths.outputs={tmp_path}", f"paths.cache={cache}", f"paths.labels={tmp_path / 'imported'}"]
    code, text = command("import", maps, *settings)
    assert code == 0, text
    (store, *_) = map(LabelStore, find_stores(tmp_path / "imported"))
    assert store.manifest["classes"] is None
    assert store.read(0).min() >= 100
    assert "do not name their classes; name them with --label-set" in command("stats", tmp_path / "imported")[1]
    use = ["stage=label", "teacher=folder", text.partition(" teacher=folder ")[2].split()[1]]
    use.append(f"paths.labels={tmp_path / 'imported'}")
    with pytest.raises(
        ValueError, match=r"ids up to 1\d\d, and dataset .* has 11 classes; say which .*teacher\.label_set"
    ):
        odkd(*use)
    names = ",".join(f"c{i}" for i in range(111))
    code, text = command("import", maps, *settings, f"teacher.label_set=[{names}]", "teacher.name=named")
    assert code == 0, text
    # What a command says of the ids is no part of the store: the import prints it for the command that uses them.
    assert {LabelStore(path).manifest["classes"] for path in find_stores(tmp_path / "imported" / "named")} == {None}
    assert f"'teacher.label_set=[{names}]'" in text


def test_png_exports_have_the_palette_and_keep_the_ids(labels: Path, command: Command, tmp_path: Path) -> None:
    (store, *_) = (LabelStore(folder) for folder in find_stores(labels))
    assert command("export", store.folder, "--to", tmp_path / "out", "--format", "png")[0] == 0
    (path, *_) = sorted((tmp_path / "out").rglob("*.png"))
    with Image.open(path) as image:
        assert image.mode == "P"
        np.testing.assert_array_equal(np.asarray(image), store.read(0))
        assert len(np.unique(np.asarray(image.convert("RGB")).reshape(-1, 3), axis=0)) == len(np.unique(store.read(0)))


def test_statistics_equal_those_of_the_label_maps(labels: Path, command: Command, tmp_path: Path) -> None:
    code, text = command("stats", labels, "--to", tmp_path / "stats")
    assert code == 0
    maps = np.stack([LabelStore(f).read(row) for f in find_stores(labels) for row in range(LabelStore(f).num_frames)])
    counts = np.bincount(maps.reshape(-1), minlength=11)
    assert f"{counts.max() / counts[counts > 0].min():,.0f} : 1" in text
    lines = (tmp_path / "stats" / "classes.csv").read_text().splitlines()
    assert [int(line.split(",")[2]) for line in lines[1:]] == counts.tolist()
    assert (tmp_path / "stats" / "classes.png").stat().st_size > 10_000


def test_prune_deletes_only_the_selected_stores_and_only_with_yes(labels: Path, command: Command) -> None:
    stores = find_stores(labels)
    left = stores[0] / "labels" / ".0.abc.tmp"
    left.write_bytes(b"x")
    os.utime(left, (time.time() - 7200,) * 2)
    _, text = command("prune", labels)
    assert "would delete" in text
    assert left.exists()
    command("prune", labels, "--yes")
    assert not left.exists()
    assert find_stores(labels) == stores
    LabelStore(stores[1]).labels.shard_path(0).unlink()
    command("prune", labels, "--incomplete", "--yes")
    assert find_stores(labels) == [stores[0], stores[2]]
    command("prune", stores[0], "--all", "--yes")
    assert find_stores(labels) == [stores[2]]
    assert command("prune", labels, "--older-than", "1")[1].endswith("nothing to delete\n")


def test_the_message_about_missing_stores_names_the_folder(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, text = command("list")
    assert code == 1
    assert "no label store in outputs/cache/labels" in text


def test_soft_labels_are_added_to_the_store_and_the_probability_beyond_top_k_is_reported(
    odkd: Callable[..., Path], tmp_path: Path, command: Command
) -> None:
    import segmentation_models_pytorch as smp
    import torch

    torch.manual_seed(0)
    network = smp.create_model("FPN", encoder_name="mobilenet_v2", encoder_weights=None, classes=11)
    checkpoint = {"arch": "FPN", "encoder_name": "mobilenet_v2", "classes": 11, "mean": [0.5] * 3, "std": [0.25] * 3}
    torch.save({"state_dict": network.state_dict(), **checkpoint}, tmp_path / "teacher.pth")
    settings = ["stage=label", "teacher=checkpoint", f"teacher.checkpoint={tmp_path / 'teacher.pth'}"]
    settings += [f"paths.labels={tmp_path / 'labels'}", "teacher.batch_size=2"]
    odkd(*settings)
    before = contents(tmp_path / "labels")
    odkd(*settings, "teacher.soft.top_k=3", "teacher.soft.size=[16,24]")
    after = contents(tmp_path / "labels")
    assert {name: after[name] for name in before} == before  # soft labels are added, label maps do not change
    (first, *_) = find_stores(tmp_path / "labels")
    store = LabelStore(first)
    classes, probabilities = store.read_soft(4, SoftSpec(3, (16, 24)))
    assert classes.shape == probabilities.shape == (3, 16, 24)
    assert (np.diff(probabilities.astype(np.float32), axis=0) <= 0).all()
    lost = 1 - probabilities.astype(np.float64).sum(0).mean()
    assert 0 < lost < 0.9
    _, text = command("info", first)
    assert "soft labels: top 3 at 16x24, 10 frames" in text
    assert "top-k leaves out" in text
    flip(first / "logsoft-top3-16x24" / "log_probabilities" / "c" / "0" / "0" / "0" / "0", 30)
    assert command("verify", first)[0] == 1
    assert command("repair", first)[0] == 0
    for row in range(store.num_frames):  # relabelled outside its first batch, so float rounding may differ
        _, values = LabelStore(first).read_soft(row, SoftSpec(3, (16, 24)))
        np.testing.assert_allclose(values, store.read_soft(row, SoftSpec(3, (16, 24)))[1], rtol=0.01)
    mended = contents(tmp_path / "labels")
    assert {name for name in after if mended[name] != after[name]} <= {
        f"{first.relative_to(tmp_path / 'labels')}/logsoft-top3-16x24/{array}/c/0/0/0/0"
        for array in ("classes", "log_probabilities")
    }


def test_a_label_set_of_another_length_than_the_stored_teachers_is_refused(
    odkd: Callable[..., Path], tmp_path: Path
) -> None:
    import segmentation_models_pytorch as smp
    import torch

    network = smp.create_model("FPN", encoder_name="mobilenet_v2", encoder_weights=None, classes=11)
    checkpoint = {"arch": "FPN", "encoder_name": "mobilenet_v2", "classes": 11, "mean": [0.5] * 3, "std": [0.25] * 3}
    torch.save({"state_dict": network.state_dict(), **checkpoint}, tmp_path / "teacher.pth")
    settings = ["stage=label", "teacher=checkpoint", f"teacher.checkpoint={tmp_path / 'teacher.pth'}"]
    settings.append(f"paths.labels={tmp_path / 'labels'}")
    wrong = [
        *settings,
        "teacher.label_set=cityscapes",
        "teacher.classes=cityscapes_to_synthetic",
        "teacher.allow_missing=true",
    ]
    with pytest.raises(ValueError, match="has 11 classes"):
        odkd(*wrong)
    odkd(*settings)
    with pytest.raises(ValueError, match=r"has 11 classes and teacher\.label_set=cityscapes has 19"):
        odkd(*wrong)


def test_ground_truth_in_other_classes_is_refused(odkd: Callable[..., Path]) -> None:
    mapping = ["dataset.palette=null", "dataset.classes=foreground", "teacher=folder", "teacher.digest=0"]
    with pytest.raises(ValueError, match=r"ground truth .* has the classes .*dataset\.groundtruth=null"):
        odkd("stage=label", *mapping)


def test_a_store_without_its_manifest_is_listed_as_damaged_and_can_be_repaired(labels: Path, command: Command) -> None:
    (first, *_) = find_stores(labels)
    (first / "manifest.json").unlink()
    code, text = command("list", labels)
    assert code == 0
    assert text.count("DAMAGED") == 1
    assert command("verify", labels)[0] == 1
    assert command("repair", first, "--set", "seed=0")[0] == 0
    assert command("verify", labels)[0] == 0


def test_an_import_that_fails_leaves_nothing_behind(tmp_path: Path, command: Command, cache: Path) -> None:
    from tiny_settings import TINY

    (tmp_path / "1,2" / "00_city").mkdir(parents=True)
    np.savez(tmp_path / "1,2" / "00_city" / "000000.npz", seg=np.zeros((32, 48), np.float32))
    settings = [*TINY, f"paths.outputs={tmp_path}", f"paths.cache={cache}", f"paths.labels={tmp_path / 'imported'}"]
    code, text = command("import", tmp_path / "1,2", *settings)
    assert code == 1
    assert "000000.npz is no label map: seg is float32" in text
    assert find_stores(tmp_path / "imported") == []
    code, text = command("import", tmp_path / "1,2", *settings, "windo.learn=3")
    assert code == 1
    assert "Traceback" not in text
    assert len(text.splitlines()) == 1


def with_recipe(store: Path, recipe: dict[str, Any]) -> None:
    """Change the recipe of a store as somebody else could, checksum included, and lose its labels."""
    manifest = LabelStore(store).manifest
    for group, settings in recipe.items():
        given = manifest["recipe"].get(group)
        manifest["recipe"][group] = given | settings if isinstance(given, dict) else settings
    (store / "manifest.json").write_bytes(sealed(manifest))
    LabelStore(store).labels.shard_path(0).unlink()


@pytest.mark.parametrize(
    "recipe",
    [
        {"allow_targets": ["os", "posix"], "teacher": {"_target_": "os.system", "command": "touch harm"}},
        {"teacher": {"_target_": "odkd.common.files.write_atomic", "path": "harm", "content": "x"}},
        {"dataset": {"prepare": {"_target_": "odkd.common.files.write_atomic", "folder": "harm", "content": "x"}}},
    ],
    ids=["os", "odkd", "prepare"],
)
def test_a_store_of_somebody_else_calls_nothing_when_it_is_repaired(
    recipe: dict[str, Any], labels: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (store, *_) = find_stores(labels)
    with_recipe(store, recipe)
    code, text = command("repair", store)
    assert (code, text.count("\n") <= 1, "Traceback" in text) == (1, True, False), text
    assert "is not allowed" in text
    assert not (tmp_path / "harm").exists()


@pytest.mark.parametrize(
    "settings",
    [
        {"_target_": "${oc.decode:'odkd.teachers.ensemble.Ensemble'}"},
        {"members": "${oc.create:{a: {trust: true}}}"},
        {"source": "${oc.env:HOME}"},
        {"seed": "${seed}"},
    ],
    ids=str,
)
def test_a_recipe_of_somebody_else_refers_to_nothing(
    settings: dict[str, Any], labels: Path, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (store, *_) = find_stores(labels)
    with_recipe(store, {"teacher": settings})
    code, text = command("repair", store)
    assert (code, text.count("\n") <= 1, "Traceback" in text) == (1, True, False), text
    assert "teacher refers to ${" in text


@pytest.mark.parametrize("name", ["a", "a.b", "a[b]"])
def test_a_member_of_a_stored_teacher_is_not_trusted_whatever_its_name(name: str, labels: Path) -> None:
    (store, *_) = find_stores(labels)
    with_recipe(store, {"teacher": {"members": {name: {"trust": True, "members": {name: {"trust": True}}}}}})
    assert read_recipe(LabelStore(store), [], None).teacher.members[name] == {"members": {name: {}}}


@pytest.mark.parametrize("name", ["labels", "sessions", "claims"])
def test_a_link_in_a_store_does_not_lead_a_repair_or_a_prune_elsewhere(
    name: str, labels: Path, command: Command, tmp_path: Path
) -> None:
    (store, *_) = find_stores(labels)
    victim = tmp_path / "victim"
    victim.mkdir()
    for file in ("settings.json", "zarr.json"):
        (victim / file).write_text("mine")
        os.utime(victim / file, (0, 0))
    shutil.rmtree(store / name, ignore_errors=True)
    (store / name).symlink_to(victim)
    code, text = command("repair", store)
    assert (code, "is a link" in text, "Traceback" in text) == (1, True, False), text
    command("prune", "--yes", labels)
    assert {path.name: path.read_text() for path in victim.iterdir()} == {"settings.json": "mine", "zarr.json": "mine"}


@pytest.mark.parametrize("name", ["labels", "sessions", "claims"])
def test_a_link_in_a_store_does_not_lead_a_labelling_elsewhere(
    name: str, labels: Path, odkd: Callable[..., Path], tmp_path: Path
) -> None:
    (store, *_) = find_stores(labels)
    victim = tmp_path / "victim"
    victim.mkdir()
    shutil.rmtree(store / "labels" / "c")
    (store / "labels" / "zarr.json").unlink()
    shutil.rmtree(store / name, ignore_errors=True)
    (store / name).symlink_to(victim)
    with pytest.raises(ValueError, match="is a link, and would lead elsewhere"):
        odkd(
            *("stage=label", "teacher.label_noise=0.1", f"paths.labels={labels}", "teacher.licence=free to test"),
            "run.restart=true",
        )
    assert list(victim.iterdir()) == []


def test_a_store_of_somebody_else_permits_nothing_and_says_not_where_to_write(labels: Path, tmp_path: Path) -> None:
    (store, *_) = find_stores(labels)
    elsewhere = str(tmp_path / "elsewhere")
    prepare = LabelStore(store).manifest["recipe"]["dataset"]["prepare"] | {"folder": elsewhere}
    with_recipe(store, {"allow_targets": ["os"], "teacher": {"trust": True}, "dataset": {"prepare": prepare}})
    cfg = read_recipe(LabelStore(store), [], None)
    assert (cfg.allow_targets, cfg.teacher.get("trust")) == ([], None)
    assert not cfg.dataset.prepare.folder.startswith(elsewhere)
    cfg = read_recipe(LabelStore(store), ["allow_targets=[mine]"], None)
    assert cfg.allow_targets == ["mine"]


@pytest.mark.parametrize("change", [{"teacher": "../../elsewhere"}, {"teacher": "/tmp/x"}, {"video": ".."}])
def test_the_names_of_a_store_lead_nowhere(
    change: dict[str, str], labels: Path, command: Command, tmp_path: Path
) -> None:
    (store, *_) = find_stores(labels)
    (store / "manifest.json").write_bytes(sealed(LabelStore(store).manifest | change))
    code, text = command("export", store, "--to", tmp_path / "deep" / "er" / "exported")
    assert (code, "is none of a folder" in text, "Traceback" in text) == (1, True, False), text
    assert not (tmp_path / "deep").exists()


def test_a_terminal_does_not_obey_the_name_of_a_video(labels: Path, command: Command) -> None:
    (store, *_) = find_stores(labels)
    name = "a\x1b]0;title\x07\nFAKE: all verified\r.mp4"
    (store / "manifest.json").write_bytes(sealed(LabelStore(store).manifest | {"video": name}))
    _, text = command("list", labels)
    assert "a\\x1b]0;title\\x07\\nFAKE: all verified\\r.mp4" in text
    assert not [line for line in text.splitlines() if line.startswith("FAKE")]
