"""Soft labels from the store to the loss: mapped, loaded by the bank, learned from; and runs with `loss=mckd`."""

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from extras import need
from torch import Tensor, nn

from odkd.data.labels.mapped_labels import MappedLabels, map_top_k
from odkd.data.labels.mapping import class_table
from odkd.data.labels.soft import top_k
from odkd.data.labels.store import Labelled, LabelStore, SoftSpec
from odkd.data.labels.store_files import find_stores
from odkd.data.tensor_bank import Bank, Normalization
from odkd.training.augment import Augmentation
from odkd.training.learn import Learner
from odkd.training.losses import CrossEntropy, Loss, SoftLabels, SoftLoss
from odkd.training.losses.dice import Dice
from odkd.training.losses.kl import KlDivergence
from odkd.training.losses.weighted_sum import WeightedSum
from odkd.training.regularizers.none import NoRegularizer

CPU = torch.device("cpu")


class Frames:
    def read(self, positions: Sequence[int]) -> np.ndarray:
        return np.stack([np.random.default_rng(p).integers(0, 256, (8, 12, 3), dtype=np.uint8) for p in positions])


class Labels:
    """Soft labels of 4 teacher classes at half the size of the images."""

    def read(self, position: int) -> np.ndarray:
        return np.full((8, 12), position % 3, np.uint8)

    def read_soft(self, position: int) -> tuple[np.ndarray, np.ndarray]:
        generator = np.random.default_rng(position)
        shares = np.sort(generator.dirichlet(np.ones(4), 24).T, 0)[::-1][:2]
        ids = np.stack([generator.permutation(4)[:2] for _ in range(24)], -1)
        return ids.reshape(2, 4, 6).astype(np.uint8), shares.reshape(2, 4, 6).astype(np.float16)


def make_bank(memory_bytes: int = 10**9, labels: object = None, soft: Sequence[str] = ("teacher",)) -> Bank:
    return Bank(
        Frames(),
        {"teacher": labels or Labels()},  # type: ignore[dict-item]
        num_classes=4,
        device=CPU,
        memory_bytes=memory_bytes,
        normalization=Normalization(),
        channels_last=False,
        soft=soft,
    )


def make_learner(loss: Loss | SoftLoss, augment: Augmentation | None = None) -> Learner:
    torch.manual_seed(0)
    student = nn.Conv2d(3, 4, 1)
    return Learner(
        student,
        torch.optim.SGD(student.parameters(), 0.1),
        loss,
        NoRegularizer(),
        source="teacher",
        precision="float32",
        device=CPU,
        augment=augment,
    )


def test_the_bank_gives_soft_labels_and_counts_their_bytes() -> None:
    frame_bytes = 8 * 12 * 4 + 2 * 4 * 6 * 3
    with make_bank(2 * frame_bytes) as bank:
        soft = bank.get([5, 3]).soft["teacher"]
        for index, position in enumerate((5, 3)):
            ids, shares = Labels().read_soft(position)
            np.testing.assert_array_equal(soft.classes_BkHW[index].numpy(), ids)
            np.testing.assert_array_equal(soft.probabilities_BkHW[index].numpy(), shares)
        assert bank._num_bytes == 2 * frame_bytes
        bank.get([1])
        assert set(bank._resident) == {3, 1}
    with make_bank(soft=()) as bank:
        assert bank.get([0]).soft == {}


@pytest.mark.parametrize(("num_classes", "kept"), [(2, 1), (19, 3), (19, 19), (150, 150)])
def test_stored_probabilities_of_a_confident_teacher_give_the_same_loss_at_a_high_temperature(
    tmp_path: Path, num_classes: int, kept: int
) -> None:
    generator = torch.Generator().manual_seed(0)
    # Where not all classes are kept, the rest of the probability must exceed float32's resolution of 6e-8.
    scale = 16 if kept == num_classes else 4
    wanted = (scale * torch.randn(1, num_classes, 6, 8, generator=generator, dtype=torch.float64)).softmax(1)
    logits = torch.randn(1, num_classes, 6, 8, generator=generator, dtype=torch.float64)
    spec = SoftSpec(kept, (6, 8))
    manifest = {"shard_frames": 1, "identity": {"size": [6, 8]}, "classes": [], "sampled_frames": [0]}
    store = LabelStore.create(tmp_path / "test" / "a-0", manifest)
    ids, shares, _ = top_k(wanted, kept)
    store.write(0, {0: Labelled(np.zeros((6, 8), np.uint8), (ids[0], shares[0]))}, spec)
    read = SoftLabels(*(torch.tensor(part)[None] for part in store.read_soft(0, spec)))
    values, exact_ids = wanted.topk(kept, 1)
    exact = SoftLabels(exact_ids.to(torch.uint8), values)
    labels = torch.zeros(1, 6, 8, dtype=torch.long)
    stored, expected = (KlDivergence(10.0)(logits, labels, soft).item() for soft in (read, exact))
    assert stored == pytest.approx(expected, rel=0.02)  # float16 of plain probabilities: twice as much


def test_labels_without_probabilities_or_of_other_classes_are_refused() -> None:
    class Hard:
        def read(self, position: int) -> np.ndarray:
            return np.full((8, 12), position % 3, np.uint8)

    class Wrong(Labels):
        def read_soft(self, position: int) -> tuple[np.ndarray, np.ndarray]:
            ids, shares = super().read_soft(position)
            return ids + 6, shares

    with pytest.raises(ValueError, match="no probabilities"):
        make_bank(labels=Hard())
    with make_bank(labels=Wrong()) as bank, pytest.raises(ValueError, match="soft labels of position 0 holds"):
        bank.get([0])


def test_mapped_soft_labels_keep_the_probability_that_top_k_left_out() -> None:
    table = class_table(["car", "truck", "sky", "tree"], ["tree", "car"], {"truck": "car"}, allow_missing=True)
    ids = np.array([[[0, 2]], [[1, 3]]], np.uint8)
    shares = np.array([[[0.5, 0.75]], [[0.25, 0.125]]], np.float16)
    new_ids, new_shares = map_top_k(ids, shares, table)
    # Left: car and truck are merged, a quarter was left out. Right: sky is no class, so half of the rest is tree's.
    assert new_ids[:, 0].T.tolist() == [[1, 255], [0, 255]]
    np.testing.assert_allclose(new_shares[:, 0].T, [[0.75, 0], [0.5, 0]])
    nothing = map_top_k(np.full_like(ids, 2), shares, table)
    assert (nothing[0] == 255).all()
    assert (nothing[1] == 0).all()
    same = class_table(["a", "b", "c", "d"], ["a", "b", "c", "d"], None, allow_missing=False)
    np.testing.assert_array_equal(MappedLabels(Labels(), same).read_soft(3)[0], Labels().read_soft(3)[0])
    swapped = class_table(["a", "b", "c", "d"], ["d", "c", "b", "a"], None, allow_missing=False)
    ids, shares = MappedLabels(Labels(), swapped).read_soft(3)
    np.testing.assert_array_equal(ids, 3 - Labels().read_soft(3)[0])
    np.testing.assert_allclose(shares, Labels().read_soft(3)[1], atol=1e-3)


def test_a_learner_passes_soft_labels_on_and_reports_each_part_weighted() -> None:
    kinds = {"cross_entropy": CrossEntropy(), "dice": Dice(), "kl": KlDivergence(10.0)}
    learner = make_learner(WeightedSum({"cross_entropy": 0.7, "dice": 0.2, "kl": 0.1}, kinds))
    with make_bank() as bank:
        batch = bank.get([0, 1])
        logits, labels = learner.student(batch.images_BCHW), batch.labels["teacher"].long()
        soft = batch.soft["teacher"]
        expected = {
            "cross_entropy": 0.7 * kinds["cross_entropy"](logits, labels),
            "dice": 0.2 * kinds["dice"](logits, labels),
        }
        expected["kl"] = 0.1 * kinds["kl"](logits, labels, soft)
        losses = learner.learn(bank, [[0, 1]])
    assert losses == {name: pytest.approx(value.item()) for name, value in expected.items()} | {
        "total": pytest.approx(sum(value.item() for value in expected.values()))
    }
    with make_bank() as bank:
        assert list(make_learner(kinds["kl"]).learn(bank, [[0]])) == ["kl", "total"]


def test_a_users_loss_without_soft_labels_works() -> None:
    class Mine:
        name = "mine"

        def __call__(self, logits_BKHW: Tensor, labels_BHW: Tensor) -> Tensor:
            return nn.functional.cross_entropy(logits_BKHW, labels_BHW)

    with make_bank(soft=()) as bank:
        losses = make_learner(Mine()).learn(bank, [[0]])
        expected = make_learner(CrossEntropy()).learn(bank, [[0]])["total"]
    assert losses == {"mine": pytest.approx(expected), "total": pytest.approx(expected)}


def test_an_augmented_learner_resumes_bit_identically() -> None:
    settings = {"flip": 0.5, "scale": [0.5, 2.0], "crop": None, "brightness": 0.1, "contrast": 0.1}
    augment = Augmentation(**settings, seed=0)  # type: ignore[arg-type]
    uninterrupted, first, second = (make_learner(KlDivergence(2.0), augment) for _ in range(3))
    with make_bank() as bank:
        for _ in range(3):
            uninterrupted.learn(bank, [[0, 1], [2]])
        first.learn(bank, [[0, 1], [2]])
        second.load_state_dict(first.state_dict())
        for _ in range(2):
            second.learn(bank, [[0, 1], [2]])
    assert torch.equal(uninterrupted.student.weight, second.student.weight)  # type: ignore[arg-type]
    assert not torch.equal(uninterrupted.student.weight, first.student.weight)  # type: ignore[arg-type]


# --- runs


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    smp = need("segmentation_models_pytorch")
    network = smp.create_model("FPN", encoder_name="mobilenet_v2", encoder_weights=None, classes=11)
    path = tmp_path_factory.mktemp("teacher") / "teacher.pth"
    torch.save({"state_dict": network.state_dict(), "arch": "FPN", "encoder_name": "mobilenet_v2", "classes": 11}, path)
    return path


def soft_teacher(checkpoint: Path) -> list[str]:
    """Return the settings of a run that learns from the probabilities of a checkpoint teacher."""
    return [
        *("loss=mckd", "optimizer.lr=1e-3", "teacher=checkpoint", f"teacher.checkpoint={checkpoint}"),
        *("teacher.soft.top_k=3", "teacher.soft.size=[8,12]"),
        *("teacher.mean=[0.5,0.5,0.5]", "teacher.std=[0.25,0.25,0.25]"),
    ]


@pytest.mark.slow
def test_online_distillation_learns_from_probabilities(odkd: Callable[..., Path], checkpoint: Path) -> None:
    settings = [*soft_teacher(checkpoint), "augmentation=flip_scale_crop_colour", "optimizer.weight_decay=1e-5"]
    folder = odkd(*settings)
    lines = [json.loads(line)["metrics"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    lines = [line for line in lines if "learn/loss_total" in line]
    assert lines
    for line in lines:
        parts = [line[f"learn/loss_{name}"] for name in ("cross_entropy", "dice", "kl")]
        assert min(parts) > 0
        assert line["learn/loss_total"] == pytest.approx(sum(parts), rel=1e-5)
    folder = odkd(*settings, "stage.learn_from=groundtruth", "loss=kl")
    assert "learn/loss_kl" in (folder / "metrics.jsonl").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["cps", "self_training", "born_again", "mean_teacher"])
def test_baselines_of_mckd_learn_from_probabilities(odkd: Callable[..., Path], checkpoint: Path, stage: str) -> None:
    folder = odkd(*soft_teacher(checkpoint), f"stage={stage}", "stage.epochs=2", "stage.patience=null")
    last = json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])
    scope, metrics = last["training"], last["metrics"]
    assert scope == ("round_1/student_1" if stage == "cps" else "final")
    assert metrics[f"{scope}/loss_kl"] > 0
    parts = [name for name in metrics if name.startswith(f"{scope}/loss_") and not name.endswith("_total")]
    assert metrics[f"{scope}/loss_total"] == pytest.approx(sum(metrics[name] for name in parts))
    assert (f"{scope}/loss_regularizer" in metrics) is (stage in ("cps", "mean_teacher"))
    assert f"{scope}/loss_previous_student" not in metrics  # the loss has KL


@pytest.mark.slow
def test_students_of_mckd_pass_probabilities_on(odkd: Callable[..., Path], checkpoint: Path, cache: Path) -> None:
    folder = odkd(*soft_teacher(checkpoint), "stage=mckd", "stage.num_rounds=3", "stage.epochs=1")
    key = json.loads((folder / "run.json").read_text())["key"]
    spec = SoftSpec(3, (8, 12))
    for stage, student in ((1, 0), (1, 1), (2, 0), (2, 1)):
        stores = [
            LabelStore(place)
            for place in find_stores(cache / "labels" / f"mckd-{key[:8]}-stage{stage}-student{student}")
        ]
        assert stores
        for store in stores:
            assert store.all_stored(spec) == store.all_stored() != set()
            for row in store.all_stored():
                ids_KHW, shares_KHW = store.read_soft(row, spec)
                assert (np.diff(shares_KHW.astype(np.float32), axis=0) <= 0).all()
                assert (shares_KHW.astype(np.float32).sum(0) <= 1.002).all()
                # The likeliest class of a 4x4 square is usually the class of most of its pixels.
                pixels_HW = store.read(row).reshape(8, 4, 12, 4).swapaxes(1, 2).reshape(8, 12, 16)
                most_HW = np.apply_along_axis(lambda square: np.bincount(square).argmax(), 2, pixels_HW)
                assert (most_HW == ids_KHW[0]).mean() > 0.7
    lines = [json.loads(line)["metrics"] for line in (folder / "metrics.jsonl").read_text().splitlines()]
    kl = [value for line in lines for name, value in line.items() if name.endswith("loss_kl")]
    assert len(kl) == len(lines) == 5
    assert min(kl) > 0
    with pytest.raises(ValueError, match="learns from a teacher's probabilities, and stage=supervised has no teacher"):
        odkd("stage=supervised", "loss=kl", "teacher.soft.top_k=3")


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["loss=mckd"], r"teacher\.soft\.top_k=3"),
        (["loss=kl"], r"teacher\.soft\.top_k=3"),
        (["loss=mckd", "teacher.soft.top_k=3"], "gives no probabilities; choose another"),
        (["loss=mckd", "teacher.soft.top_k=3", "regularizer=ace"], "regularizer Ace hides classes"),
        (["schedule=multistep"], "set schedule=none"),
        (["loss=mckd", "loss.parts.cross_entropy.class_weights=[1]"], "has 1 number for 11 classes"),
        (["student.freeze=stem"], "expected a list of names, or null"),
        (["student.freeze=['stm.*']"], r"nearest are stem\.\*"),
        (["augmentation.flip=2"], r"augmentation\.flip=2"),
        (["loss=mckd", "loss.weights.kl=-1"], "some above 0"),
    ],
)
def test_mistakes_are_found_before_a_frame_is_decoded(
    overrides: list[str], message: str, odkd: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def decode(*_: object, **__: object) -> None:
        raise AssertionError("decoded a frame")

    monkeypatch.setattr("odkd.teachers.labeller.decode_frames", decode)
    monkeypatch.setattr("odkd.data.video.frames.decode_frames", decode, raising=False)
    with pytest.raises(ValueError, match=message):
        odkd(*overrides, f"paths.labels={tmp_path / 'labels'}")
